"""Old runs that go by themselves: one node of the mesh, the one with the lowest id, cleans the store now and then.

It is off unless somebody has said how long runs are to be kept: what was measured may be such as can't be measured
again. When the lowest node dies, the next one does it at its own next time. Two that do it at once do no harm.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from meshflow.core.asks import Asks, Removing
from meshflow.core.cleaning import Cleaning, Rule
from meshflow.core.effects import Effect, Emit
from meshflow.core.events import StoreCleaned
from meshflow.core.member import Member


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """How long runs that have ended are kept."""

    runs_s: float | None = None
    """Runs that ended longer ago are removed, unless `keep` keeps them; None: age removes none."""
    output_s: float | None = None
    """What the tasks of runs printed is removed so long after their end; None: with the run."""
    keep: int | None = None
    """The newest so many of each workflow stay; without `runs_s`, only these do. None: no run is kept or removed for
    its place in the row."""
    clean_s: float = 3600.0
    """Between two cleanings. Each reads the records of all runs that have ended."""
    first_s: float = 60.0
    """Before the first one, so that a mesh that has just started is left in peace."""
    pause_s: float = 0.05
    """Between two steps of a cleaning; each keeps the store busy for some 50 ms."""


class Retention:
    """Cleans the store as the settings say. `answered` takes what it asked for as `Removing`."""

    def __init__(self, asks: Asks, settings: RetentionSettings, now: float) -> None:
        self._asks = asks
        self._settings = settings
        self._cleaning: Cleaning | None = None
        is_on = (settings.runs_s, settings.output_s, settings.keep) != (None, None, None)
        self._due_at = now + settings.first_s if is_on else math.inf

    def flush(self, me: Member, alive: Sequence[Member], now: float, wall_at: float) -> list[Effect]:
        """Take the next step if it is time and this node's turn."""
        if now < self._due_at:
            return []
        if me.is_draining:
            self._due_at = math.inf  # what is left of a cleaning is for the next one
            return []
        if self._cleaning is None:
            if any(member.id < me.id and not member.is_draining for member in alive):
                self._due_at = now + self._settings.clean_s
                return []
            self._cleaning = Cleaning(self._rules(wall_at), wall_at)
        requests = self._cleaning.requests()
        if requests:
            self._due_at = math.inf  # until the answers have come
            return [self._asks.ask(Removing(), *requests)]
        done, self._cleaning = self._cleaning, None
        self._due_at = now + self._settings.clean_s
        if not done.run_count and not done.row_count:
            return []
        return [Emit(StoreCleaned(done.run_count, done.row_count, done.size_bytes))]

    def answered(self, answers: Sequence[object], now: float) -> None:
        """The store has done what was asked."""
        if self._cleaning is not None:
            self._cleaning.answered(answers)
            self._due_at = now + self._settings.pause_s

    def deadline(self) -> float:
        """When `flush` is next due."""
        return self._due_at

    def _rules(self, wall_at: float) -> list[Rule]:
        settings = self._settings
        rules = [Rule(None if settings.runs_s is None else wall_at - settings.runs_s, settings.keep)]
        if settings.output_s is not None:
            rules.append(Rule(wall_at - settings.output_s, output_only=True))
        return rules

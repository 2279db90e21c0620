"""One cleaning of a store, step by step: which runs go, what belongs to none, and the sweeps until all of it is gone.

Whoever cleans asks for `requests`, has them performed, hands the answers in, and goes on until there are none. All that
has to survive is in the store, so a cleaning may end at any step; the next one does what this one has not done.

Invariants:
1. A run goes only if every condition of a rule allows it; a rule without `ended_before` and `keep` lets none go.
2. What is kept in memory does not grow with the store, but for one count per workflow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from meshflow.core.caching import GENERATIONS, is_generation, outdated
from meshflow.core.records import RunRecord, State
from meshflow.core.requests import ListRuns, RemoveNodes, RemoveOrphans, RemoveRun, Request, Sweep, Swept
from meshflow.ids import RunId

PAGE = 200
"""Runs that are looked at, and taken out, in one step."""

ORPHAN_S = 86400.0
"""What belongs to no run is noted, and removed if so much later it still belongs to none. No submission takes as long,
and no clocks differ as much."""

NAMED_S = 30 * 86400.0
"""Nodes not seen for so long are forgotten. Nodes that start learn names no older than that (`registry.py`)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Which of the workflow runs that have ended may go."""

    ended_before: float | None = None
    """Wall clock; None: whenever they ended."""
    keep: int | None = None
    """So many of each workflow stay, the newest of those that `states` names; None: none stays for that reason."""
    workflow: str | None = None
    """None: of all workflows."""
    states: tuple[State, ...] = ()
    """Empty: whatever they ended as."""
    output_only: bool = False
    """Nothing goes but what their tasks printed."""


class Cleaning:
    """One cleaning, which begins at `wall_at`. `is_dry`: look for runs, and change nothing. `clears_cache`: results
    that tasks and calls with `cache` may still use are removed, too."""

    def __init__(
        self, rules: Sequence[Rule], wall_at: float, *, is_dry: bool = False, clears_cache: bool = False
    ) -> None:
        self.run_count = 0
        """Runs that were taken out, or whose output was; of a dry one, those that would be."""
        self.node_count = 0
        """Nodes that were forgotten."""
        self.row_count = 0
        self.size_bytes = 0
        self._rules = [rule for rule in rules if (rule.ended_before, rule.keep) != (None, None)]
        self._wall_at = wall_at
        self._is_dry = is_dry
        self._clears_cache = clears_cache
        self._asked: tuple[Request, ...] = ()
        self._seen: dict[str, int] = {}
        """Of each workflow, how many runs of the current rule were seen."""
        self._next = self._first_page()

    def requests(self) -> tuple[Request, ...]:
        """What the store is to do next; empty when the cleaning is over."""
        self._asked, self._next = self._next, ()
        return self._asked

    def answered(self, answers: Sequence[object]) -> list[RunRecord]:
        """Take the answers to `requests`; the runs of this step that may go."""
        going: list[RunRecord] = []
        for request, answer in zip(self._asked, answers, strict=True):
            match request:
                case RemoveRun(run=run):
                    self.run_count += answer is True and not is_generation(run)
                case ListRuns(parent=parent) if parent == GENERATIONS:
                    self._next = self._behind_runs(answer if isinstance(answer, tuple) else ())
                case ListRuns():
                    going = self._page(answer)
                case RemoveOrphans():
                    self._next = self._orphans(answer) if isinstance(answer, str) and answer else (Sweep(),)
                case RemoveNodes() if isinstance(answer, int):
                    self.node_count += answer
                case Sweep() if isinstance(answer, Swept):
                    self.row_count += answer.row_count
                    self.size_bytes += answer.size_bytes
                    self._next = () if answer.is_done else (Sweep(),)
                case _:
                    pass
        return going

    # --- runs ---

    def _first_page(self) -> tuple[Request, ...]:
        """Of the next rule; behind the last one, what follows the runs."""
        if not self._rules:
            return () if self._is_dry else (ListRuns(parent=GENERATIONS),)
        self._seen = {}
        rule = self._rules[0]
        # No run ended before it was created; the newer ones matter only if they are to be counted.
        return (self._list(rule.ended_before if rule.keep is None else None),)

    def _behind_runs(self, generations: Sequence[object]) -> tuple[Request, ...]:
        gone = outdated(generations, self._wall_at, is_all=self._clears_cache)
        return (*map(RemoveRun, gone), RemoveNodes(self._wall_at - NAMED_S), *self._orphans(""))

    def _list(self, before: float | None) -> ListRuns:
        workflow = self._rules[0].workflow
        return ListRuns(is_open=False, workflows_only=True, workflow=workflow, limit=PAGE, before=before)

    def _page(self, answer: object) -> list[RunRecord]:
        records = [record for record in answer if isinstance(record, RunRecord)] if isinstance(answer, tuple) else []
        rule = self._rules[0]
        going = [record for record in records if self._may_go(rule, record)]
        removals: list[Request] = [RemoveRun(RunId(record.run), rule.output_only) for record in going]
        if self._is_dry:
            self.run_count += len(going)
            removals = []
        if len(records) == PAGE:
            self._next = (*removals, self._list(records[-1].created_at))
        else:
            del self._rules[0]
            self._next = (*removals, *self._first_page())
        return going

    def _may_go(self, rule: Rule, record: RunRecord) -> bool:
        if not record.state.is_final or (rule.states and record.state not in rule.states):
            return False
        newer_count = self._seen.get(record.workflow, 0)
        self._seen[record.workflow] = newer_count + 1
        if rule.keep is not None and newer_count < rule.keep:
            return False
        ended_at = record.created_at if record.ended_at is None else record.ended_at
        return rule.ended_before is None or ended_at < rule.ended_before

    def _orphans(self, after: str) -> tuple[Request, ...]:
        return (RemoveOrphans(self._wall_at, self._wall_at - ORPHAN_S, after),)

"""What the tasks of a node have asked of their runs and were not answered yet, and the slots that they lend meanwhile.

Invariants:
1. A signal is sent again, ever less often, until it is answered; its key makes that harmless.
2. A task that waits in `join_dags` lends its slot, one however many of its threads wait.
"""

import math
from dataclasses import dataclass

from meshflow.core.attempts import Attempt
from meshflow.core.effects import AnswerTask, Effect
from meshflow.core.keys import call_key, start_key
from meshflow.core.messages import Signal, SignalAnswer
from meshflow.core.records import Value
from meshflow.ids import RunId

_FIRST_PAUSE_S, _LAST_PAUSE_S = 1.0, 8.0
"""Between two times that a signal is sent: doubled each time, for some wait for hours."""


@dataclass(slots=True)
class Call:
    """A signal that waits for its answer, and the attempt that asked under the number `call`."""

    signal: Signal
    attempt: Attempt
    call: int
    due_at: float = -math.inf
    pause_s: float = _FIRST_PAUSE_S


class Calls:
    """The open calls of all tasks that run here."""

    def __init__(self) -> None:
        self._open: dict[str, Call] = {}
        self._starts: dict[Attempt, int] = {}
        self._joins: dict[Attempt, int] = {}

    @property
    def is_empty(self) -> bool:
        """Whether every call was answered."""
        return not self._open

    @property
    def lent_count(self) -> int:
        """How many tasks lend their slot."""
        return len(self._joins)

    def add(self, attempt: Attempt, call: int, action: str, arguments: dict[str, object], data: Value | None) -> None:
        """A task asks something. `start_dag` is named by its number within the task, not by the attempt, so that a task
        that is run again finds the dag run it started before."""
        key = call_key(attempt, call)
        if action == "start_dag":
            self._starts[attempt] = self._starts.get(attempt, 0) + 1
            key = start_key(attempt, self._starts[attempt])
        if action == "join_dags":
            self._joins[attempt] = self._joins.get(attempt, 0) + 1
        self._open[key] = Call(Signal(attempt.run, key, action, arguments, data), attempt, call)

    def answered(self, answer: SignalAnswer) -> list[Effect]:
        """The run has answered; a second answer changes nothing."""
        call = self._open.pop(answer.key, None)
        if call is None:
            return []
        if call.signal.action == "join_dags":
            left = self._joins.pop(call.attempt) - 1
            if left:
                self._joins[call.attempt] = left
        return [AnswerTask(call.attempt, call.call, answer.result, answer.error)]

    def ended(self, attempt: Attempt) -> None:
        """The attempt has ended and wants no answers."""
        self._starts.pop(attempt, None)
        self._joins.pop(attempt, None)
        for key in [key for key, call in self._open.items() if call.attempt == attempt]:
            del self._open[key]

    def run_ended(self, run: RunId) -> None:
        """The run has ended and gives no answers."""
        for key in [key for key, call in self._open.items() if call.attempt.run == run]:
            del self._open[key]

    def send_again(self, run: RunId) -> None:
        """The run has another owner, who is to hear of all calls now."""
        for call in self._open.values():
            if call.attempt.run == run:
                call.due_at = -math.inf

    def due(self, now: float) -> list[Call]:
        """What is to be sent now, and counts as sent."""
        due = [call for call in self._open.values() if now >= call.due_at]
        for call in due:
            call.due_at = now + call.pause_s
            call.pause_s = min(2 * call.pause_s, _LAST_PAUSE_S)
        return due

    def deadline(self) -> float:
        """When `due` has something next."""
        return min((call.due_at for call in self._open.values()), default=math.inf)

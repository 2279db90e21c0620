"""A client's end of calling, driven by hand, for its tests."""

from collections.abc import Sequence
from typing import Any

from meshflow.core.attempts import Attempt
from meshflow.core.caller import Caller
from meshflow.core.caller_settings import CallerSettings
from meshflow.core.calling import Call, Function
from meshflow.core.dispatch import DispatchSettings
from meshflow.core.effects import Send
from meshflow.core.ended import Ended
from meshflow.core.messages import Demand, Finished, Job, Message, Report, Reports, Work
from meshflow.core.records import State, Value
from meshflow.ids import NodeId, calls_of
from tests.core.builders import ANN, member

CLIENT = NodeId("client")
CALLS = calls_of(CLIENT)
SQUARE = Function("square's code", "square")
GPU = Function("square's code", "square", queue="gpu")
ONCE = Function("once's code", "once", at_most_once=True)
CODE = b"code"


class Calling:
    """A client, and what it sends."""

    def __init__(self, *nodes: NodeId, **settings: Any) -> None:
        self.caller = Caller(CLIENT, CallerSettings(**settings), DispatchSettings())
        self.sent: list[Send] = []
        self._numbers: dict[NodeId, int] = {}
        self.meet(*nodes)

    def meet(self, *nodes: NodeId, now: float = 0.0) -> None:
        """These are the nodes that are alive."""
        self.caller.set_members([member(node) for node in nodes])
        self.flush(now)

    def add(self, *data: bytes, function: Function = SQUARE, now: float = 0.0) -> list[Call]:
        """Calls with these arguments."""
        calls = [Call(function, each) for each in data]
        self.caller.add(calls, CODE)
        self.flush(now)
        return calls

    def hear(self, sender: NodeId, message: Message, now: float = 0.0) -> None:
        self._do(self.caller.handle(sender, message, now))
        self.flush(now)

    def grant(self, node: NodeId, granted: int, received: int = 0, now: float = 0.0) -> None:
        self.hear(node, Demand(granted, received), now)

    def report(self, node: NodeId, *reports: Report, now: float = 0.0, first: int = 0, acknowledged: int = 1) -> None:
        """The node tells these; it grants nothing more."""
        first = first or self._numbers.get(node, 0) + 1
        self._numbers[node] = max(self._numbers.get(node, 0), first + len(reports) - 1)
        self.hear(node, Reports(CALLS, first, acknowledged, reports, 0, 0), now)

    def flush(self, now: float = 0.0) -> None:
        self._do(self.caller.flush(now))

    def _do(self, effects: Sequence[object]) -> None:
        self.sent += [effect for effect in effects if isinstance(effect, Send)]

    def pop(self, to: NodeId, *kinds: type) -> list[Any]:
        """What was sent to a node since the last call."""
        messages = [each.message for each in self.sent if each.to == to]
        self.sent = [each for each in self.sent if each.to != to]
        return [message for message in messages if not kinds or isinstance(message, kinds)]

    def jobs(self, to: NodeId) -> list[Job]:
        """The jobs that were sent to a node."""
        return [job for work in self.pop(to, Work) for job in work.jobs]

    def pop_ended(self) -> list[Ended]:
        ended, self.caller.ended = self.caller.ended, []
        return ended


def done(attempt: Attempt, value: bytes = b"", seconds: float = 1e-6) -> Finished:
    return Finished(attempt, State.COMPLETED, Value(value), None, "", 100.0, 100.0 + seconds)


def failed(attempt: Attempt, reason: str = "killed by SIGKILL", state: State = State.FAILED) -> Finished:
    return Finished(attempt, state, Value(), None, reason, 100.0, 100.1)


def out(data: bytes, function: Function = SQUARE) -> tuple[Calling, list[Call], Attempt]:
    """A call that is out with ANN, which has granted credit for more."""
    calling = Calling(ANN)
    calling.grant(ANN, 100)
    calls = calling.add(data, function=function)
    (job,) = calling.jobs(ANN)
    return calling, calls, job.attempt


def batch() -> tuple[Calling, list[Call], Attempt]:
    """Two calls that are out with ANN in one batch, and two more that wait."""
    calling = Calling(ANN)
    calling.caller.set_members([member(ANN, slots=1)])
    calling.grant(ANN, 1)
    calling.add(b"first")
    (job,) = calling.jobs(ANN)
    calls = calling.add(b"a", b"b", b"c", b"d")
    calling.report(ANN, done(job.attempt))
    calling.grant(ANN, 2, 1)
    (job,) = calling.jobs(ANN)
    assert job.calls == (b"a", b"b")
    calling.pop_ended()
    return calling, calls, job.attempt

"""A client whose host has nodes, driven by hand: it leases processes, which are played here."""

from collections.abc import Sequence
from typing import Any

from meshflow.core.attempts import Attempt
from meshflow.core.caller import Caller
from meshflow.core.caller_settings import MARGIN_BYTES, CallerSettings
from meshflow.core.calling import Arguments
from meshflow.core.dispatch import DispatchSettings
from meshflow.core.leasing import Feed, HangUp
from meshflow.ids import NodeId
from tests.core.builders import ANN
from tests.core.calling import CLIENT, Calling


class Leased(Calling):
    """A client with a door; what its processes were fed, by lease, and who of them may end."""

    def __init__(self, *nodes: NodeId, near: tuple[NodeId, ...] = (ANN,), **settings: Any) -> None:
        super().__init__()
        self.fed: dict[int, list[Feed]] = {}
        self.running: dict[int, int] = {}
        """The packet that a process has begun."""
        self.hung_up: list[int] = []
        self.halted: dict[int, int] = {}
        self.begun_counts: dict[int, int] = {}
        """Calls of packets that processes have begun."""
        limit = {"max_message_bytes": 2 * MARGIN_BYTES, **settings}
        self.caller = Caller(CLIENT, CallerSettings(**limit), DispatchSettings(), "door", self)
        self.caller.leasing.set_near(near)
        self.meet(*(nodes or (ANN,)))

    def take_back(self, lease: int) -> list[int]:
        taken = [feed for feed in self.fed.get(lease, []) if feed.packet != self.running.get(lease)]
        self.fed[lease] = [feed for feed in self.fed.get(lease, []) if feed not in taken]
        return [feed.packet for feed in taken]

    def halt(self, lease: int, packet: int) -> None:
        self.halted[lease] = packet

    def begun(self, lease: int, packet: int) -> int:
        return self.begun_counts.get(packet, 0)

    def _do(self, effects: Sequence[object]) -> None:
        for effect in effects:
            if isinstance(effect, Feed):
                self.fed.setdefault(effect.lease, []).append(effect)
            elif isinstance(effect, HangUp):
                self.hung_up.append(effect.lease)
            else:
                super()._do([effect])

    def lease(self, *data: bytes, node: NodeId = ANN, now: float = 0.0) -> Attempt:
        """Calls are added, for which the node starts a lease; its process calls, and begins the first packet."""
        self.grant(node, 1)
        self.add(*data)
        (job,) = self.jobs(node)
        assert (job.door, job.calls) == ("door", ())
        self.open(job.attempt, now)
        return job.attempt

    def open(self, attempt: Attempt, now: float = 0.0) -> None:
        assert self.caller.lease_opened(attempt.task, now)
        self.flush(now)
        if self.fed.get(attempt.task):
            self.running[attempt.task] = self.fed[attempt.task][0].packet

    def answer(self, attempt: Attempt, *results: bytes, seconds: float = 1e-6, now: float = 0.0) -> None:
        """The process has made what it was fed first, and begins the next."""
        feed = self.fed[attempt.task].pop(0)
        self.caller.lease_answered(attempt.task, feed.packet, seconds, results, now)
        self.running[attempt.task] = self.fed[attempt.task][0].packet if self.fed[attempt.task] else 0
        self.flush(now)


def data_of(feeds: list[Feed]) -> list[list[Arguments]]:
    return [[call.data for call in feed.calls] for feed in feeds]


def made_by_mesh(calling: Calling, node: NodeId) -> list[bytes]:
    return [data for job in calling.jobs(node) for data in job.calls if isinstance(data, bytes)]

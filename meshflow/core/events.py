"""What happened at a node, for its log, its metrics and the tests. The core logs nothing; it emits these.

Events about runs are not here: they are the entries of a run's log (`records.py`).
"""

from dataclasses import dataclass

from meshflow.core.member import Member
from meshflow.ids import NodeId, RunId


@dataclass(frozen=True, slots=True)
class MemberJoined:
    """A member is there that was not known, or came back to life."""

    member: Member


@dataclass(frozen=True, slots=True)
class MemberUpdated:
    """A living member changed what it says of itself."""

    member: Member


@dataclass(frozen=True, slots=True)
class MemberSuspected:
    """A member did not answer; it has until the suspicion times out to refute."""

    member: Member


@dataclass(frozen=True, slots=True)
class MemberDied:
    """A member is taken for dead; its attempts are queued again and its runs are claimed by others."""

    member: Member


@dataclass(frozen=True, slots=True)
class MemberLeft:
    """A member said goodbye."""

    member: Member


@dataclass(frozen=True, slots=True)
class Refuted:
    """This node was suspected or declared dead by others and has refuted it."""

    incarnation: int


@dataclass(frozen=True, slots=True)
class RunClaimed:
    """This node now drives the run."""

    run: RunId
    epoch: int
    is_takeover: bool


@dataclass(frozen=True, slots=True)
class RunLost:
    """Another node has taken the run over: an append of ours was refused, and we stand down."""

    run: RunId
    epoch: int


@dataclass(frozen=True, slots=True)
class RunFinished:
    """A run that this node drove reached its final state."""

    run: RunId
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class JobRequeued:
    """An attempt was lost with its node (or in between) and its job is queued again, or failed if it may not be."""

    run: RunId
    task: str
    attempt: int
    node: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class ResultDiscarded:
    """A result came for an attempt that is not the current one (stale, doubled); it was not recorded."""

    run: RunId
    task: int
    attempt: int
    epoch: int
    sender: NodeId


@dataclass(frozen=True, slots=True)
class StoreProblem:
    """The store refused something it should not have; `reason` is for a person."""

    reason: str


@dataclass(frozen=True, slots=True)
class StoreCleaned:
    """This node has removed what was older than it is to be kept, or belonged to no run."""

    run_count: int
    row_count: int
    size_bytes: int


MembershipEvent = MemberJoined | MemberUpdated | MemberSuspected | MemberDied | MemberLeft | Refuted
RunEvent = RunClaimed | RunLost | RunFinished | JobRequeued | ResultDiscarded
Event = MembershipEvent | RunEvent | StoreProblem | StoreCleaned

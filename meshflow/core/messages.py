"""One frozen dataclass per message between nodes. Hot ones carry batches. PROTOCOL.md tells each one's story.

A message may be lost, doubled, late, or from an earlier life of its sender; none of them may matter to results.
Instants never travel, except wall-clock stamps for people to read; durations do.
"""

from dataclasses import dataclass

from meshflow.core.attempts import Attempt
from meshflow.core.client_messages import (
    AskStatus,
    Drain,
    Draining,
    NodeStatus,
    StoreAnswers,
    StoreAsk,
    Watch,
    Watched,
)
from meshflow.core.key_messages import AskKeys, KeysHeld, UseKeys
from meshflow.core.member import Member, Status
from meshflow.core.records import State, Value
from meshflow.core.requests import WriteOutput
from meshflow.ids import NodeId, RunId

# --- membership: who is here (membership.py, gossip.py) ---


@dataclass(frozen=True, slots=True)
class Verdict:
    """What others say of a member at one of its incarnations: that it is suspect, dead, or has left."""

    id: NodeId
    incarnation: int
    status: Status
    accusers: tuple[NodeId, ...] = ()
    """Of a suspect: the members that could not reach it, each by a probe of its own."""
    cut_off: tuple[NodeId, ...] = ()
    """Those accusers whose connection to it broke as well."""


@dataclass(frozen=True, slots=True)
class News:
    """Updates that ride along: `members` as they describe themselves, and `verdicts` about others."""

    members: tuple[Member, ...] = ()
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True)
class Probe:
    """Are you there? Answered by ProbeAck with the same seq."""

    seq: int
    news: News = News()


@dataclass(frozen=True, slots=True)
class ProbeAck:
    """Yes."""

    seq: int
    news: News = News()


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """Probe `target` for me; answer ProbeAck with my seq if it answers you, ProbeNack before `timeout_s` if not."""

    seq: int
    target: NodeId
    timeout_s: float
    news: News = News()


@dataclass(frozen=True, slots=True)
class ProbeNack:
    """I am here, but the target did not answer me (Lifeguard, LHA-Probe)."""

    seq: int
    is_cut_off: bool = False
    """My connection to the target broke, too."""


@dataclass(frozen=True, slots=True)
class Gossip:
    """News about members, spread in the background."""

    news: News


@dataclass(frozen=True, slots=True)
class Sync:
    """Compares views; joining is a Sync to a seed. Step 1 opens with the sender's own record and digests, step 2
    answers with the members wherever the digests differ, step 3 closes with what differs even then."""

    step: int
    members: tuple[Member, ...]
    digests: tuple[int, ...] = ()
    """One number per part of the sender's view; empty in step 3 and in all but the last message of step 2."""


MembershipMessage = Probe | ProbeAck | ProbeRequest | ProbeNack | Gossip | Sync


# --- work: owners hand out attempts, nodes pull them (dispatch.py, worker.py) ---


@dataclass(frozen=True, slots=True)
class Input:
    """The result of one parent, as the child will see it."""

    task: str
    slot: str | None
    value: Value
    is_item: bool = False
    """Whether this is the next item of the list that the last input which is none stands for: the result of an instance
    of a mapped task."""


@dataclass(frozen=True, slots=True)
class Job:
    """An attempt with all that is needed to run it."""

    attempt: Attempt
    name: str
    workflow: str
    queue: str
    payload: str
    """Digest of the pickled task."""
    inputs: tuple[Input, ...]
    initial: Value | None
    """The MultiTaskData given to `start_dag`, for root tasks of that dag run; None: build it from `inputs`."""
    timeout_s: float | None = None
    calls: tuple[bytes, ...] = ()
    """The pickled arguments of each call, if this is a batch of calls (`caller.py`) and no task."""
    door: str = ""
    """Where a client of the same host waits for a process that makes calls for it, if this is a lease (`leases.py`)."""
    mapped: str = ""
    """The mapped task of which this is an instance: its code is used, and the first input is the row. Empty: none."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Owner to nodes: I have jobs waiting, on each queue so many for each node that serves it, rounded up. 0: none any
    more."""

    queues: dict[str, int]
    is_caller: bool = False
    """Whether a client offers its calls; other strangers are not heard."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Node to owner: you may have handed me `granted` jobs in all since we met (a running total, so that a lost or
    doubled Demand does no harm; a lower total takes credit back). `received` jobs have arrived."""

    granted: int
    received: int


@dataclass(frozen=True, slots=True)
class Work:
    """Owner to node: run these."""

    jobs: tuple[Job, ...]
    codes: dict[str, bytes]
    """`{digest: pickled code}` that the jobs need and that this owner has not sent to this node before."""
    backlog: int
    """How many more jobs wait here for each node that could serve them, rounded up."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Report: an attempt ended."""

    attempt: Attempt
    state: State
    """COMPLETED, STOPPED (the task raised StopTask), ABORTED (AbortWorkflow), FAILED, or CANCELLED (by a Cancel)."""
    value: Value
    limit: tuple[str, ...] | None
    reason: str
    started_at: float
    ended_at: float
    rows: tuple[Value, ...] | None = None
    """What each instance of a mapped task gets, once its lists were split. None: this is no mapped task."""


@dataclass(frozen=True, slots=True)
class Output:
    """Report: an attempt printed something."""

    attempt: Attempt
    chunk: WriteOutput


@dataclass(frozen=True, slots=True)
class Returned:
    """Report: an attempt was not started here and may go elsewhere (drain, a stale grant, code not at hand)."""

    attempt: Attempt
    lacks_code: bool = False


Report = Finished | Output | Returned


@dataclass(frozen=True, slots=True)
class Reports:
    """Node to the owner of `run`: what happened to its attempts. Reports are numbered from `first` on, rising per run
    and node, and are sent again until acknowledged; all below `acknowledged` have been, or never were.
    `granted` and `received` as in Demand."""

    run: RunId
    first: int
    acknowledged: int
    reports: tuple[Report, ...]
    granted: int
    received: int


@dataclass(frozen=True, slots=True)
class ReportsAck:
    """Owner to node: reports of `run` below number `upto` are in the log."""

    run: RunId
    upto: int


@dataclass(frozen=True, slots=True)
class Holding:
    """Node to owner: all attempts of your runs that I hold (waiting, running, or ended and not acknowledged), every
    second while there are any, and in answer to Owned."""

    attempts: tuple[Attempt, ...]
    granted: int
    received: int
    answers: RunId | None = None
    """The run of the Owned that this answers; None: nobody has asked."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Owner to node: end these attempts; their results are not wanted if they are stale."""

    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Stopping:
    """Owner to node: this dag run was asked to stop; tell the tasks that listen."""

    run: RunId


# --- runs: who drives what (ownership.py, node.py) ---


@dataclass(frozen=True, slots=True)
class RunOpen:
    """A run waits to be claimed, has been asked to stop, or is not driven by the sender, whom you took for its owner:
    look at its record now."""

    run: RunId


@dataclass(frozen=True, slots=True)
class Owned:
    """The sender drives `run` in `epoch`. Told to all after a take-over, and to a node that is silent about attempts it
    was handed. A node turns to the sender with its reports and signals, and answers Holding."""

    run: RunId
    epoch: int


@dataclass(frozen=True, slots=True)
class Signal:
    """Something asked of the owner of `run`, by a task or by the owner of another run. `key` names the request for all
    time: asked again, it is answered again and done once."""

    run: RunId
    key: str
    action: str
    """From tasks: `start_dag`, `join_dags`, `stop_dag`, `stop_workflow`, `is_dag_stopped`, `is_dag_completed`, `flush`.
    From owners of dag runs to the owner of their workflow run: the same, and `dag_ended`."""
    arguments: dict[str, object]
    data: Value | None = None


@dataclass(frozen=True, slots=True)
class SignalAnswer:
    """The answer to the signal of that key. `error` is empty, or says why it was refused."""

    key: str
    result: object
    error: str = ""


Message = (
    Probe
    | ProbeAck
    | ProbeRequest
    | ProbeNack
    | Gossip
    | Sync
    | Offer
    | Demand
    | Work
    | Reports
    | ReportsAck
    | Holding
    | Cancel
    | Stopping
    | RunOpen
    | Owned
    | Signal
    | SignalAnswer
    | StoreAsk
    | StoreAnswers
    | Watch
    | Watched
    | AskStatus
    | NodeStatus
    | Drain
    | Draining
    | AskKeys
    | UseKeys
    | KeysHeld
)

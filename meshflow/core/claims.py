"""Which open runs this node should drive, and how it becomes their owner.

The view of the members proposes, the log decides: every node looks at all open runs now and then, and at once when a
member dies or somebody hints at a run. A run without a living owner is claimed by the member that rendezvous hashing
names among those that serve its queue. Two nodes that disagree about the members both claim, and one append is refused.

Invariants:
1. Nothing is claimed whose owner is believed alive.
2. A claim is appended at the position that follows everything that was read and folded before it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from meshflow.core.asks import Asks, Claiming, Loading, Mending
from meshflow.core.definitions import Definitions, definition_of
from meshflow.core.effects import Effect, Emit, Send
from meshflow.core.events import StoreProblem
from meshflow.core.graph import DagDefinition, WorkflowSpec
from meshflow.core.member import Member
from meshflow.core.messages import RunOpen
from meshflow.core.placement import owner_of
from meshflow.core.records import Batch, Claimed, Entry, RunEnded, RunRecord, State, Stop
from meshflow.core.requests import Append, GetBlob, LoadRun, ReadLog, UpdateRun
from meshflow.errors import PeerError
from meshflow.ids import NodeId, RunId, dag_run_name, workflow_of

_FIRST_ANSWERS = 3
"""The first look at a run reads its record, its log and its definition; the following ones only more of the log."""


@dataclass(frozen=True, slots=True)
class ClaimSettings:
    """How runs without an owner are found."""

    scan_s: float = 2.0
    """Seconds between looks at all open runs. It bounds the delay when a hint is lost; each costs one store read."""
    settle_s: float = 1.0
    """Seconds after its start during which a node does not take over from owners it has not heard of yet."""


@dataclass(slots=True)
class Load:
    """What has been read of a run that is to be claimed."""

    run: RunId
    record: RunRecord | None = None
    blob: bytes | None = None
    batches: list[Batch] = field(default_factory=list)
    definition: WorkflowSpec | DagDefinition | None = None
    """What `blob` says; None before it was read."""

    @property
    def entries(self) -> Iterator[Entry]:
        """What the log says, in order."""
        return (entry for batch in self.batches for entry in batch.entries)

    @property
    def next_seq(self) -> int:
        """The first position after what was read."""
        return self.batches[-1].seq + 1 if self.batches else 0

    @property
    def epoch(self) -> int:
        """The epoch of the last claim, 0 before the first."""
        claims = [entry.epoch for entry in self.entries if isinstance(entry, Claimed)]
        return claims[-1] if claims else 0


class Claims:
    """The runs this node is about to claim."""

    def __init__(
        self, me: NodeId, settings: ClaimSettings, asks: Asks, definitions: Definitions, started_at: float
    ) -> None:
        self.me = me
        self._definitions = definitions
        self._settings = settings
        self._asks = asks
        self.settled_at = started_at + settings.settle_s
        """From then on, who is not among the members is taken to be gone."""
        self._loads: dict[RunId, Load] = {}
        self._alive: dict[NodeId, Member] = {}
        self._gone_early: dict[NodeId, None] = {}
        """Members that went while others might not have been heard of yet."""

    def set_members(self, members: Sequence[Member]) -> None:
        """Take note of who is alive."""
        self._alive = {member.id: member for member in members}

    def node_gone(self, node: NodeId, now: float) -> None:
        """A member is dead or has left."""
        if now < self.settled_at:
            self._gone_early[node] = None

    def _is_gone(self, owner: NodeId, now: float) -> bool:
        return owner not in self._alive and (now >= self.settled_at or owner in self._gone_early)

    def is_others(self, owner: NodeId | None) -> bool:
        """Whether a run of that owner is driven by another node, as far as this one knows."""
        return owner != self.me and owner in self._alive

    def consider(self, record: RunRecord, hinted_by: NodeId | None, now: float) -> list[Effect]:
        """What to do about an open run that this node does not drive. `hinted_by`: who pointed to it, None for
        nobody."""
        if record.run in self._loads:
            return []
        if record.owner == self.me:
            # Somebody claimed it from us and died before its record said so; all others believe that we drive it.
            return self._load(record.run)
        if record.owner is not None and not self._is_gone(record.owner, now):
            return []
        staying = [member for member in self._alive.values() if not member.is_draining]
        serving = [member.id for member in staying if record.queue in member.queues]
        if not serving and record.stop is not Stop.NONE:
            # To end a run takes no node of its queue, and whoever stopped it may have done so because there is none.
            serving = [member.id for member in staying]
        if not serving:
            return []
        # Who got a hint from a member was chosen by it, and does not send it on: views may differ for a while.
        is_chosen = self.me in serving and hinted_by in self._alive and hinted_by != self.me
        chosen = self.me if is_chosen else owner_of(record.run, serving)
        if chosen == self.me:
            return self._load(record.run)
        return [Send(chosen, RunOpen(record.run))] if hinted_by is not None else []

    def _load(self, run: RunId) -> list[Effect]:
        self._loads[run] = Load(run)
        dag, _, _ = dag_run_name(run).rpartition(":")
        blob = GetBlob(workflow_of(run), f"dag/{dag}" if dag else "workflow")
        return [self._asks.ask(Loading(run), LoadRun(run), ReadLog(run), blob)]

    def loaded(self, run: RunId, answers: Sequence[object], wall_at: float) -> list[Effect]:
        """More of the run was read: read on, or claim it, unless it has ended or cannot be driven."""
        load = self._loads[run]
        if len(answers) == _FIRST_ANSWERS:
            record, batches, blob = answers
            load.record = record if isinstance(record, RunRecord) else None
            load.blob = blob if isinstance(blob, bytes) else None
        else:
            (batches,) = answers
        more = [batch for batch in batches if isinstance(batch, Batch)] if isinstance(batches, tuple) else []
        load.batches += more
        if more:
            return [self._asks.ask(Loading(run), ReadLog(run, since=load.next_seq))]
        return self._judge(load, wall_at)

    def _judge(self, load: Load, wall_at: float) -> list[Effect]:
        if load.record is None or load.record.state.is_final:
            return self._give_up(load)
        ends = [entry for entry in load.entries if isinstance(entry, RunEnded)]
        if ends:
            # Its owner died after it had logged the end, and before the record said so.
            return self._give_up(load, self._end(load, ends[-1], load.batches[-1].at))
        try:
            load.definition = definition_of(load.run, load.blob, self._definitions)
            load.blob = None  # may be large, and is needed no more
        except PeerError as problem:
            # It was accepted, so it has to end or to say why not.
            end = RunEnded(State.FAILED, f"it cannot be driven: {problem}")
            told = Emit(StoreProblem(f"run {load.run} has failed: {end.reason}"))
            return self._give_up(load, told, self._end(load, end, wall_at))
        return self._claim(load, wall_at)

    def _give_up(self, load: Load, *effects: Effect) -> list[Effect]:
        del self._loads[load.run]
        return list(effects)

    def _end(self, load: Load, end: RunEnded, at: float) -> Effect:
        update = UpdateRun(load.run, load.epoch, state=end.state, reason=end.reason, ended_at=at)
        return self._asks.ask(Mending(load.run), update)

    def _claim(self, load: Load, wall_at: float) -> list[Effect]:
        """Append the claim behind what was read."""
        epoch = load.epoch + 1
        token = f"{self.me}/claim/{load.next_seq}"
        batch = Batch(load.run, load.next_seq, token, (Claimed(self.me, epoch),), wall_at)
        return [self._asks.ask(Claiming(load.run), Append(batch))]

    def take(self, run: RunId) -> Load:
        """The load of a run whose claim was answered."""
        return self._loads.pop(run)

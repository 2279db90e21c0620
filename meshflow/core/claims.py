"""Which open runs this node should drive, and how it becomes their owner.

The view of the members proposes, the log decides: every node looks at all open runs now and then, and at once when a
member dies or somebody hints at a run. A run without a living owner is claimed by the member that rendezvous hashing
names among those that serve its queue. Two nodes that disagree about the members both claim, and one append is refused.

Invariants:
1. Nothing is claimed whose owner is believed alive.
2. A claim is appended at the position that follows everything that was read and folded before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from meshflow.core.asks import Asks, Claiming, Loading
from meshflow.core.effects import Effect, Send
from meshflow.core.member import Member
from meshflow.core.messages import RunOpen
from meshflow.core.placement import owner_of
from meshflow.core.records import Batch, Claimed, RunRecord
from meshflow.core.requests import Append, GetBlob, LoadRun, ReadLog
from meshflow.ids import NodeId, RunId, dag_run_name, workflow_of


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

    @property
    def next_seq(self) -> int:
        """The first position after what was read."""
        return self.batches[-1].seq + 1 if self.batches else 0

    @property
    def epoch(self) -> int:
        """The epoch of the last claim, 0 before the first."""
        claims = [entry.epoch for batch in self.batches for entry in batch.entries if isinstance(entry, Claimed)]
        return claims[-1] if claims else 0


class Claims:
    """The runs this node is about to claim."""

    def __init__(self, me: NodeId, settings: ClaimSettings, asks: Asks, started_at: float) -> None:
        self.me = me
        self._settings = settings
        self._asks = asks
        self._settled_at = started_at + settings.settle_s
        self._loads: dict[RunId, Load] = {}

    def consider(
        self, record: RunRecord, members: Sequence[Member], hinted_by: NodeId | None, now: float
    ) -> list[Effect]:
        """What to do about an open run that this node does not drive. `hinted_by`: who pointed to it, None for
        nobody."""
        if record.run in self._loads:
            return []
        alive = {member.id: member for member in members}
        if record.owner in alive and record.owner != self.me:
            return []
        if record.owner is not None and record.owner != self.me and now < self._settled_at:
            return []
        serving = [member.id for member in members if record.queue in member.queues and not member.is_draining]
        if not serving:
            return []
        if self.me in serving and hinted_by in alive and hinted_by != self.me:
            return self.load(record.run)
        chosen = owner_of(record.run, serving)
        if chosen == self.me:
            return self.load(record.run)
        return [Send(chosen, RunOpen(record.run))] if hinted_by is not None else []

    def load(self, run: RunId) -> list[Effect]:
        """Read all that is needed to drive `run`."""
        if run in self._loads:
            return []
        self._loads[run] = Load(run)
        dag, _, _ = dag_run_name(run).rpartition(":")
        blob = GetBlob(workflow_of(run), f"dag/{dag}" if dag else "workflow")
        return [self._asks.ask(Loading(run), LoadRun(run), ReadLog(run), blob)]

    def loaded(self, run: RunId, answers: Sequence[object]) -> tuple[Load | None, list[Effect]]:
        """More of the run was read. Gives the load when it is complete, else what to read next."""
        load = self._loads.get(run)
        if load is None:
            return None, []
        if len(answers) == 3:
            record, batches, blob = answers
            load.record = record if isinstance(record, RunRecord) else None
            load.blob = blob if isinstance(blob, bytes) else None
        else:
            (batches,) = answers
        more = [batch for batch in batches if isinstance(batch, Batch)] if isinstance(batches, tuple) else []
        load.batches += more
        if more:
            return None, [self._asks.ask(Loading(run), ReadLog(run, since=load.next_seq))]
        return load, []

    def claim(self, load: Load, wall_at: float) -> list[Effect]:
        """Append the claim behind what was read."""
        epoch = load.epoch + 1
        token = f"{self.me}/claim/{load.next_seq}"
        batch = Batch(load.run, load.next_seq, token, (Claimed(self.me, epoch),), wall_at)
        return [self._asks.ask(Claiming(load.run), Append(batch))]

    def take(self, run: RunId) -> Load | None:
        """The load of a run whose claim is settled, or that is not to be claimed after all."""
        return self._loads.pop(run, None)

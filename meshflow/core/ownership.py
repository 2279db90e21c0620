"""Who drives a run: the writer's end of a run log.

The log is the whole consensus. Entry `(run, seq)` is written only if nothing is there, so of two nodes that both
believe they own a run one is refused at its next append, and stands down at once.

Invariants:
1. A node drives a run only after its Claimed entry was appended, at the seq that follows all it has read and folded.
2. One append of a run is on its way at a time; what happens meanwhile goes with the next one (group commit).
3. Effects that must not be seen before the log has them are held back until their batch is appended.
4. After a refused append nothing held back is ever released.

Source: fencing by conditional append, as in Corfu and Kafka's log; Temporal's rule on unknown outcomes, by tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from meshflow.core.asks import Appending, Asks, Closing
from meshflow.core.effects import Ask, Effect
from meshflow.core.records import Batch, Entry
from meshflow.core.requests import Append, Request
from meshflow.ids import NodeId, RunId

_MAX_BATCH_ENTRIES = 4096
"""Keeps one batch well below the 16 MB that a MongoDB document may have (64 KiB of inline data per entry at most
would be 256 MiB, so bytes are counted too)."""

_MAX_BATCH_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class _Pending:
    entries: list[Entry] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    then: list[Effect] = field(default_factory=list)
    size_bytes: int = 0
    is_proof: bool = False


class RunLog:
    """Appends to the log of one run for its owner. `next_seq` is the first free position it knows of."""

    def __init__(self, run: RunId, me: NodeId, epoch: int, next_seq: int, asks: Asks) -> None:
        self.run = run
        self.me = me
        self.epoch = epoch
        self.next_seq = next_seq
        self.is_lost = False
        self._asks = asks
        self._queue: list[_Pending] = []
        self._in_flight: _Pending | None = None
        self._batch: Batch | None = None

    @property
    def is_idle(self) -> bool:
        """Whether all that was added is in the store."""
        return self._in_flight is None and not self._queue

    @property
    def is_appending(self) -> bool:
        """Whether a batch is on its way, so that what is added now goes with a later one."""
        return self._in_flight is not None

    @property
    def is_urgent(self) -> bool:
        """Whether something waits for what was added."""
        return any(pending.then or pending.is_proof for pending in self._queue)

    @property
    def backlog_count(self) -> int:
        """Entries that are not in the store yet."""
        flying = len(self._in_flight.entries) if self._in_flight else 0
        return flying + sum(len(pending.entries) for pending in self._queue)

    def add(
        self,
        *entries: Entry,
        then: Sequence[Effect] = (),
        requests: Sequence[Request] = (),
        size_bytes: int = 0,
        is_proof: bool = False,
    ) -> None:
        """Have `entries` appended with the next batch, `requests` performed in the same group commit (whether or not
        the append is refused: so nothing that a stale owner must not do), and then the effects `then`, if it is not.
        `is_proof`: append even if there is nothing to append, because only the true owner may do what is in `then`."""
        pending = self._queue[-1] if self._queue else None
        full = pending is not None and (
            len(pending.entries) >= _MAX_BATCH_ENTRIES or pending.size_bytes >= _MAX_BATCH_BYTES
        )
        if pending is None or full:
            pending = _Pending()
            self._queue.append(pending)
        pending.entries += entries
        if requests:
            pending.requests += requests
        if then:
            pending.then += then
        pending.size_bytes += size_bytes
        pending.is_proof |= is_proof

    def flush(self, wall_at: float) -> list[Effect]:
        """Send the next batch on its way, unless one is. `wall_at` stamps it for people."""
        if self._in_flight is not None or not self._queue or self.is_lost:
            return []
        pending = self._in_flight = self._queue.pop(0)
        requests = list(pending.requests)
        self._batch = None
        if pending.entries or pending.is_proof:
            token = f"{self.me}/{self.epoch}/{self.next_seq}"
            self._batch = Batch(self.run, self.next_seq, token, tuple(pending.entries), wall_at)
            requests.insert(0, Append(self._batch))
        if requests:
            return [self._asks.ask(Appending(self.run), *requests)]
        self._in_flight = None
        return pending.then

    def last_words(self, *requests: Request) -> Ask:
        """What is to be written once the log has the end of the run; to be given to `add` as what waits for it."""
        return self._asks.ask(Closing(self.run), *requests)

    def answered(self, answers: Sequence[object]) -> tuple[Batch | None, list[Effect]]:
        """The store has performed the batch in flight. Gives the batch if entries were appended, and the effects that
        waited for it; after a refusal, `is_lost` is set and nothing is released."""
        pending, batch = self._in_flight, self._batch
        self._in_flight = self._batch = None
        if pending is None or self.is_lost:
            return None, []
        if batch is not None:
            if answers[0] is not True:
                self.is_lost = True
                self._forget_asks(pending, *self._queue)
                self._queue.clear()
                return None, []
            self.next_seq += 1
        return batch, pending.then

    def _forget_asks(self, *held_back: _Pending) -> None:
        """Asks that will never be made need no answer."""
        for pending in held_back:
            for effect in pending.then:
                if isinstance(effect, Ask):
                    self._asks.take(effect.token)

"""The runs of one node beside a store that answers when it is told to, for the tests of the owner's end."""

from typing import Any

from meshflow.core.asks import Asks
from meshflow.core.attempts import Attempt
from meshflow.core.claims import ClaimSettings
from meshflow.core.dispatch import DispatchSettings
from meshflow.core.effects import Ask, Effect, Emit, Send
from meshflow.core.events import Event
from meshflow.core.graph import DagDefinition, DagSpec, WorkflowSpec
from meshflow.core.member import Member
from meshflow.core.messages import Job, Message, Owned, Reports, RunOpen, Signal, SignalAnswer, Work
from meshflow.core.owned import OwnedRuns
from meshflow.core.owner_settings import OwnerSettings
from meshflow.core.records import Batch, Entry, RunRecord, State, Value
from meshflow.core.requests import CreateRun, ListRuns, LoadRun, ReadLog, Request, UpdateRun
from meshflow.errors import PeerError
from meshflow.ids import NodeId, RunId
from meshflow.store.memory import MemoryStore
from tests.core.builders import ANN, ME, RUN, WF, dag, definition, finished, member, workflow, workflow_record

WALL_OFFSET_S = 2000.0


class Blueprints:
    """Definitions whose bytes are their names."""

    def __init__(self, *dags: DagSpec, others: str = "") -> None:
        self.spec = workflow(" ".join(spec.name for spec in dags), others)
        self.dags = {spec.name.encode(): definition(spec) for spec in dags}

    def workflow(self, data: bytes) -> WorkflowSpec:
        """Raises: PeerError if it is not there."""
        return self.spec

    def dag(self, data: bytes) -> DagDefinition:
        """Raises: PeerError if it is not there."""
        if data not in self.dags:
            raise PeerError(f"no dag {data!r}")
        return self.dags[data]

    @property
    def blobs(self) -> dict[str, bytes]:
        """What `submit` puts into the store."""
        return {"workflow": b"workflow"} | {f"dag/{name.decode()}": name for name in self.dags}


class Owning:
    """OwnedRuns of ME, beside ANN, with a store of its own or one that is shared with other nodes."""

    def __init__(
        self,
        blueprints: Blueprints | None = None,
        *,
        me: NodeId = ME,
        store: MemoryStore | None = None,
        members: tuple[Member, ...] | None = None,
        **settings: Any,
    ) -> None:
        self.me = me
        self.blueprints = blueprints or Blueprints(dag("a b", "a>b"))
        self.store = store or MemoryStore()
        self.asks = Asks()
        self.runs = OwnedRuns(
            me, self.asks, self.blueprints, ClaimSettings(), OwnerSettings(**settings), DispatchSettings(), 0.0
        )
        self.runs.set_members(members or (member(me), member(ANN, queues=("task",))))
        self.waiting: list[Ask] = []
        """What was asked and not answered."""
        self.sent: list[Send] = []
        self.events: list[Event] = []

    def submit(self, **fields: Any) -> None:
        """Have the workflow run in the store."""
        created = CreateRun(workflow_record(**fields), self.blueprints.blobs, {"meta": {}, "data": {}})
        assert self.store.perform([created]) == [True]

    def do(self, effects: list[Effect], now: float = 0.0) -> None:
        """Perform effects; what is asked of the store waits, and what is sent to this node goes round."""
        for effect in effects:
            match effect:
                case Ask():
                    self.waiting.append(effect)
                case Emit(event=event):
                    self.events.append(event)
                case Send(to=self.me, message=message):
                    self.do(self._hear(message, now), now)
                case Send():
                    self.sent.append(effect)

    def _hear(self, message: Message, now: float) -> list[Effect]:
        match message:
            case RunOpen(run=run):
                return self.runs.run_open(self.me, run)
            case Signal():
                return self.runs.signal(self.me, message, now)
            case SignalAnswer():
                return self.runs.signal_answered(message)
            case Owned():
                self.runs.owned_elsewhere(self.me, message)
        return []

    def answer(self, now: float = 0.0, count: int | None = None) -> None:
        """Have the store answer what was asked so far, or the first `count` asks."""
        asks, self.waiting = self.waiting[:count], self.waiting[len(self.waiting[:count]) :]
        for ask in asks:
            purpose = self.asks.take(ask.token)
            assert purpose is not None
            self.do(self.runs.answered(purpose, self.store.perform(ask.requests), now), now)

    def flush(self, now: float = 0.0) -> None:
        """One flush."""
        self.do(self.runs.flush(now, WALL_OFFSET_S), now)

    def settle(self, now: float = 0.0) -> None:
        """Flush and answer until nothing moves."""
        self.flush(now)
        while self.waiting:
            self.answer(now)
            self.flush(now)

    def pop_sent(self, to: NodeId = ANN) -> list[Message]:
        """What was sent to that node since the last call."""
        messages = [send.message for send in self.sent if send.to == to]
        self.sent = [send for send in self.sent if send.to != to]
        return messages

    def work(self, now: float = 0.0, slots: int = 100) -> list[Job]:
        """The jobs that ANN is handed, having credit for more than enough."""
        self.runs.dispatcher.demand(ANN, slots, 0, now)
        self.settle(now)
        return [job for message in self.pop_sent() if isinstance(message, Work) for job in message.jobs]

    def report(self, of: Attempt, first: int, state: State = State.COMPLETED, now: float = 0.0) -> None:
        """ANN says that an attempt has ended."""
        report = finished(of, state, value=Value(b"x"), reason="so")
        self.do(self.runs.reports(ANN, Reports(of.run, first, 1, (report,), 0, 0), now), now)
        self.settle(now)

    def record(self, run: RunId = RUN) -> RunRecord:
        """The run's record."""
        (record,) = self.store.perform([LoadRun(run)])
        assert isinstance(record, RunRecord)
        return record

    def log(self, run: RunId = RUN) -> list[Entry]:
        """All entries of a run's log."""
        (batches,) = self.store.perform([ReadLog(run)])
        assert isinstance(batches, tuple)
        return [entry for batch in batches if isinstance(batch, Batch) for entry in batch.entries]

    def scans(self) -> int:
        """How many looks at all open runs wait for an answer."""
        return sum(isinstance(request, ListRuns) for ask in self.waiting for request in ask.requests)

    def asked(self) -> list[Request]:
        """All that was asked and not answered."""
        return [request for ask in self.waiting for request in ask.requests]


def taken_over(owning: Owning, run: RunId, epoch: int, **fields: Any) -> None:
    """Another node says in the record that it drives the run."""
    assert owning.store.perform([UpdateRun(run, epoch, **fields)]) == [True]


def driving(blueprints: Blueprints | None = None, **settings: Any) -> Owning:
    """The workflow run and its first dag run are driven by ME."""
    owning = Owning(blueprints, **settings)
    owning.submit()
    owning.settle()
    owning.settle()
    assert sorted(owning.runs.runs) == sorted((WF, RUN))
    owning.pop_sent()
    return owning

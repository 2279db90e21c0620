"""N simulated nodes, one shared store, and what happens between them, on one heap of events in virtual time.

The cluster is the shell of each node: it performs effects as the real one does, but with a heap in place of sockets,
clocks, processes and disks. It keeps a history of what was executed, for `checks.py`.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from meshflow import wire
from meshflow.core.effects import (
    AnswerTask,
    Ask,
    Effect,
    Emit,
    Forget,
    Kill,
    Send,
    SendTo,
    Start,
    TellStopping,
)
from meshflow.core.events import Event
from meshflow.core.graph import DagDefinition, WorkflowSpec
from meshflow.core.member import Member
from meshflow.core.membership_settings import MembershipSettings
from meshflow.core.messages import Attempt, Finished, Job, Message, RunOpen
from meshflow.core.node import Node, NodeSettings
from meshflow.core.records import RunRecord, State, Stop, Value
from meshflow.core.requests import AskStop, CreateRun, LoadRun, Request
from meshflow.core.worker import WorkerSettings
from meshflow.ids import NodeId, RunId, new_node_id, new_run_id
from meshflow.sim.network import Network
from meshflow.sim.programs import Program, result_of_job
from meshflow.store.memory import MemoryStore

_CLIENT = NodeId("c11e47c11e47c11e")
_TICK_SLACK_S = 0.0005
"""A real loop wakes up a little after its deadline."""


class _Definitions:
    def workflow(self, data: bytes) -> WorkflowSpec:
        return wire.decode(WorkflowSpec, data)

    def dag(self, data: bytes) -> DagDefinition:
        return wire.decode(DagDefinition, data)


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution of a task, as it really happened. `ended_at` is None if it was killed with its node."""

    attempt: Attempt
    name: str
    node: NodeId
    started_at: float
    inputs: tuple[str, ...]
    ended_at: float | None = None


@dataclass(slots=True)
class _Running:
    job: Job
    program: Program
    started_at: float
    step: int = 0
    is_ended: bool = False


@dataclass(slots=True)
class SimNode:
    """A node and the world around it."""

    node: Node
    address: str
    is_alive: bool = True
    is_paused: bool = False
    running: dict[Attempt, _Running] = field(default_factory=dict)
    asks: list[Ask] = field(default_factory=list)
    is_asking: bool = False
    inbox: list[tuple[NodeId, Message]] = field(default_factory=list)
    wake_at: float = float("inf")


class Cluster:
    """A mesh of simulated nodes. Everything random comes from `seed`."""

    def __init__(
        self,
        seed: int,
        *,
        store: MemoryStore | None = None,
        membership: MembershipSettings | None = None,
        worker: WorkerSettings | None = None,
    ) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.store = store if store is not None else MemoryStore()
        self.network = Network(random.Random(self.rng.random()))
        self.nodes: dict[NodeId, SimNode] = {}
        self.events: list[tuple[float, NodeId, Event]] = []
        self.executions: list[Execution] = []
        self.accepted: list[RunId] = []
        self.store_delay_s = 0.002
        self.store_reply_loss = 0.0
        """Share of group commits that are applied, but whose answer is lost, so that they are sent again."""
        self.is_store_away = False
        self.settings = NodeSettings(
            membership or MembershipSettings(), worker or WorkerSettings(slots=2)
        )
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self.step_count = 0

    # --- building and breaking ---

    def add_node(self, queues: tuple[str, ...] = ("workflow", "dag", "task"), slots: int = 2) -> NodeId:
        """Start a node that joins through the others that are alive."""
        id_ = new_node_id(self.rng)
        address = f"sim://{id_}"
        me = Member(id_, address, name=f"n{len(self.nodes) + 1}", queues=queues, slots=slots, store="sim")
        settings = NodeSettings(
            self.settings.membership,
            WorkerSettings(slots=slots),
            self.settings.owner,
            self.settings.dispatch,
            self.settings.claims,
        )
        node = Node(me, settings, _Definitions(), random.Random(self.rng.random()), self.now)
        node.wall_offset_s = 1_700_000_000.0
        seeds = tuple(other.address for other in self.nodes.values() if other.is_alive)
        self.nodes[id_] = SimNode(node, address)
        self._perform(id_, node.start(seeds[-3:], self.now))
        self._flush(id_)
        return id_

    def kill(self, node: NodeId) -> None:
        """The node and its tasks are gone; nobody is told. Sockets to it break, which its peers notice soon."""
        victim = self.nodes[node]
        victim.is_alive = False
        for attempt, running in victim.running.items():
            self._record(node, attempt, running, None)
        victim.running.clear()
        for other in self.alive():
            if other != node and (node, other) not in self.network.cuts:
                self._after(self.rng.uniform(0.001, 0.02), self._breaker(other, node))

    def _breaker(self, at: NodeId, peer: NodeId) -> Callable[[], None]:
        def broke() -> None:
            self._input(at, lambda node: node.disconnected(peer, self.now))

        return broke

    def pause(self, node: NodeId) -> None:
        """SIGSTOP: it keeps its state and does nothing; its task processes go on."""
        self.nodes[node].is_paused = True

    def resume(self, node: NodeId) -> None:
        """SIGCONT: it reads what has come meanwhile."""
        sim = self.nodes[node]
        sim.is_paused = False
        inbox, sim.inbox = sim.inbox, []
        for sender, message in inbox:
            self._deliver(sender, node, message)
        self._wake(node)

    def drain(self, node: NodeId) -> None:
        """Ask a node to finish what it has; it leaves when it has."""
        self._input(node, lambda core: core.drain(self.now))

    def alive(self) -> list[NodeId]:
        """Nodes that were not killed, in the order in which they started."""
        return [id_ for id_, sim in self.nodes.items() if sim.is_alive]

    # --- the client ---

    def submit(self, spec: WorkflowSpec, dags: list[DagDefinition]) -> RunId:
        """Accept a workflow as the client does: durably in the store, then a hint to some node."""
        run = new_run_id(self.rng)
        record = RunRecord(run, spec.name, spec.name, spec.queue, created_at=self.now + 1_700_000_000.0)
        blobs = {"workflow": wire.encode(spec)} | {f"dag/{dag.spec.name}": wire.encode(dag) for dag in dags}
        create = CreateRun(record, blobs, {"meta": {}, "data": {}})
        assert self.store.perform([create]) == [True]
        self.accepted.append(run)
        alive = self.alive()
        if alive:
            self._transmit(_CLIENT, self.rng.choice(alive), RunOpen(run))
        return run

    def ask_stop(self, run: RunId, stop: Stop) -> None:
        """Ask a run to end early, as the client does."""
        self.store.perform([AskStop(run, stop, "the user asked for it")])
        alive = self.alive()
        if alive:
            self._transmit(_CLIENT, self.rng.choice(alive), RunOpen(run))

    def record(self, run: RunId) -> RunRecord:
        """The run's record now."""
        (record,) = self.store.perform([LoadRun(run)])
        assert isinstance(record, RunRecord)
        return record

    # --- time ---

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let virtual time pass, at most `seconds`; stop when `until` holds (looked at every 10 ms). Gives whether it
        does."""
        end = self.now + seconds
        look_at = self.now
        while self._heap and self._heap[0][0] <= end:
            at, _, action = heapq.heappop(self._heap)
            if until is not None and at >= look_at:
                if until():
                    heapq.heappush(self._heap, (at, 0, action))
                    return True
                look_at = at + 0.01
            self.now = max(self.now, at)
            self.step_count += 1
            action()
        self.now = end
        return until is None or until()

    def run_until_final(self, seconds: float) -> bool:
        """Let time pass until every accepted run has ended; False if some has not within `seconds`."""
        return self.run(seconds, lambda: all(self.record(run).state.is_final for run in self.accepted))

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (self.now + seconds, self._count, action))

    # --- messages ---

    def _transmit(self, sender: NodeId, to: NodeId, message: Message) -> None:
        for delay_s in self.network.delays(sender, to):
            self._after(delay_s, lambda: self._deliver(sender, to, message))

    def _deliver(self, sender: NodeId, to: NodeId, message: Message) -> None:
        sim = self.nodes.get(to)
        if sim is None or not sim.is_alive:
            return
        if sim.is_paused:
            sim.inbox.append((sender, message))
            return
        self._input(to, lambda node: node.handle(sender, message, self.now))

    def _input(self, id_: NodeId, action: Callable[[Node], list[Effect]]) -> None:
        sim = self.nodes[id_]
        if sim.is_alive and not sim.is_paused:
            self._perform(id_, sim.node.perform(action(sim.node)))
            self._flush(id_)

    def _flush(self, id_: NodeId) -> None:
        sim = self.nodes[id_]
        self._perform(id_, sim.node.flush(self.now))
        if sim.node.is_drained and sim.is_alive:
            self._perform(id_, sim.node.leave(self.now))
            sim.is_alive = False
            return
        due = sim.node.deadline()
        if due < sim.wake_at or sim.wake_at <= self.now:
            sim.wake_at = max(due, self.now)
            self._after(max(0.0, due - self.now) + _TICK_SLACK_S, lambda: self._wake(id_))

    def _wake(self, id_: NodeId) -> None:
        sim = self.nodes[id_]
        if sim.is_alive and not sim.is_paused:
            sim.wake_at = float("inf")
            self._flush(id_)

    # --- effects ---

    def _perform(self, id_: NodeId, effects: list[Effect]) -> None:
        sim = self.nodes[id_]
        for effect in effects:
            match effect:
                case Send(to=to, message=message):
                    self._transmit(id_, to, message)
                case SendTo(address=address, message=message):
                    for other, peer in self.nodes.items():
                        if peer.address == address:
                            self._transmit(id_, other, message)
                case Ask():
                    sim.asks.append(effect)
                    self._commit(id_)
                case Start(job=job, codes=codes):
                    self._start(id_, job, codes[job.payload])
                case Kill(attempt=attempt, reason=reason):
                    self._after(0.001, lambda attempt=attempt, reason=reason: self._end(id_, attempt, reason))
                case AnswerTask(attempt=attempt):
                    self._after(0.0001, lambda attempt=attempt: self._continue(id_, attempt))
                case Emit(event=event):
                    self.events.append((self.now, id_, event))
                case TellStopping() | Forget():
                    pass

    def _commit(self, id_: NodeId) -> None:
        """Group commit: one at a time per node, taking all that was asked meanwhile."""
        sim = self.nodes[id_]
        if sim.is_asking or not sim.asks:
            return
        sim.is_asking = True
        asks, sim.asks = sim.asks, []
        self._after(self.store_delay_s * self.rng.uniform(0.5, 1.5), lambda: self._committed(id_, asks))

    def _committed(self, id_: NodeId, asks: list[Ask]) -> None:
        sim = self.nodes[id_]
        if not sim.is_alive:
            return
        if self.is_store_away:
            self._after(0.2, lambda: self._committed(id_, asks))
            return
        requests: list[Request] = [request for ask in asks for request in ask.requests]
        answers = self.store.perform(requests)
        if self.rng.random() < self.store_reply_loss:
            self._after(0.1, lambda: self._committed(id_, asks))
            return
        self._after(self.store_delay_s * 0.1, lambda: self._answer(id_, asks, answers))

    def _answer(self, id_: NodeId, asks: list[Ask], answers: list[object]) -> None:
        sim = self.nodes[id_]
        if not sim.is_alive:
            return
        if sim.is_paused:
            self._after(0.05, lambda: self._answer(id_, asks, answers))
            return
        sim.is_asking = False
        start = 0
        for ask in asks:
            mine = answers[start : start + len(ask.requests)]
            start += len(ask.requests)
            self._input(id_, lambda node, ask=ask, mine=mine: node.answered(ask.token, mine, self.now))  # type: ignore[misc]
        self._commit(id_)

    # --- tasks ---

    def _start(self, id_: NodeId, job: Job, code: bytes) -> None:
        program = Program.decode(code)
        running = _Running(job, program, self.now)
        self.nodes[id_].running[job.attempt] = running
        self._after(program.duration_s, lambda: self._continue(id_, job.attempt))

    def _continue(self, id_: NodeId, attempt: Attempt) -> None:
        sim = self.nodes[id_]
        running = sim.running.get(attempt)
        if running is None or running.is_ended:
            return
        if sim.is_paused:
            self._after(0.05, lambda: self._continue(id_, attempt))
            return
        if running.step < len(running.program.signals):
            action, argument = running.program.signals[running.step]
            running.step += 1
            arguments: dict[str, object] = {"name": argument} if action == "start_dag" else {"names": None}
            if action == "join_dags" and argument:
                arguments = {"names": [argument]}
            sim.node.task_signal(attempt, running.step, action, arguments, None, self.now)
            self._flush(id_)
            return
        self._end(id_, attempt, "")

    def _end(self, id_: NodeId, attempt: Attempt, killed: str) -> None:
        sim = self.nodes[id_]
        running = sim.running.get(attempt)
        if running is None or not sim.is_alive:
            return
        if sim.is_paused:
            self._after(0.05, lambda: self._end(id_, attempt, killed))
            return
        del sim.running[attempt]
        program, job = running.program, running.job
        state = State.FAILED if killed or attempt.attempt <= program.failures else program.state
        reason = killed or ("it was told to fail" if state is State.FAILED else "")
        self._record(id_, attempt, running, self.now)
        report = Finished(
            attempt, state, Value(result_of_job(job)), program.limit, reason, running.started_at, self.now
        )
        sim.node.task_finished(report, self.now)
        self._flush(id_)

    def _record(self, node: NodeId, attempt: Attempt, running: _Running, ended_at: float | None) -> None:
        inputs = tuple(item.task for item in running.job.inputs)
        self.executions.append(
            Execution(attempt, running.job.name, node, running.started_at, inputs, ended_at)
        )

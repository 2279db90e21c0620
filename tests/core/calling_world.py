"""Clients that call, and whole nodes that make the calls, in virtual time, on a network that loses and reorders.

A node's task processes are played here: they run what is started in order, `slots` at a time.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from meshflow.core.attempts import Attempt
from meshflow.core.caller import Caller
from meshflow.core.caller_settings import CallerSettings
from meshflow.core.calling import Call, Function
from meshflow.core.client_messages import AskStatus, NodeStatus
from meshflow.core.dispatch import DispatchSettings
from meshflow.core.effects import Ask, Effect, Emit, Kill, Recall, Send, SendTo, Start
from meshflow.core.events import MemberDied
from meshflow.core.member import Status
from meshflow.core.membership_settings import MembershipSettings
from meshflow.core.messages import Finished, Job, Message
from meshflow.core.node import Node, NodeSettings
from meshflow.core.records import State, Value
from meshflow.core.worker_settings import WorkerSettings
from meshflow.ids import NodeId
from meshflow.store.memory import MemoryStore
from tests.core.builders import dag, member
from tests.core.owning import Blueprints

DEADLY = b"deadly"
"""Calls with such arguments end their process."""
ASK_S = 1.0


def code_of(function: Function) -> bytes:
    return f"code of {function.name}".encode()


@dataclass(eq=False)
class Host:
    """A node and its task processes."""

    node: Node
    slots: int
    waiting: list[Job] = field(default_factory=list)
    running: dict[Attempt, Job] = field(default_factory=dict)
    begun_at: dict[Attempt, float] = field(default_factory=dict)
    wake_at: float = -1.0


@dataclass(eq=False)
class Client:
    """A program that calls; `results` has what came of each call, by its arguments."""

    id: NodeId
    caller: Caller
    results: dict[bytes, list[bytes | str]] = field(default_factory=dict)
    calls: dict[bytes, Call] = field(default_factory=dict)
    knows: list[NodeId] = field(default_factory=list)
    wake_at: float = -1.0


class World:
    """Everything there is. `loss` is the chance that a message is lost, and the same that it is doubled, or late; 0:
    all come, in order."""

    def __init__(self, seed: int, loss: float) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.loss = loss
        self.hosts: dict[NodeId, Host] = {}
        self.clients: dict[NodeId, Client] = {}
        self.begun_count = 0
        self.doubles: list[str] = []
        """Calls that began while another living node ran them."""
        self.wrong_deaths: list[str] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._arrived_at: dict[tuple[NodeId, NodeId], float] = {}
        """When the last message between two arrives: without loss they keep their order."""
        self._store = MemoryStore()

    # --- what happens ---

    def join(self, name: str, slots: int = 2, **me: object) -> Host:
        """A node joins."""
        node_id = NodeId(name)
        seeds = [f"sim://{peer}" for peer in self.hosts]
        settings = NodeSettings(MembershipSettings(), WorkerSettings(slots=slots))
        who = member(node_id, slots=slots, **me)
        node = Node(who, settings, Blueprints(dag("a")), random.Random(self.rng.random()), self.now)
        host = self.hosts[node_id] = Host(node, slots)
        self._perform(host, node.start(seeds, self.now))
        self._flush(host)
        return host

    def kill(self, name: str) -> None:
        """A node dies without a word."""
        del self.hosts[NodeId(name)]

    def client(self, name: str) -> Client:
        """A client that knows all nodes."""
        client = Client(NodeId(name), Caller(NodeId(name), CallerSettings(max_losses=1000), DispatchSettings()))
        client.knows = list(self.hosts)
        client.caller.set_members([host.node.membership.me for host in self.hosts.values()])
        self.clients[client.id] = client
        self._ask(client)
        return client

    def call(self, client: Client, function: Function, *arguments: bytes) -> None:
        calls = [Call(function, each, mark=each) for each in arguments]
        client.calls.update(zip(arguments, calls, strict=True))
        client.caller.add(calls, code_of(function))
        self._settle(client)

    def cancel(self, client: Client, *arguments: bytes) -> None:
        calls = [client.calls[each] for each in arguments]
        for call in calls:
            call.mark = None
        self._send_all(client.id, client.caller.cancel(calls))
        self._settle(client)

    def look(self, client: Client) -> None:
        """It learns who is alive."""
        client.caller.set_members([host.node.membership.me for host in self.hosts.values()])
        self._settle(client)

    def leave(self, client: Client) -> None:
        """It says goodbye and is gone."""
        self._send_all(client.id, client.caller.close())
        del self.clients[client.id]

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass; whether `until` came true."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, act = heapq.heappop(self._events)
            act()
            if until():
                return True
        self.now = end
        return until()

    # --- actors ---

    def _at(self, when: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(when, self.now), next(self._order), act))

    def _flush(self, host: Host) -> None:
        self._perform(host, host.node.flush(self.now))
        self._work(host)
        self._wake(host, host.node.deadline(), lambda: self._flush(host))

    def _settle(self, client: Client) -> None:
        """What the thread of a client does in a turn."""
        caller = client.caller
        while caller.ended:
            ended, caller.ended = caller.ended, []
            for each in ended:
                outcomes: list[bytes | str] = [each.reason] * len(each.calls)
                if not each.reason:
                    outcomes = [*each.value.split(b"|")]
                for call, outcome in zip(each.calls, outcomes, strict=False):
                    if isinstance(call.mark, bytes):
                        client.results.setdefault(call.mark, []).append(outcome)
                if len(outcomes) < len(each.calls):
                    caller.cut_short(each.calls, len(outcomes))
        self._send_all(client.id, caller.flush(self.now))
        self._wake(client, caller.deadline(), lambda: self._settle(client))

    def _wake(self, actor: Host | Client, due: float, act: Callable[[], None]) -> None:
        # Never twice at one time, so that an actor whose deadline has passed cannot hold the world up.
        due = max(due, self.now + 1e-4)
        if due < 1e9 and not self.now < actor.wake_at <= due:
            actor.wake_at = due
            self._at(due, lambda: act() if self._is_there(actor) and actor.wake_at == due else None)

    def _is_there(self, actor: Host | Client) -> bool:
        return actor in self.hosts.values() or actor in self.clients.values()

    def _ask(self, client: Client) -> None:
        """Who is alive? Now and then."""
        if not self._is_there(client):
            return
        if client.knows and not client.caller.is_idle:
            self._send(client.id, client.knows[0], AskStatus(0))
            client.knows.append(client.knows.pop(0))
        self._at(self.now + ASK_S, lambda: self._ask(client))

    # --- the network ---

    def _send_all(self, sender: NodeId, effects: list[Effect]) -> None:
        for effect in effects:
            assert isinstance(effect, Send)
            self._send(sender, effect.to, effect.message)

    def _send(self, sender: NodeId, to: NodeId, message: Message) -> None:
        if self.rng.random() < self.loss:
            return
        for _ in range(2 if self.rng.random() < self.loss else 1):
            delay = self.rng.uniform(1e-4, 5e-3) if self.rng.random() > self.loss else self.rng.uniform(0.0, 0.2)
            arrives_at = self.now + delay
            if not self.loss:
                arrives_at = self._arrived_at[sender, to] = max(arrives_at, self._arrived_at.get((sender, to), 0.0))
            self._at(arrives_at, lambda: self._deliver(sender, to, message))

    def _deliver(self, sender: NodeId, to: NodeId, message: Message) -> None:
        if to in self.hosts:
            host = self.hosts[to]
            self._perform(host, host.node.handle(sender, message, self.now))
            self._flush(host)
        elif to in self.clients:
            client = self.clients[to]
            if isinstance(message, NodeStatus):
                alive = [
                    each for each in (*message.members, message.member) if each.status in (Status.ALIVE, Status.SUSPECT)
                ]
                client.knows = [each for each in client.knows if each in {one.id: 0 for one in alive}]
                client.knows += [each.id for each in alive if each.id not in client.knows]
                client.caller.set_members(alive)
            else:
                self._send_all(client.id, client.caller.handle(sender, message, self.now))
            self._settle(client)

    # --- a node's effects and processes ---

    def _perform(self, host: Host, effects: list[Effect]) -> None:
        me = host.node.id
        for effect in host.node.perform(effects):
            match effect:
                case Send(to=to, message=message):
                    self._send(me, to, message)
                case SendTo(address=address, message=message):
                    self._send(me, NodeId(address.removeprefix("sim://")), message)
                case Ask(token=token, requests=requests):
                    self._perform(host, host.node.answered(token, self._store.perform(requests), self.now))
                case Start(job=job, codes=codes):
                    assert all(code == f"code of {job.name}".encode() for code in codes.values()), (job, codes)
                    host.waiting.append(job)
                case Recall(attempts=attempts):
                    for job in [job for job in host.waiting if job.attempt in attempts]:
                        host.waiting.remove(job)
                        host.node.task_returned(job.attempt)
                case Kill(attempt=attempt):
                    self._end(host, attempt, State.FAILED, "killed")
                case Emit(event=MemberDied(member=dead)) if dead.id in self.hosts:
                    self.wrong_deaths.append(dead.id)
                case _:
                    pass

    def _work(self, host: Host) -> None:
        while host.waiting and len(host.running) < host.slots:
            job = host.waiting.pop(0)
            self._note_begun(host, job)
            host.running[job.attempt] = job
            host.begun_at[job.attempt] = self.now
            seconds = sum(self.rng.choice((1e-4, 1e-4, 1e-3, 0.05)) for _ in job.calls)
            state = State.FAILED if any(data.startswith(DEADLY) for data in job.calls) else State.COMPLETED
            self._at(
                self.now + seconds,
                lambda job=job, state=state: self._end(host, job.attempt, state, ""),  # type: ignore[misc]
            )

    def _note_begun(self, host: Host, job: Job) -> None:
        self.begun_count += 1
        if self.wrong_deaths:
            return
        for other in self.hosts.values():
            for running in other.running.values() if other is not host else ():
                both = [data for data in running.calls if data in job.calls]
                if both and running.attempt.run == job.attempt.run:
                    self.doubles.append(f"{both} at {self.now}: on {host.node.id} and {other.node.id}")

    def _end(self, host: Host, attempt: Attempt, state: State, reason: str) -> None:
        job = host.running.pop(attempt, None)
        for waiting in [each for each in host.waiting if each.attempt == attempt]:
            host.waiting.remove(waiting)
            job = waiting
        if job is None or host not in self.hosts.values():
            return
        # Large results cut a batch short.
        made = job.calls[: self.rng.randint(1, len(job.calls))] if self.rng.random() < 0.2 else job.calls
        value = b"|".join(b"done " + data for data in made) if state is State.COMPLETED else b""
        begun_at = host.begun_at.pop(attempt, self.now)
        host.node.task_finished(
            Finished(attempt, state, Value(value), None, reason or state.value, begun_at, self.now), self.now
        )
        self._flush(host)

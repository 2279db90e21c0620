"""Clients that call, and whole nodes that make the calls, in virtual time, on a network that loses and reorders.

A node's task processes are played here: they run what is started in order, `slots` at a time. That of a lease takes
what the client feeds it, in order, and answers without the network, as a socket of the host does.
"""

import heapq
import random
from collections.abc import Callable, Sequence
from itertools import count

from meshflow.core.attempts import Attempt
from meshflow.core.caller import Caller
from meshflow.core.caller_settings import CallerSettings
from meshflow.core.calling import Call, Function
from meshflow.core.client_messages import AskStatus, NodeStatus
from meshflow.core.dispatch import DispatchSettings
from meshflow.core.effects import Ask, Effect, Emit, Kill, Recall, Send, SendTo, Start
from meshflow.core.events import MemberDied
from meshflow.core.leasing import Feed, HangUp
from meshflow.core.member import Member, Status
from meshflow.core.membership_settings import MembershipSettings
from meshflow.core.messages import Finished, Job, Message
from meshflow.core.node import Node, NodeSettings
from meshflow.core.records import State, Value
from meshflow.core.worker_settings import WorkerSettings
from meshflow.ids import NodeId
from meshflow.store.memory import MemoryStore
from tests.core.builders import dag, member
from tests.core.calling_actors import Client, Host, Lines, Process, bytes_of, code_of
from tests.core.owning import Blueprints

DEADLY = b"deadly"
"""Calls with such arguments end their process."""
ASK_S = 1.0
DOOR = "door of "


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
        self.walled: list[NodeId] = []
        """Nodes whose processes find no door."""
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
        host = self.hosts.pop(NodeId(name))
        for process in host.processes.values():
            self._close_sockets(process)

    def client(self, name: str, near: tuple[str, ...] = (), max_out: int | None = None) -> Client:
        """A client that knows all nodes; those whose names begin with one of `near` are of its host."""
        lines: dict[int, Process] = {}

        settings = CallerSettings(max_losses=1000, max_out=max_out)
        client = Client(NodeId(name), Caller(NodeId(name), settings, DispatchSettings(), DOOR + name, Lines(lines)))
        client.near, client.lines = near, lines
        client.knows = list(self.hosts)
        self._meet(client, [host.node.membership.me for host in self.hosts.values()])
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
        self._meet(client, [host.node.membership.me for host in self.hosts.values()])
        self._settle(client)

    def _meet(self, client: Client, members: list[Member]) -> None:
        client.caller.leasing.set_near([each.id for each in members if each.id.startswith(client.near)])
        client.caller.set_members(members)

    def leave(self, client: Client) -> None:
        """It says goodbye and is gone."""
        self._send_all(client.id, client.caller.close())
        self.crash(client)

    def crash(self, client: Client) -> None:
        """It is gone without a word; the sockets to its processes close."""
        del self.clients[client.id]
        for process in client.lines.values():
            process.is_hung_up = True
            process.fed.clear()
        client.lines.clear()
        self._serve_all()

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
        self._listen(client)
        while caller.ended:
            ended, caller.ended = caller.ended, []
            for each in ended:
                outcomes: list[bytes | str] = [each.reason] * len(each.calls)
                if each.results:
                    outcomes = [result for result in each.results if isinstance(result, bytes)]
                elif not each.reason:
                    outcomes = [*each.value.split(b"|")]
                for call, outcome in zip(each.calls, outcomes, strict=False):
                    if isinstance(call.mark, bytes):
                        client.results.setdefault(call.mark, []).append(outcome)
                if len(outcomes) < len(each.calls):
                    caller.cut_short(each.calls, len(outcomes))
        for effect in caller.flush(self.now):
            match effect:
                case Feed(lease=lease):
                    assert not client.lines[lease].is_hung_up
                    client.lines[lease].fed.append(effect)
                case HangUp(lease=lease):
                    if lease in client.lines:
                        client.lines[lease].is_hung_up = True
                case _:
                    self._send_all(client.id, [effect])
        self._serve_all()
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
                self._meet(client, alive)
            else:
                self._listen(client)
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
            host.running[job.attempt] = job
            host.begun_at[job.attempt] = self.now
            if job.door:
                self._at(self.now + self.rng.uniform(0.0, 0.01), lambda job=job: self._call_at_door(host, job))  # type: ignore[misc]
                continue
            self._note_begun(host, job.attempt, job.calls)
            seconds = sum(self.rng.choice((1e-4, 1e-4, 1e-3, 0.05)) for _ in job.calls)
            state = State.FAILED if any(data.startswith(DEADLY) for data in job.calls) else State.COMPLETED
            self._at(
                self.now + seconds,
                lambda job=job, state=state: self._end(host, job.attempt, state, ""),  # type: ignore[misc]
            )

    def _note_begun(self, host: Host, attempt: Attempt, calls: Sequence[bytes]) -> None:
        self.begun_count += 1
        if self.wrong_deaths:
            return
        for other in self.hosts.values():
            for running in other.running.values():
                process = other.processes.get(running.attempt)
                both = [data for data in (process.current if process else running.calls) if data in calls]
                if both and running.attempt.run == attempt.run and running.attempt != attempt:
                    self.doubles.append(f"{both} at {self.now}: on {host.node.id} and {other.node.id}")

    # --- leases ---

    def _call_at_door(self, host: Host, job: Job) -> None:
        """The process of a lease introduces itself."""
        if job.attempt not in host.running or host not in self.hosts.values():
            return
        client = self.clients.get(NodeId(job.door.removeprefix(DOOR)))
        lease = job.attempt.task
        if client is None or host.node.id in self.walled or not client.caller.lease_opened(lease, self.now):
            self._end(host, job.attempt, State.FAILED, "NotThere: nobody is there")
            return
        process = host.processes[job.attempt] = client.lines[lease] = Process(job.attempt)
        self._settle(client)
        self._serve(host, process)

    def _serve_all(self) -> None:
        for host in list(self.hosts.values()):
            for process in list(host.processes.values()):
                self._serve(host, process)

    def _serve(self, host: Host, process: Process) -> None:
        """The process takes what comes next, if it is free."""
        if process.running is not None or process.is_gone:
            return
        if not process.fed:
            if process.is_hung_up:
                self._close_sockets(process)
                self._at(
                    self.now + self.rng.uniform(0.0, 1e-3),
                    lambda: self._end(host, process.attempt, State.COMPLETED, ""),
                )
            return
        process.running = feed = process.fed.pop(0)
        process.made.clear()
        process.ends_after = self.rng.randint(1, len(feed.calls)) if self.rng.random() < 0.2 else len(feed.calls)
        self._begin_call(host, process, feed, self.now)

    def _begin_call(self, host: Host, process: Process, feed: Feed, since: float) -> None:
        if process.is_gone or process.running is not feed:
            return
        process.begun_count = len(process.made) + 1
        if process.made and process.halted == feed.packet:
            self._answer(host, process, feed, since)
            return
        data = bytes_of(feed.calls[len(process.made)].data)
        self._note_begun(host, process.attempt, [data])
        seconds = self.rng.choice((1e-4, 1e-4, 1e-3, 0.05))
        self._at(self.now + seconds, lambda: self._call_made(host, process, feed, data, since))

    def _call_made(self, host: Host, process: Process, feed: Feed, data: bytes, since: float) -> None:
        if process.is_gone or process.running is not feed:
            return
        if data.startswith(DEADLY):
            self._end(host, process.attempt, State.FAILED, "killed by itself")
            return
        process.made.append(b"done " + data)
        if len(process.made) == process.ends_after:
            self._answer(host, process, feed, since)
        else:
            self._begin_call(host, process, feed, since)

    def _answer(self, host: Host, process: Process, feed: Feed, since: float) -> None:
        process.running = None
        process.answers.append((feed.packet, self.now - since, list(process.made)))
        self._serve(host, process)
        self._at(self.now + self.rng.uniform(0.0, 1e-3), self._listen_all)

    def _listen_all(self) -> None:
        for client in list(self.clients.values()):
            self._settle(client)

    def _listen(self, client: Client) -> None:
        """What its processes have said."""
        for lease, process in list(client.lines.items()):
            answers, process.answers = process.answers, []
            for packet, seconds, results in answers:
                client.caller.lease_answered(lease, packet, seconds, results, self.now)
            if process.is_gone:
                client.caller.leasing.broke(lease)
                del client.lines[lease]

    def _close_sockets(self, process: Process) -> None:
        process.is_gone = True
        process.running = None
        self._at(self.now + self.rng.uniform(0.0, 0.01), self._listen_all)

    def _end(self, host: Host, attempt: Attempt, state: State, reason: str) -> None:
        job = host.running.pop(attempt, None)
        process = host.processes.pop(attempt, None)
        if process is not None and not process.is_gone:
            self._close_sockets(process)
        for waiting in [each for each in host.waiting if each.attempt == attempt]:
            host.waiting.remove(waiting)
            job = waiting
        if job is None or host not in self.hosts.values():
            return
        if job.door:
            begun_at = host.begun_at.pop(attempt, self.now)
            host.node.task_finished(Finished(attempt, state, Value(), None, reason, begun_at, self.now), self.now)
            self._flush(host)
            return
        # Large results cut a batch short.
        made = job.calls[: self.rng.randint(1, len(job.calls))] if self.rng.random() < 0.2 else job.calls
        value = b"|".join(b"done " + data for data in made) if state is State.COMPLETED else b""
        begun_at = host.begun_at.pop(attempt, self.now)
        host.node.task_finished(
            Finished(attempt, state, Value(value), None, reason or state.value, begun_at, self.now), self.now
        )
        self._flush(host)

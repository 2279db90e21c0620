"""A mesh under a steady load: tasks become ready at several owners at random, as long as it lasts, and what that costs.

The nodes are the real ones, from their credit to the log of the runs they drive, but for two things. The view is given
and does not change, so that ten thousand nodes need not keep a copy each: what membership sends is measured by
`membership_mesh.py`. And what nodes ask of the store at intervals, whatever they do, is left out.

Each owner drives one dag run. A task of it has one parent, which does nothing but end when the task is to become ready;
the parents run on nodes of their own, the clocks, with room for all of them. What goes to and from clocks is not
counted. A job is ready when its owner is told of the end of the parent.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from meshflow.core.claims import ClaimSettings
from meshflow.core.effects import Effect
from meshflow.core.member import Member
from meshflow.core.membership import Membership
from meshflow.core.membership_settings import MembershipSettings
from meshflow.core.messages import Finished, Message, Reports
from meshflow.core.node import Node, NodeSettings
from meshflow.ids import NodeId, RunId, dag_run_id, new_node_id
from meshflow.sim.cluster import Cluster
from meshflow.sim.measures import idle_waits_s
from meshflow.sim.omniscient import starts
from meshflow.sim.programs import Options, Program, define, workflow
from meshflow.sim.world import Listener, World
from meshflow.store.memory import MemoryStore
from meshflow.wire import StoredDefinitions, encode_message

FRAME_BYTES = 40
"""Estimate: routing frames and ZMTP framing of a message. TCP and IP come on top, once for many messages."""

_SETTINGS = NodeSettings(MembershipSettings(), claims=ClaimSettings(scan_s=math.inf))
_OWNERS_A_CLOCK = 25
_CLAIM_S = 1.0
"""Until every dag run has its owner, and the clock all that it is to count."""
_START_S = 0.2
"""In which what runs at the beginning comes."""
_PATIENCE_S = 60.0
"""After that, a job that was not started never will be."""


class _GivenView(Membership):
    """A view that is shared by all, and does not change."""

    def __init__(self, me: Member, rng: random.Random, members: dict[NodeId, Member], alive: list[Member]) -> None:
        super().__init__(me, MembershipSettings(), rng)
        self.members = members
        self._alive = alive

    def alive(self) -> list[Member]:
        return self._alive

    def join(self, addresses: Sequence[str], now: float) -> list[Effect]:
        return []

    def heard_from(self, sender: NodeId, now: float) -> None:
        pass

    def deadline(self) -> float:
        return math.inf


class _SteadyNode(Node):
    """A node with a view that is given. Only one that drives runs has to know more of it than who is a member."""

    def __init__(self, me: Member, settings: NodeSettings, rng: random.Random, view: _GivenView) -> None:
        super().__init__(me, settings, StoredDefinitions(), rng, 0.0)
        self.membership = view
        self._registry.leave(me.id)
        if "workflow" in me.queues:
            self._refresh_members()


class _CountingWorld(World):
    """Counts what goes between nodes other than clocks, and notes when jobs become ready."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, MemoryStore())
        self.clocks: dict[NodeId, None] = {}
        self.counted: dict[str, int] = {}
        """Messages, by kind."""
        self.counted_bytes = 0
        self.ready_at: dict[tuple[RunId, int], float] = {}

    def send(self, sender: NodeId, to: NodeId, message: Message) -> None:
        if sender not in self.clocks and to not in self.clocks:
            kind = type(message).__name__
            self.counted[kind] = self.counted.get(kind, 0) + 1
            self.counted_bytes += FRAME_BYTES + len(encode_message(message))
        super().send(sender, to, message)

    def trace(self, *facts: str | float) -> None:
        pass  # nobody compares digests of these

    def _deliver(self, sender: NodeId, to: NodeId, listener: Listener, message: Message) -> None:
        if sender in self.clocks and isinstance(message, Reports):
            for report in message.reports:
                if isinstance(report, Finished):
                    task = (report.attempt.run, report.attempt.task + 1)
                    self.ready_at.setdefault(task, self.clock.now)
        super()._deliver(sender, to, listener, message)


@dataclass(frozen=True, slots=True)
class Tasks:
    """What the tasks are like: so many of all, 0 to 1, take `short_s`, and the others as long as is drawn evenly from
    `long_s`."""

    short_share: float = 0.9
    short_s: float = 0.010
    long_s: tuple[float, float] = (1.0, 10.0)

    @property
    def mean_s(self) -> float:
        """How long a task takes on average."""
        return self.short_share * self.short_s + (1 - self.short_share) * sum(self.long_s) / 2

    def draw(self, rng: random.Random) -> float:
        """How long one takes."""
        return self.short_s if rng.random() < self.short_share else rng.uniform(*self.long_s)

    def draw_rest(self, rng: random.Random) -> float:
        """How long one goes on that is found running at some instant: long ones are found more often."""
        if rng.random() * self.mean_s < self.short_share * self.short_s:
            return rng.uniform(0.0, self.short_s)
        low, high = self.long_s
        length_s = math.sqrt(rng.uniform(low * low, high * high))
        return rng.uniform(0.0, length_s)


@dataclass(frozen=True, slots=True)
class Load:
    """What is done to which mesh."""

    nodes: int
    slots: int = 4
    """Of each node."""
    owners: int = 4
    """Nodes that drive a run each, beside running tasks."""
    share: float = 0.85
    """Of all slots that are busy, 0 to 1."""
    seconds: float = 10.0
    """That are measured."""
    settle_s: float = 1.0
    """Of load before that. The mesh begins with what would run after a long while, but all of it comes at once, and the
    larger the mesh, the longer it takes until credit lies where it would."""
    tasks: Tasks = Tasks()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """What became of one job. Instants are virtual seconds."""

    ready_at: float
    started_at: float
    omniscient_at: float
    """When the omniscient scheduler starts it."""
    duration_s: float
    idle_s: float
    """For how long of its wait one slot was idle, at a stretch."""

    @property
    def response_s(self) -> float:
        """From when it was ready until it had run."""
        return self.started_at - self.ready_at + self.duration_s

    @property
    def omniscient_s(self) -> float:
        """The same with the omniscient scheduler."""
        return self.omniscient_at - self.ready_at + self.duration_s


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a load."""

    load: Load
    jobs: tuple[Job, ...]
    """That became ready in the time that is measured, in that order."""
    messages: dict[str, int]
    """That were sent in that time, by kind."""
    sent_bytes: int

    @property
    def short(self) -> list[Job]:
        """The jobs whose tasks are the short ones."""
        return [job for job in self.jobs if job.duration_s == self.load.tasks.short_s]


class SteadyMesh:
    """The mesh for a load. `play` once."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._rng = random.Random(load.seed)
        self._world = _CountingWorld(load.seed)
        self._cluster = Cluster(load.seed, settings=_SETTINGS, world=self._world)
        self._drawn = self._draw()
        self._runs: list[RunId] = []
        self._start_nodes()

    def _draw(self) -> list[list[tuple[float, float]]]:
        """(when, how long) of what becomes ready at each owner, in order."""
        load, rng = self._load, self._rng
        slots = load.nodes * load.slots
        drawn: list[list[tuple[float, float]]] = [[] for _ in range(load.owners)]
        for _ in range(round(load.share * slots)):
            rng.choice(drawn).append((rng.uniform(0.0, _START_S), load.tasks.draw_rest(rng)))
        at, rate = 0.0, load.share * slots / load.tasks.mean_s
        while (at := at + rng.expovariate(rate)) < load.settle_s + load.seconds:
            rng.choice(drawn).append((at, load.tasks.draw(rng)))
        return [sorted(of) for of in drawn]

    def _start_nodes(self) -> None:
        load, rng = self._load, self._rng
        members: list[Member] = []
        for number in range(load.nodes):
            queues = ("task", "workflow", f"dag{number}") if number < load.owners else ("task",)
            members.append(_member(rng, f"n{number}", queues, load.slots))
        for number in range(0, load.owners, _OWNERS_A_CLOCK):
            room = sum(map(len, self._drawn[number : number + _OWNERS_A_CLOCK]))
            clock = _member(rng, _clock_of(number), (_clock_of(number),), room)
            members.append(clock)
            self._world.clocks[clock.id] = None
        known = {member.id: member for member in members}
        for me in members:
            worker = replace(_SETTINGS.worker, slots=me.slots)
            if me.id in self._world.clocks:
                worker = replace(worker, horizon_s=0.0)
            settings = replace(_SETTINGS, worker=worker)
            node = _SteadyNode(me, settings, rng, _GivenView(me, rng, known, members))
            self._cluster.start(node, ())

    def play(self) -> Outcome:
        """Let the load last for its time, and what is ready then start."""
        cluster, load = self._cluster, self._load
        for number, drawn in enumerate(self._drawn):
            tasks: dict[str, Program] = {}
            options: dict[str, Options] = {}
            for index, (at, duration_s) in enumerate(drawn):
                tasks[f"c{index}"], tasks[f"t{index}"] = Program(_CLAIM_S + at), Program(duration_s)
                options[f"c{index}"] = {"queue": _clock_of(number)}
            edges = [(f"c{index}", f"t{index}") for index in range(len(drawn))]
            dag = define("steady", tasks, edges, options, queue=f"dag{number}")
            self._runs.append(cluster.submit(workflow("steady", [dag]), [dag]))
        cluster.run(_CLAIM_S + load.settle_s)
        counted_from = cluster.now
        self._world.counted.clear()
        self._world.counted_bytes = 0
        cluster.run(load.seconds)
        messages, sent_bytes = dict(self._world.counted), self._world.counted_bytes
        total = sum(map(len, self._drawn))
        cluster.run(_PATIENCE_S, lambda: len(cluster.world.executions) >= 2 * total)
        jobs = [job for job in self._jobs() if counted_from <= job.ready_at < counted_from + load.seconds]
        return Outcome(load, tuple(jobs), messages, sent_bytes)

    def _jobs(self) -> list[Job]:
        started_at: dict[tuple[RunId, int], float] = {}
        for execution in self._cluster.world.executions:
            started_at.setdefault((execution.attempt.run, execution.attempt.task), execution.started_at)
        durations_s = {dag_run_id(run, "steady:1"): of for run, of in zip(self._runs, self._drawn, strict=True)}
        ready = sorted(self._world.ready_at.items(), key=lambda item: item[1])
        ready_at = [at for _, at in ready]
        took_s = [durations_s[run][task // 2][1] for (run, task), _ in ready]
        started = [started_at.get(job, math.inf) for job, _ in ready]
        best = starts(ready_at, took_s, self._load.nodes * self._load.slots)
        idle = idle_waits_s(self._cluster, list(zip(ready_at, started, strict=True)))
        return [Job(*facts) for facts in zip(ready_at, started, best, took_s, idle, strict=True)]


def _clock_of(owner: int) -> str:
    """The name of the clock of an owner, and of the queue that it serves."""
    return f"clock{owner // _OWNERS_A_CLOCK}"


def _member(rng: random.Random, name: str, queues: tuple[str, ...], slots: int) -> Member:
    id_ = new_node_id(rng)
    return Member(id_, f"sim://{id_}", name=name, queues=queues, slots=slots, store="sim")

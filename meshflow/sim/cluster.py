"""A mesh of simulated nodes with one shared store: what tests and schedules of faults do to it.

cluster = Cluster(seed=1)
owner, worker = cluster.add_node(), cluster.add_node(slots=4)
run = cluster.submit(*random_workflow(cluster.rng, 1))
cluster.run(0.1)
cluster.kill(owner)
assert cluster.run_until_final(10.0)
check_all(cluster)
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from meshflow import wire
from meshflow.core.graph import DagDefinition, WorkflowSpec
from meshflow.core.member import Member
from meshflow.core.membership_settings import MembershipSettings
from meshflow.core.messages import RunOpen
from meshflow.core.node import Node, NodeSettings
from meshflow.core.records import RunRecord, Stop
from meshflow.core.requests import AskStop, CreateRun, GetBlob, ListRuns, LoadRun, PutBlob
from meshflow.core.retrying import Retry
from meshflow.ids import NodeId, RunId, new_node_id, new_run_id
from meshflow.sim.commits import StoreTrouble
from meshflow.sim.programs import mended
from meshflow.sim.shell import Shell
from meshflow.sim.world import World
from meshflow.store.base import Store, perform_steps
from meshflow.store.memory import MemoryStore

_CLIENT = NodeId("c11e47c11e47c11e")

WALL_OFFSET_S = 1_700_000_000.0
"""What the wall clock shows when virtual time begins."""

QUEUES = ("workflow", "dag", "task")


class Cluster:
    """A mesh of simulated nodes. Everything random comes from `seed`; `settings` are those of every node.
    `world` is what they stand on, if it is to be another one than usual."""

    def __init__(
        self,
        seed: int,
        *,
        store: Store | None = None,
        settings: NodeSettings | None = None,
        world: World | None = None,
    ) -> None:
        self.world = world or World(seed, store if store is not None else MemoryStore())
        self.rng = self.world.rng
        self.network = self.world.network
        self.store_trouble = StoreTrouble()
        self.nodes: dict[NodeId, Shell] = {}
        """Every node there ever was, in the order in which they started."""
        self.accepted: list[RunId] = []
        """What was submitted."""
        self.retries: dict[RunId, RunId] = {}
        """`{run: the run that it retries}`."""
        self.stops: dict[RunId, Stop] = {}
        """Which runs were asked to stop."""
        self._settings = settings or NodeSettings(MembershipSettings())

    @property
    def now(self) -> float:
        """Virtual time, seconds since the beginning."""
        return self.world.clock.now

    # --- building and breaking ---

    def add_node(self, queues: Sequence[str] = QUEUES, slots: int = 2) -> NodeId:
        """Start a node that joins through some that are alive; the first one is alone."""
        id_ = new_node_id(self.rng)
        me = Member(id_, f"sim://{id_}", name=f"n{len(self.nodes) + 1}", queues=tuple(queues), slots=slots, store="sim")
        settings = replace(self._settings, worker=replace(self._settings.worker, slots=slots))
        core = Node(me, settings, wire.StoredDefinitions(), random.Random(self.rng.random()), self.now)
        self.start(core, [self.nodes[node].address for node in self.alive()[-3:]])
        return id_

    def start(self, core: Node, seeds: Sequence[str]) -> None:
        """Start a node that was made elsewhere; `seeds` are addresses to join through."""
        core.wall_offset_s = WALL_OFFSET_S
        self.nodes[core.id] = Shell(self.world, self.store_trouble, core, seeds)

    def kill(self, node: NodeId, with_host: bool = False) -> None:
        """The node and its tasks are gone, and tell nobody. Its host closes its connections, which its peers notice
        soon; unless it lost its power too."""
        self.nodes[node].kill()
        if with_host:
            self.world.dead_hosts[node] = None
        for other in self.alive():
            self.world.break_connection(other, node)

    def drain(self, node: NodeId) -> None:
        """Ask a node to finish what it has; it leaves when it has."""
        self.nodes[node].input(lambda core: core.drain(self.now))

    def alive(self) -> list[NodeId]:
        """Nodes that were not killed and have not left, in the order in which they started."""
        return [id_ for id_, node in self.nodes.items() if node.life.is_alive]

    def owner_of(self, run: RunId) -> NodeId:
        """Who drives a run, as its record says."""
        owner = self.record(run).owner
        assert owner is not None, f"run {run} was not claimed yet"
        return owner

    def refused_append_count(self) -> int:
        """How often a stale owner was fenced."""
        return sum(node.core.status.refused_append_count for node in self.nodes.values())

    # --- the client ---

    def submit(self, spec: WorkflowSpec, dags: Sequence[DagDefinition]) -> RunId:
        """Accept a workflow as the client does: durably in the store, then a hint to some node."""
        run = new_run_id(self.rng)
        record = RunRecord(run, spec.name, spec.name, spec.queue, created_at=self.now + WALL_OFFSET_S)
        blobs = {"workflow": wire.encode(spec)} | {f"dag/{dag.spec.name}": wire.encode(dag) for dag in dags}
        create = CreateRun(record, blobs, {"meta": {}, "data": {}})
        assert self.world.store.perform([create]) == [True]
        self.accepted.append(run)
        self._hint(run)
        return run

    def retry(self, run: RunId) -> RunId:
        """Accept a retry of a run, as the client does, in which nothing fails any more for what its programs do.

        Raises:
            NotRetryable: it goes on, or has completed.
        """
        new, wall_at = new_run_id(self.rng), self.now + WALL_OFFSET_S
        retry = Retry(self.record(run), new, wire.StoredDefinitions(), wall_at, rerun_at_most_once=True)
        perform_steps(self.world.store, retry.steps())
        (spec,) = self.world.store.perform([GetBlob(new, "workflow")])
        assert isinstance(spec, bytes)
        for key in [f"dag/{dag}" for dag in wire.decode(WorkflowSpec, spec).dags]:
            (blob,) = self.world.store.perform([GetBlob(new, key)])
            assert isinstance(blob, bytes)
            self.world.store.perform([PutBlob(new, key, wire.encode(mended(wire.decode(DagDefinition, blob))))])
        self.retries[new] = run
        self.accepted.append(new)
        self._hint(new)
        return new

    def ask_stop(self, run: RunId, stop: Stop) -> None:
        """Ask a run to end early, as the client does."""
        self.world.store.perform([AskStop(run, stop, "the user asked for it")])
        self.stops[run] = stop
        self._hint(run)

    def _hint(self, run: RunId) -> None:
        alive = self.alive()
        if alive:
            self.world.send(_CLIENT, self.rng.choice(alive), RunOpen(run))

    def record(self, run: RunId) -> RunRecord:
        """The run's record now."""
        (record,) = self.world.store.perform([LoadRun(run)])
        assert isinstance(record, RunRecord), f"there is no run {run}"
        return record

    # --- time ---

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let virtual time pass, at most `seconds`; stop when `until` holds (looked at every 10 ms). Gives whether it
        does."""
        return self.world.clock.run(seconds, until)

    def run_until_final(self, seconds: float) -> bool:
        """Let time pass until every run and all its dag runs have ended; False if one has not within `seconds`."""
        return self.run(seconds, lambda: self.world.store.perform([ListRuns(is_open=True)]) == [()])

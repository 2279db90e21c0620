"""What must happen, and how soon, when a single thing goes wrong, or nothing does. All times are virtual seconds."""

import itertools
from dataclasses import replace

import pytest

from meshflow.core.graph import DagDefinition
from meshflow.core.records import State, Stop
from meshflow.ids import NodeId, RunId
from meshflow.sim.checks import check_all
from meshflow.sim.cluster import Cluster
from meshflow.sim.programs import Program, define, workflow


def mesh(count: int, *, slots: int = 2, seed: int = 1) -> Cluster:
    """Nodes that know each other and are at rest."""
    cluster = Cluster(seed)
    for _ in range(count):
        cluster.add_node(slots=slots)
    cluster.run(3.0)
    return cluster


def submit(cluster: Cluster, *dags: DagDefinition) -> RunId:
    """Submit a workflow of these dags."""
    return cluster.submit(workflow("w", list(dags)), list(dags))


def chain(count: int, duration_s: float = 0.2) -> DagDefinition:
    """A dag of tasks one after the other."""
    names = [f"t{number}" for number in range(count)]
    return define("main", {name: Program(duration_s) for name in names}, list(itertools.pairwise(names)))


def wide(count: int, duration_s: float = 0.01) -> DagDefinition:
    """A dag of tasks side by side."""
    return define("main", {f"t{number}": Program(duration_s) for number in range(count)}, [])


@pytest.mark.parametrize("seed", range(10))
def test_a_killed_owner_is_followed_by_another_within_five_seconds(seed: int) -> None:
    cluster = mesh(4, seed=seed)
    run = submit(cluster, chain(10))
    cluster.run(0.5)
    owner = cluster.owner_of(run)

    cluster.kill(owner)

    assert cluster.run(5.0, lambda: cluster.owner_of(run) != owner)
    assert cluster.run_until_final(30.0)
    assert cluster.record(run).state is State.COMPLETED
    check_all(cluster)


def test_when_all_nodes_die_the_next_one_finishes_what_was_accepted() -> None:
    cluster = mesh(3)
    run = submit(cluster, chain(5))
    cluster.run(0.5)
    for node in cluster.alive():
        cluster.kill(node)

    cluster.add_node()

    assert cluster.run_until_final(30.0)
    assert cluster.record(run).state is State.COMPLETED
    check_all(cluster)


def test_joins_within_joins_need_no_more_than_one_slot() -> None:
    depth = 10
    dags = [
        define(
            f"dag{level}",
            {"t": Program(0.01, (("start_dag", f"dag{level + 1}"), ("join_dags", f"dag{level + 1}:1")))},
            [],
            autostart=level == 0,
        )
        for level in range(depth)
    ]
    cluster = mesh(1, slots=1)

    run = submit(cluster, *dags, define(f"dag{depth}", {"t": Program()}, [], autostart=False))

    assert cluster.run_until_final(20.0)
    assert cluster.record(run).state is State.COMPLETED


def test_two_dags_that_wait_for_all_others_do_not_wait_for_each_other_for_ever() -> None:
    waits = Program(0.01, (("join_dags", ""),))
    cluster = mesh(2, slots=1)

    run = submit(cluster, define("one", {"t": waits}, []), define("two", {"t": waits}, []))

    assert cluster.run_until_final(20.0)
    assert cluster.record(run).state is State.COMPLETED


def test_a_task_on_a_queue_that_nobody_serves_waits_until_somebody_does() -> None:
    cluster = mesh(2)
    run = submit(cluster, define("main", {"t": Program()}, [], {"t": {"queue": "gpu"}}))
    assert not cluster.run_until_final(10.0)

    cluster.add_node(queues=("gpu",))

    assert cluster.run_until_final(10.0)
    assert cluster.record(run).state is State.COMPLETED


def test_a_run_that_waits_for_such_a_queue_can_be_cancelled() -> None:
    cluster = mesh(2)
    run = submit(cluster, define("main", {"t": Program()}, [], queue="nowhere"))
    cluster.run(1.0)

    cluster.ask_stop(run, Stop.CANCEL)

    assert cluster.run_until_final(10.0)
    assert cluster.record(run).state is State.CANCELLED


def test_a_cancelled_run_ends_its_running_tasks() -> None:
    cluster = mesh(2)
    run = submit(cluster, define("main", {"t": Program(3600.0)}, []))
    cluster.run(1.0)

    cluster.ask_stop(run, Stop.CANCEL)

    assert cluster.run_until_final(5.0)
    assert cluster.record(run).state is State.CANCELLED


def test_a_node_that_drains_leaves_and_nothing_is_lost() -> None:
    cluster = mesh(3)
    run = submit(cluster, wide(60, 0.1))
    cluster.run(0.4)
    leaving = cluster.alive()[0]

    cluster.drain(leaving)

    assert cluster.run(10.0, lambda: leaving not in cluster.alive())
    assert cluster.run_until_final(20.0)
    assert cluster.record(run).state is State.COMPLETED
    check_all(cluster)


@pytest.mark.parametrize("count", [3, 10, 30])
def test_slots_are_not_idle_while_jobs_wait(count: int) -> None:
    """200 tasks of 0.1 s for each node's two slots take ten seconds at best; all nodes finish within 15 % of it."""
    cluster = mesh(count)
    submit(cluster, wide(100 * count * 2, 0.1))
    began_at = cluster.now

    assert cluster.run_until_final(60.0)

    assert cluster.now - began_at < 10.0 * 1.15


def test_messages_per_job_do_not_grow_with_the_mesh() -> None:
    per_job = {}
    for count in (3, 10, 30):
        cluster = mesh(count)
        before, began_at = cluster.network.sent_count, cluster.now
        cluster.run(10.0)
        idle_rate = (cluster.network.sent_count - before) / (cluster.now - began_at)
        before, began_at = cluster.network.sent_count, cluster.now
        submit(cluster, wide(600, 0.05))
        assert cluster.run_until_final(60.0)
        sent = cluster.network.sent_count - before - idle_rate * (cluster.now - began_at)
        per_job[count] = sent / 600

    assert max(per_job.values()) < 6.0, per_job
    assert per_job[30] < 2 * per_job[3] + 1, per_job


def test_owners_get_their_share_of_a_busy_mesh() -> None:
    """Two owners with equal work, all jobs longer than what is prefetched: neither ends long before the other."""
    cluster = Cluster(3)
    owners: list[NodeId] = [cluster.add_node(queues=(f"workflow{number}", f"dag{number}")) for number in (1, 2)]
    for _ in range(3):
        cluster.add_node(queues=("task",))
    cluster.run(3.0)
    runs = []
    for number in range(len(owners)):
        dag = define("main", {f"t{task}": Program(0.1) for task in range(120)}, [], queue=f"dag{number + 1}")
        runs.append(cluster.submit(replace(workflow("w", [dag]), queue=f"workflow{number + 1}"), [dag]))

    assert cluster.run_until_final(60.0)

    ended = [cluster.record(run).ended_at or 0.0 for run in runs]
    assert abs(ended[0] - ended[1]) < 0.5 * (max(ended) - cluster.record(runs[0]).created_at)

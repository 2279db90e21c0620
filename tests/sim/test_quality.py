"""How well a quiet mesh works: no slot idle beside a job, messages that do not grow with the mesh, fair owners, and the
order and the times that users ask for. All times are virtual; a round trip takes 4 ms at most."""

import random
from itertools import pairwise

import pytest

from meshflow.core.events import RunClaimed
from meshflow.core.graph import DagDefinition, WorkflowSpec
from meshflow.core.records import State
from meshflow.sim.checks import check_all
from meshflow.sim.cluster import Cluster
from meshflow.sim.measures import executed_between, longest_idle_wait_s, messages_about_runs
from meshflow.sim.programs import Options, Program, define, workflow
from meshflow.sim.workloads import flat

ROUND_TRIP_S = 0.004


def mesh(count: int, seed: int = 1, slots: int = 2) -> Cluster:
    """Nodes that know each other."""
    cluster = Cluster(seed)
    for _ in range(count):
        cluster.add_node(slots=slots)
    cluster.run(2.0)
    return cluster


def fan(count: int, duration_s: float) -> tuple[WorkflowSpec, list[DagDefinition]]:
    """One task, then `count` side by side, then one."""
    names = [f"t{index}" for index in range(count)]
    tasks = {name: Program(duration_s) for name in ("first", *names, "last")}
    edges = [("first", name) for name in names] + [(name, "last") for name in names]
    dag = define("fan", tasks, edges)
    return workflow("fan", [dag]), [dag]


def work_off(cluster: Cluster, durations_s: tuple[float, ...], fan_out: int) -> None:
    """Have eight workflows, most of them with owners of their own, come in within two seconds and finish."""
    for _ in range(8):
        cluster.submit(*fan(fan_out, cluster.rng.choice(durations_s)))
        cluster.run(cluster.rng.uniform(0.0, 0.25))
    assert cluster.run_until_final(60.0)
    check_all(cluster)


@pytest.mark.parametrize("count", [3, 10, 50])
@pytest.mark.parametrize("fan_out", [1, 6], ids=["light", "heavy"])
def test_no_job_waits_while_a_slot_that_could_run_it_is_idle(count: int, fan_out: int) -> None:
    """But for the round trips in which the two find each other: report, offer, demand, work, and up to three owners
    that are asked in vain because their jobs have just gone elsewhere."""
    cluster = mesh(count)
    work_off(cluster, (0.05,), fan_out * count)
    assert longest_idle_wait_s(cluster) < 6 * ROUND_TRIP_S


@pytest.mark.parametrize("count", [3, 10, 50])
def test_jobs_that_were_fetched_too_early_because_tasks_grew_long_are_given_back_soon(count: int) -> None:
    """A node holds 10 ms of work ahead, as measured on earlier tasks; what is stuck goes back after 20 ms."""
    cluster = mesh(count)
    work_off(cluster, (0.005, 0.05, 0.2), 6 * count)
    assert longest_idle_wait_s(cluster) < 0.02 + 2 * 6 * ROUND_TRIP_S


def test_messages_per_job_do_not_grow_with_the_mesh() -> None:
    """Neither for one owner nor for four that share the nodes."""
    per_job: dict[tuple[int, int], float] = {}
    for node_count in (3, 10, 50, 200):
        cluster = mesh(node_count)
        for owner_count in (1, 4):
            before = messages_about_runs(cluster), len(cluster.world.executions)
            for _ in range(owner_count):
                cluster.submit(*flat(8 * node_count // owner_count, 0.05))
            assert cluster.run_until_final(20.0)
            job_count = len(cluster.world.executions) - before[1]
            per_job[(owner_count, node_count)] = (messages_about_runs(cluster) - before[0]) / job_count
    assert max(per_job.values()) < 6.0, per_job
    assert per_job[(1, 200)] < 1.2 * per_job[(1, 50)], per_job
    assert per_job[(4, 200)] < 1.2 * per_job[(4, 50)], per_job


def test_owners_get_equal_shares_of_a_busy_mesh() -> None:
    cluster = Cluster(5)
    for queue in ("a", "b", "c"):
        cluster.add_node(queues=(queue, "workflow"))
    for _ in range(4):
        cluster.add_node(queues=("task",))
    cluster.run(2.0)
    runs = []
    for queue in ("a", "b", "c"):
        dag = define("flat", {f"t{index}": Program(0.05) for index in range(300)}, queue=queue)
        runs.append(cluster.submit(workflow("flat", [dag]), [dag]))
    start = cluster.now + 0.5
    cluster.run(4.0)
    shares = executed_between(cluster, start, cluster.now)
    assert min(shares[run] for run in runs) > 0.8 * max(shares[run] for run in runs)


def test_a_retry_waits_for_its_delay_which_grows_with_the_backoff() -> None:
    cluster = mesh(3)
    options: dict[str, Options] = {"t": {"retries": 3, "retry_delay_s": 0.5, "backoff": 2.0}}
    dag = define("main", {"t": Program(0.01, failures=3)}, (), options)
    run = cluster.submit(workflow("w", [dag]), [dag])
    assert cluster.run_until_final(20.0)
    assert cluster.record(run).state is State.COMPLETED
    executions = cluster.world.executions
    pauses = [after.started_at - (before.ended_at or 0.0) for before, after in pairwise(executions)]
    assert pauses == [pytest.approx(delay_s, abs=0.02) for delay_s in (0.5, 1.0, 2.0)]


def test_what_is_more_urgent_goes_first_and_equals_go_in_order() -> None:
    cluster = mesh(1, slots=1)
    priorities = {f"t{index}": index % 3 for index in range(9)}
    options: dict[str, Options] = {name: {"priority": priority} for name, priority in priorities.items()}
    dag = define("main", {name: Program(0.05) for name in priorities}, (), options)
    cluster.submit(workflow("w", [dag]), [dag])
    assert cluster.run_until_final(20.0)
    started = [execution.name for execution in cluster.world.executions]
    assert started == sorted(priorities, key=lambda name: -priorities[name])


@pytest.mark.parametrize("seed", range(20))
def test_a_task_that_may_run_at_most_once_never_runs_twice_whoever_is_killed(seed: int) -> None:
    cluster = mesh(4, seed)
    names = [f"t{index}" for index in range(16)]
    options: dict[str, Options] = {name: {"at_most_once": True} for name in names}
    dag = define("main", {name: Program(0.3) for name in names}, (), options)
    run = cluster.submit(workflow("w", [dag]), [dag])
    random_ = random.Random(seed)
    for _ in range(2):
        cluster.run(random_.uniform(0.02, 0.4))
        cluster.kill(random_.choice(cluster.alive()))
    cluster.add_node()
    assert cluster.run_until_final(30.0)
    check_all(cluster)
    was_killed = any(execution.state is None for execution in cluster.world.executions)
    assert cluster.record(run).state is (State.FAILED if was_killed else State.COMPLETED)


def test_a_quiet_mesh_executes_each_task_once_and_claims_each_run_once() -> None:
    cluster = mesh(10)
    work_off(cluster, (0.005, 0.05), 20)
    assert len(cluster.world.executions) == 8 * 22
    claims = [event for _, _, event in cluster.world.events if isinstance(event, RunClaimed)]
    assert len(claims) == 8 * 2
    assert not any(claim.is_takeover for claim in claims)

"""Runs that did not complete are retried under faults: what had completed is not executed again, and all promises hold.

What is checked is in `meshflow/sim/checks.py`. A failure names the command that replays it.
"""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from meshflow.core.records import Batch, DagStarted, State
from meshflow.core.requests import Append, Request
from meshflow.core.reuse import PastDag
from meshflow.sim.checks import check_all
from meshflow.sim.cluster import Cluster
from meshflow.sim.programs import Program, define, workflow
from meshflow.sim.scenario import Scenario, Story
from meshflow.sim.violation import Violation
from meshflow.store.memory import MemoryStore
from tests.sim.playing import play

CHUNK = 20
SEEDS = 60


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_retries_under_faults_complete_and_execute_nothing_again(first: int) -> None:
    retried = reused = 0
    for seed in range(first, first + CHUNK):
        cluster = play(Scenario(seed, retry=True)).cluster
        for run in cluster.retries:
            record = cluster.record(run)
            # A task may ask to abort again, and faults may hit what may not be tried again.
            is_right = record.state in (State.COMPLETED, State.ABORTED) or "at most once" in record.reason
            assert is_right, (seed, record.reason)
            retried += 1
            reused += cluster.record(run).reused
    assert retried > 5
    assert reused > 5


def fan(bad: State = State.FAILED) -> Cluster:
    """A cluster in which a fan with one bad task, a sub-dag that completes, and one that is bad too, has ended."""
    cluster = Cluster(3)
    for _ in range(3):
        cluster.add_node()
    cluster.run(0.5)
    tasks = {f"t{index}": Program() for index in range(5)}
    tasks["starter"] = Program(signals=(("start_dag", "good"), ("start_dag", "bad"), ("join_dags", "mine")))
    tasks["bad"] = Program(0.3, state=bad)
    edges = [(name, "last") for name in tasks]
    main = define("main", {**tasks, "last": Program()}, edges)
    good = define("good", {"g": Program()}, autostart=False)
    worse = define(
        "bad", {"first": Program(), "second": Program(0.2, state=bad)}, [("first", "second")], autostart=False
    )
    run = cluster.submit(workflow("fan", [main, good, worse]), [main, good, worse])
    assert cluster.run_until_final(30.0)
    assert cluster.record(run).state is bad
    return cluster


@pytest.mark.parametrize("bad", [State.FAILED, State.ABORTED])
def test_only_what_failed_and_what_hangs_on_it_is_executed(bad: State) -> None:
    cluster = fan(bad)
    before = len(cluster.world.executions)
    retry = cluster.retry(cluster.accepted[0])
    assert cluster.run_until_final(30.0)
    assert cluster.record(retry).state is State.COMPLETED
    names = sorted(execution.name for execution in cluster.world.executions[before:])
    assert names == ["bad", "last", "second"]
    check_all(cluster)


def test_a_retry_whose_owners_are_killed_goes_on() -> None:
    cluster = fan()
    before = len(cluster.world.executions)
    retry = cluster.retry(cluster.accepted[0])
    cluster.run(0.1)
    cluster.kill(cluster.owner_of(retry))
    cluster.add_node()
    assert cluster.run_until_final(30.0)
    names = {execution.name for execution in cluster.world.executions[before:]}
    assert names == {"bad", "last", "second"}
    check_all(cluster)


class OldKeys(MemoryStore):
    """Keeps dag runs that were taken over under the keys of the run before."""

    def perform(self, requests: Sequence[Request]) -> list[object]:
        """Perform, but with the keys as they were."""
        return [answer for request in requests for answer in super(OldKeys, self).perform([self._moved(request)])]

    def _moved(self, request: Request) -> Request:
        if not isinstance(request, Append) or not request.batch.token.startswith("retry/"):
            return request
        return replace(request, batch=_with_old_keys(request.batch))


def _with_old_keys(batch: Batch) -> Batch:
    entries = tuple(
        replace(each, key=each.key.replace(batch.run, "0" * 24)) if isinstance(each, DagStarted) else each
        for each in batch.entries
    )
    return replace(batch, entries=entries)


def caught(store: type[MemoryStore] = MemoryStore) -> Violation:
    """The first violation within the seeds.

    Raises:
        AssertionError: none is found.
    """
    for seed in range(SEEDS):
        try:
            Story(Scenario(seed, retry=True, trouble="none"), store()).run()
        except Violation as violation:
            return violation
    raise AssertionError("not caught")


def test_a_retry_that_forgets_who_had_started_a_dag_run_is_caught() -> None:
    assert "asked for" in str(caught(OldKeys))


def test_a_retry_that_keeps_tasks_that_were_refused_a_dag_run_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PastDag, "refuse", lambda *_: None)
    cluster = Cluster(5)
    for _ in range(2):
        cluster.add_node()
    cluster.run(0.5)
    late = Program(0.5, (("start_dag", "sub"),))
    main = define("main", {"late": late, "bad": Program(0.1, state=State.FAILED)})
    sub = define("sub", {"s": Program()}, autostart=False)
    run = cluster.submit(workflow("refused", [main, sub]), [main, sub])
    assert cluster.run_until_final(30.0)
    cluster.retry(run)
    assert cluster.run_until_final(30.0)
    with pytest.raises(Violation, match="asked for 1 dag runs"):
        check_all(cluster)
    monkeypatch.undo()
    retry = cluster.retries.popitem()[0]
    cluster.accepted.remove(retry)
    again = cluster.retry(run)
    assert cluster.run_until_final(30.0)
    assert cluster.record(again).reused == 0

"""Following a run: the same is told whether pushes arrive, arrive twice, late, or not at all."""

import random

import pytest

from meshflow.core.client_messages import Watched
from meshflow.core.records import Batch, Claimed, DagEnded, DagStarted, RunEnded, State
from meshflow.core.requests import (
    Append,
    GetBlob,
    LoadRun,
    ReadLog,
    ReadOutput,
    RemoveDocument,
    RemoveRun,
    Request,
    UpdateRun,
    WriteOutput,
)
from meshflow.follow import Follower, News
from meshflow.ids import RunId
from meshflow.printed import Line
from meshflow.store.memory import MemoryStore
from tests.client.run_stories import (
    DAG,
    DEFINITION,
    OWNER,
    RUN,
    batch,
    creation,
    dag_log,
    node_name,
    printed,
    whole_run,
    workflow_log,
)


def pushed(step: Batch | None, *output: WriteOutput) -> Watched:
    return Watched(step, output)


def ask(follower: Follower, store: MemoryStore, now: float) -> list[Request]:
    """Have the store answer all that the follower wants to know now; what that was."""
    asked: list[Request] = []
    while requests := follower.requests(now):
        for request, answer in zip(requests, store.perform(requests), strict=True):
            follower.answered(request, answer, now)
        asked += requests
    return asked


def told(news: list[News]) -> list[str]:
    return [each.text if isinstance(each, Line) else f"{each.word} {each.name}" for each in news]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


WHOLE = [
    "queued simple",
    "started simple",
    "queued main_dag:1",
    "started main_dag:1",
    "queued put",
    "started put",
    "succeeded put",
    "queued print",
    "started print",
    "succeeded print",
    "succeeded main_dag:1",
    "The value is: 5",
    "succeeded simple",
]


def test_a_finished_run_is_told_from_the_store_alone(store: MemoryStore) -> None:
    store.perform(whole_run())
    follower = Follower(RUN, node_name=node_name)
    ask(follower, store, 0.0)
    news = told(follower.take())
    assert sorted(news) == sorted(WHOLE)
    assert news[-1] == "succeeded simple"
    assert follower.is_done
    assert follower.requests(9.0) == []


def test_a_run_is_told_from_pushes_without_reading_its_logs(store: MemoryStore) -> None:
    store.perform([creation()])
    follower = Follower(RUN, node_name=node_name, definitions={"main_dag": DEFINITION}, with_output=False)
    ask(follower, store, 0.0)
    begin, end = workflow_log()
    follower.receive(pushed(begin), 0.1)
    ask(follower, store, 0.1)
    for step in [*dag_log(), end]:
        follower.receive(pushed(step), 0.2)
    assert follower.is_done
    assert told(follower.take()) == [each for each in WHOLE if each != "The value is: 5"]


def test_lost_pushes_are_read_after_a_second(store: MemoryStore) -> None:
    store.perform([creation()])
    follower = Follower(RUN, node_name=node_name)
    ask(follower, store, 0.0)
    store.perform(whole_run()[1:])
    assert follower.requests(0.9) == []
    assert follower.deadline(0.9) == 1.0
    ask(follower, store, 1.0)
    assert follower.is_done
    assert set(told(follower.take())) == set(WHOLE)


def test_a_gap_is_read_at_once(store: MemoryStore) -> None:
    store.perform([creation(), Append(workflow_log()[0])])
    follower = Follower(RUN, node_name=node_name, with_output=False)
    ask(follower, store, 0.0)
    follower.take()
    store.perform([*map(Append, dag_log()[:2])])
    follower.receive(pushed(dag_log()[1]), 0.1)
    assert told(follower.take()) == []
    assert ReadLog(DAG, 0) in follower.requests(0.1)
    ask(follower, store, 0.1)
    assert told(follower.take()) == ["started main_dag:1", "queued put", "started put"]


def test_a_batch_of_a_dag_run_that_is_not_known_yet_is_read_later(store: MemoryStore) -> None:
    store.perform([creation()])
    follower = Follower(RUN, node_name=node_name, with_output=False)
    ask(follower, store, 0.0)
    store.perform([Append(workflow_log()[0]), Append(dag_log()[0])])
    follower.receive(pushed(dag_log()[0]), 0.1)
    ask(follower, store, 0.1)
    assert "queued put" in told(follower.take())


@pytest.mark.parametrize("seed", range(20))
def test_pushes_in_any_order_and_number_tell_the_same(store: MemoryStore, seed: int) -> None:
    """Loss, doubles and disorder, with the store catching up at random moments."""
    rng = random.Random(seed)
    store.perform(whole_run())
    steps: list[Watched] = [pushed(step) for step in [*workflow_log(), *dag_log()]]
    steps.append(pushed(None, printed("print", "The value is: 5\n")))
    steps = [step for step in steps * 2 if rng.random() < 0.6]
    rng.shuffle(steps)
    follower = Follower(RUN, node_name=node_name)
    for number, step in enumerate(steps):
        follower.receive(step, number * 0.1)
        if rng.random() < 0.3:
            for request in follower.requests(number * 0.1):
                follower.answered(request, store.perform([request])[0], number * 0.1)
    ask(follower, store, 100.0)
    ask(follower, store, 110.0)
    assert follower.is_done
    assert sorted(told(follower.take())) == sorted(WHOLE)


def test_a_follower_from_now_on_is_silent_about_the_past(store: MemoryStore) -> None:
    store.perform([creation(), Append(workflow_log()[0]), *map(Append, dag_log()[:2])])
    follower = Follower(RUN, node_name=node_name, from_now=True)
    ask(follower, store, 0.0)
    assert follower.take() == []
    follower.receive(pushed(dag_log()[2]), 0.5)
    assert told(follower.take()) == ["succeeded put", "queued print", "started print"]


def test_output_is_printed_once_though_it_is_pushed_and_read(store: MemoryStore) -> None:
    store.perform([creation(), Append(workflow_log()[0]), printed("put", "one\n")])
    follower = Follower(RUN, node_name=node_name)
    follower.receive(pushed(None, printed("put", "one\n")), 0.0)
    ask(follower, store, 0.0)
    follower.receive(pushed(None, printed("put", "one\n"), printed("put", "two\n", 4)), 0.1)
    assert [line for line in told(follower.take()) if " " not in line] == ["one", "two"]


def test_missing_output_is_read_while_the_run_goes_on(store: MemoryStore) -> None:
    store.perform([creation(), Append(workflow_log()[0])])
    follower = Follower(RUN, node_name=node_name)
    ask(follower, store, 0.0)
    follower.take()
    follower.receive(pushed(None, printed("put", "two\n", 4)), 0.5)
    store.perform([printed("put", "one\n")])
    assert ReadOutput(RUN) not in follower.requests(0.5)
    ask(follower, store, 1.5)
    assert told(follower.take()) == ["one", "two"]


def test_a_dag_run_that_was_never_driven_does_not_keep_the_follower(store: MemoryStore) -> None:
    begin = batch(RUN, 0, DagStarted("main_dag:1", "main_dag", "k"))
    end = batch(RUN, 1, DagEnded("main_dag:1", State.CANCELLED, "no"), RunEnded(State.CANCELLED, "no"))
    store.perform([creation(), Append(begin), Append(end)])
    follower = Follower(RUN, node_name=node_name)
    ask(follower, store, 0.0)
    assert follower.is_done
    assert "cancelled main_dag:1" in told(follower.take())


def test_a_run_whose_document_was_cleared_is_told_all_the_same(store: MemoryStore) -> None:
    store.perform([*whole_run(), RemoveDocument(RUN)])
    follower = Follower(RUN, node_name=node_name)
    ask(follower, store, 0.0)
    assert follower.is_done
    assert sorted(told(follower.take())) == sorted(WHOLE)


def test_a_run_that_does_not_exist_is_gone(store: MemoryStore) -> None:
    follower = Follower(RUN)
    ask(follower, store, 0.0)
    assert follower.is_gone
    assert follower.is_done


def test_a_run_that_is_removed_while_it_is_followed_is_gone(store: MemoryStore) -> None:
    store.perform([creation()])
    follower = Follower(RUN)
    ask(follower, store, 0.0)
    store.perform([UpdateRun(RUN, 9, State.COMPLETED), RemoveRun(RUN)])
    ask(follower, store, 1.0)
    assert follower.is_gone


def test_news_of_other_runs_are_ignored(store: MemoryStore) -> None:
    store.perform([creation()])
    follower = Follower(RUN)
    ask(follower, store, 0.0)
    follower.take()
    other = RunId("f" * 24)
    follower.receive(pushed(batch(other, 0, RunEnded(State.FAILED))), 0.1)
    assert follower.take() == []


def test_a_sleeping_dag_run_is_read_less_and_less_often(store: MemoryStore) -> None:
    store.perform([creation(), Append(workflow_log()[0]), Append(dag_log()[0])])
    follower = Follower(RUN, with_output=False)
    reads = {DAG: 0, RUN: 0}
    for second in range(60):
        for request in ask(follower, store, float(second)):
            if isinstance(request, ReadLog):
                reads[request.run] += 1
    assert reads[RUN] >= 60
    assert reads[DAG] < 15


def test_a_claim_after_the_end_changes_nothing(store: MemoryStore) -> None:
    late = [Append(batch(run, 9, Claimed(OWNER, 2))) for run in (RUN, DAG)]
    store.perform([*whole_run(), *late])
    follower = Follower(RUN, node_name=node_name)
    follower.receive(pushed(late[0].batch), 0.0)
    ask(follower, store, 0.0)
    assert follower.is_done
    assert follower.view.state is State.COMPLETED


def test_requests_are_asked_again_until_they_are_answered() -> None:
    follower = Follower(RUN)
    first = follower.requests(0.0)
    assert first == follower.requests(5.0)
    assert first == [LoadRun(RUN), GetBlob(RUN, "workflow")]


def test_a_flood_of_early_batches_is_bounded_and_made_good_by_reading(store: MemoryStore) -> None:
    steps = [batch(RUN, seq, DagStarted(f"d:{seq}", "main_dag", f"k{seq}")) for seq in range(1500)]
    store.perform([creation(), *map(Append, steps)])
    follower = Follower(RUN, with_output=False)
    for step in reversed(steps):
        follower.receive(pushed(step), 0.0)
    ask(follower, store, 0.0)
    assert len(follower.view.dags) == 1500

"""The fold of a run's logs, and the events it tells."""

from dataclasses import replace

from meshflow.core.records import (
    Claimed,
    DagEnded,
    DagStarted,
    Noted,
    RunEnded,
    State,
    TaskEnded,
    TasksQueued,
    TaskStarted,
    Value,
)
from meshflow.ids import NodeId, RunId, dag_run_id
from meshflow.queue.models import JobEvent
from meshflow.run_view import RunView
from tests.client.run_stories import (
    DAG,
    DEFINITION,
    OWNER,
    RECORD,
    RUN,
    WORKER,
    WORKFLOW,
    batch,
    dag_log,
    node_name,
    workflow_log,
)


def opened_view() -> RunView:
    """A view of the run whose dag run was started and defined."""
    view = RunView(RUN, node_name)
    view.describe(RECORD)
    view.define(WORKFLOW)
    view.apply(workflow_log()[0])
    view.dags["main_dag:1"].define(DEFINITION.spec)
    return view


def told(events: list[JobEvent]) -> list[tuple[str, str]]:
    return [(event.word, event.name) for event in events]


def test_a_whole_run_tells_each_event_once_and_in_order() -> None:
    view = RunView(RUN, node_name)
    events = view.describe(RECORD)
    view.define(WORKFLOW)
    begin, end = workflow_log()
    events += view.apply(begin)
    view.dags["main_dag:1"].define(DEFINITION.spec)
    for step in dag_log():
        events += view.apply(step)
    events += view.apply(end)
    assert told(events) == [
        ("queued", "simple"),
        ("started", "simple"),
        ("queued", "main_dag:1"),
        ("started", "main_dag:1"),
        ("queued", "put"),
        ("started", "put"),
        ("succeeded", "put"),
        ("queued", "print"),
        ("started", "print"),
        ("succeeded", "print"),
        ("succeeded", "main_dag:1"),
        ("succeeded", "simple"),
    ]
    assert view.is_ended
    assert view.describe(RECORD) == []


def test_events_carry_lightflows_attributes() -> None:
    view = opened_view()
    for step in dag_log()[:2]:
        view.apply(step)
    event = view.apply(dag_log()[2])[0]
    assert event.uuid == f"{DAG}/put#1"
    assert (event.type, event.queue, event.hostname, event.workflow_id) == ("task", "task", "bob", RUN)
    assert event.event == "task-lightflow-succeeded"
    assert event.event_time.timestamp() == 103.5
    assert event.event_time.tzinfo is not None
    assert event.duration == 0.5
    assert (event.dag, event.attempt) == ("main_dag:1", 1)


def test_the_dag_queue_is_known_before_the_dag_is_claimed() -> None:
    assert opened_view().dags["main_dag:1"].queue == "dag"


def test_a_failed_attempt_that_is_retried_leaves_the_task_queued() -> None:
    view = opened_view()
    view.apply(batch(DAG, 0, Claimed(OWNER, 1), TasksQueued((0,)), TaskStarted(0, 1, 1, WORKER)))
    failure = TaskEnded(0, 1, State.FAILED, reason="boom", started_at=100.0, ended_at=101.0, retry=True)
    [event] = view.apply(batch(DAG, 1, failure))
    assert (event.word, event.reason, event.retry) == ("failed", "boom", True)
    assert view.tasks[0].state is State.QUEUED


def test_an_attempt_that_is_given_back_is_told_of_only_by_the_entry_that_queues_it_again() -> None:
    view = opened_view()
    view.apply(batch(DAG, 0, Claimed(OWNER, 1), TaskStarted(0, 1, 1, WORKER)))
    returned = TaskEnded(0, 1, State.QUEUED, retry=True)
    [event] = view.apply(batch(DAG, 1, returned, TasksQueued((0,))))
    assert (event.word, event.hostname) == ("queued", "")
    assert (view.tasks[0].state, view.tasks[0].node, view.tasks[0].started_at) == (State.QUEUED, "", None)


def test_a_lost_attempt_names_the_node_that_is_gone() -> None:
    view = opened_view()
    view.apply(batch(DAG, 0, Claimed(OWNER, 1), TaskStarted(0, 1, 1, WORKER)))
    [event] = view.apply(batch(DAG, 1, TaskEnded(0, 1, State.LOST, reason="node gone", retry=True)))
    assert (event.word, event.hostname) == ("lost", "bob")


def test_a_skipped_task_has_an_event_without_attempt_and_duration() -> None:
    view = opened_view()
    view.apply(dag_log()[0])
    [event] = view.apply(batch(DAG, 1, TaskEnded(1, 0, State.SKIPPED, reason="no parent selected it")))
    assert (event.word, event.attempt, event.duration) == ("skipped", 0, None)


def test_a_second_claim_tells_that_the_owner_was_lost() -> None:
    view = opened_view()
    view.apply(dag_log()[0])
    other = NodeId("00000000000000cc")
    [of_run] = view.apply(batch(RUN, 1, Claimed(other, 2)))
    [of_dag] = view.apply(batch(DAG, 1, Claimed(other, 2)))
    assert (of_run.word, of_run.hostname) == ("lost", "alice")
    assert (of_dag.word, of_dag.hostname) == ("lost", "alice")
    assert other in of_dag.reason
    assert view.dags["main_dag:1"].owner == other


def test_notes_are_told_of_the_task_or_the_run_they_are_about() -> None:
    view = opened_view()
    view.apply(dag_log()[0])
    [of_task] = view.apply(batch(DAG, 1, Noted("unknown name in limit", 1)))
    [of_dag] = view.apply(batch(DAG, 2, Noted("of the dag")))
    [of_run] = view.apply(batch(RUN, 1, Noted("no autostart dag")))
    assert told([of_task, of_dag, of_run]) == [("noted", "print"), ("noted", "main_dag:1"), ("noted", "simple")]
    assert of_task.reason == "unknown name in limit"


def test_a_dag_run_that_nobody_drove_ends_by_the_workflow_runs_word() -> None:
    view = opened_view()
    view.apply(batch(RUN, 1, DagEnded("main_dag:1", State.STOPPED, "stopped"), RunEnded(State.STOPPED, "stopped")))
    assert (view.awaits_end("main_dag:1"), view.is_ended) == (True, False)
    [event] = view.conclude("main_dag:1")
    assert (event.word, event.name, event.reason) == ("stopped", "main_dag:1", "stopped")
    assert view.is_ended
    assert view.conclude("main_dag:1") == []


def test_clocks_of_two_hosts_make_no_negative_duration() -> None:
    view = opened_view()
    view.apply(dag_log()[0])
    end = TaskEnded(0, 1, State.COMPLETED, started_at=105.0, ended_at=104.0)
    [event] = view.apply(batch(DAG, 1, end))
    assert event.duration == 0.0


def test_instances_of_a_mapped_task_are_tasks_of_their_own_from_the_split_on() -> None:
    view = opened_view()
    split = TaskEnded(0, 1, State.COMPLETED, rows=(Value(b"a"), Value(b"b")))
    view.apply(dag_log()[0])
    events = view.apply(batch(DAG, 1, split, TasksQueued((2, 3)), TaskStarted(3, 1, 1, WORKER)))
    assert told(events) == [("succeeded", "put"), ("queued", "put[0]"), ("queued", "put[1]"), ("started", "put[1]")]
    tasks = view.dags["main_dag:1"].tasks
    assert tasks[0].instances == range(2, 4)
    assert [(task.name, task.queue, task.state) for task in tasks[2:]] == [
        ("put[0]", tasks[0].queue, State.QUEUED),
        ("put[1]", tasks[0].queue, State.RUNNING),
    ]


def test_what_a_retry_has_taken_over_is_shown_and_not_told_again() -> None:
    view = RunView(RUN, node_name)
    old = RunId("e" * 24)
    [queued] = view.describe(replace(RECORD, retry_of=old, reused=3))
    assert queued.reason == f"a retry of {old}; tasks reused: 3"
    view.define(WORKFLOW)
    key = "autostart/main_dag"
    starts = [DagStarted("main_dag:1", "main_dag", "other"), DagStarted("main_dag:2", "main_dag", key)]
    done = DagEnded("main_dag:1", State.COMPLETED, "", 2, 2)
    assert view.apply(batch(RUN, 0, starts[0], done, starts[1])) == []
    for dag in view.dags.values():
        dag.define(DEFINITION.spec)
    ends = [TaskEnded(task, 1, State.COMPLETED, started_at=1.0, ended_at=2.0, node="bob") for task in (0, 1)]
    second = dag_run_id(RUN, "main_dag:2")
    assert view.apply(batch(DAG, 0, *ends, RunEnded(State.COMPLETED))) == []
    assert view.apply(batch(second, 0, ends[0])) == []
    assert view.dags["main_dag:1"].state is State.COMPLETED
    events = view.apply(batch(RUN, 1, Claimed(OWNER, 1)))
    events += view.apply(batch(second, 1, Claimed(OWNER, 1), TasksQueued((1,)), TaskStarted(1, 1, 1, WORKER)))
    events += view.apply(batch(second, 2, ends[1]))
    words = [(event.word, event.name) for event in events]
    assert words[:2] == [("started", "simple"), ("queued", "main_dag:2")]
    assert words[2:] == [("started", "main_dag:2"), ("queued", "print"), ("started", "print"), ("succeeded", "print")]
    assert [task.is_reused for task in view.tasks] == [True, True, True, False]
    assert [task.node for task in view.tasks] == ["bob"] * 4

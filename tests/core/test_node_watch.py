"""What a node shows to members and clients that watch: each what it asked for."""

from meshflow.core.client_messages import Watch, Watched
from meshflow.core.messages import Output, Reports
from meshflow.core.records import Batch, Noted
from meshflow.core.requests import WriteOutput
from meshflow.ids import NodeId
from tests.core.builders import ANN, RUN, WF, attempt, finished, member
from tests.core.noding import Noding

CLIENT = NodeId("client")
CHUNK = WriteOutput(RUN, "a", 1, "stdout", 0, b"hello")


def driving() -> Noding:
    """A node that drives a run of two tasks and runs the first itself."""
    noding = Noding(member(ANN, queues=()))
    noding.submit()
    noding.settle()
    noding.sent.clear()
    return noding


def test_who_waits_for_the_end_is_shown_neither_output_nor_logs_of_dag_runs() -> None:
    noding = driving()
    noding.handle(ANN, Watch(WF, 60.0, with_tasks=False))
    noding.handle(ANN, Reports(RUN, 1, 1, (Output(attempt(0), CHUNK),), 3, 0))
    noding.node.task_finished(finished(attempt(0)), 0.1)
    noding.settle(0.1)
    assert not any(isinstance(message, Watched) for message in noding.pop_sent(ANN))


def test_a_client_that_watches_is_shown_what_members_show_and_members_what_is_logged_here() -> None:
    noding = driving()
    noding.handle(CLIENT, Watch(WF, 60.0))
    assert Watch(WF, 60.0) in noding.pop_sent(ANN)
    batch = Batch(RUN, 9, "token", (Noted("hm"),))
    noding.handle(ANN, Watched(batch))
    noding.handle(ANN, Watched(None, (CHUNK,)))
    noding.handle(ANN, Watched(None))
    assert noding.pop_sent(CLIENT) == [Watched(batch), Watched(None, (CHUNK,))]
    noding.node.task_finished(finished(attempt(0)), 0.1)
    noding.settle(0.1)
    shown = [message.batch for message in noding.pop_sent(CLIENT) if isinstance(message, Watched)]
    assert [batch.run for batch in shown if batch is not None][:1] == [RUN]


def test_of_two_clients_each_is_shown_what_it_asked_for() -> None:
    noding = driving()
    follower, waiter = NodeId("follower"), NodeId("waiter")
    noding.handle(waiter, Watch(WF, 60.0, with_tasks=False))
    noding.handle(follower, Watch(WF, 60.0))
    assert [message for message in noding.pop_sent(ANN) if isinstance(message, Watch)] == [
        Watch(WF, 60.0, with_tasks=False),
        Watch(WF, 60.0),
    ]
    of_workflow, of_dag = (Batch(run, 9, "token", (Noted("hm"),)) for run in (WF, RUN))
    for news in (Watched(of_workflow), Watched(of_dag), Watched(None, (CHUNK,))):
        noding.handle(ANN, news)
    assert noding.pop_sent(waiter) == [Watched(of_workflow)]
    assert noding.pop_sent(follower) == [Watched(of_workflow), Watched(of_dag), Watched(None, (CHUNK,))]

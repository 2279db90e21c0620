"""Who is told of what, and for how long."""

from meshflow.core.client_messages import Watch, Watched
from meshflow.core.effects import Send
from meshflow.core.records import Batch, Noted
from meshflow.core.requests import WriteOutput
from meshflow.core.watch import Watchers
from meshflow.ids import RunId
from tests.core.builders import ANN, BOB, RUN, WF

ALL = RunId("")
BATCH = Batch(RUN, 3, "token", (Noted("hm"),))
OUTPUT = WriteOutput(RUN, "a", 1, "stdout", 0, b"hello")


def test_nobody_is_told_if_nobody_watches() -> None:
    assert Watchers().tell(RUN, BATCH, (), 0.0) == []


def test_who_watches_a_workflow_run_is_told_of_its_dag_runs_and_of_no_other() -> None:
    watchers = Watchers()
    watchers.watch(ANN, Watch(WF, 5.0), now=0.0)
    assert watchers.tell(RUN, BATCH, (), 1.0) == [Send(ANN, Watched(BATCH))]
    assert watchers.tell(WF, BATCH, (), 1.0) == [Send(ANN, Watched(BATCH))]
    assert watchers.tell(RunId("other/d:1"), BATCH, (), 1.0) == []


def test_who_watches_all_is_told_of_every_run_and_once() -> None:
    watchers = Watchers()
    watchers.watch(ANN, Watch(ALL, 5.0), now=0.0)
    watchers.watch(ANN, Watch(WF, 5.0), now=0.0)
    watchers.watch(BOB, Watch(ALL, 5.0), now=0.0)
    sent = watchers.tell(RUN, None, [OUTPUT], 1.0)
    assert sent == [Send(peer, Watched(None, (OUTPUT,))) for peer in (ANN, BOB)]


def test_a_watch_ends_unless_it_is_renewed() -> None:
    watchers = Watchers()
    watchers.watch(ANN, Watch(ALL, 5.0), now=0.0)
    assert watchers.tell(RUN, BATCH, (), 5.0) == []
    watchers.watch(ANN, Watch(ALL, 5.0), now=5.0)
    assert watchers.tell(RUN, BATCH, (), 9.9) != []


def test_who_is_gone_is_told_no_more() -> None:
    watchers = Watchers()
    watchers.watch(ANN, Watch(ALL, 5.0), now=0.0)
    watchers.watch(BOB, Watch(ALL, 5.0), now=0.0)
    watchers.forget(ANN)
    assert watchers.tell(RUN, BATCH, (), 1.0) == [Send(BOB, Watched(BATCH))]


def test_nobody_watches_for_ever() -> None:
    watchers = Watchers()
    watchers.watch(ANN, Watch(ALL, 1e300), now=0.0)
    assert watchers.tell(RUN, BATCH, (), 3600.0) == []


def test_there_is_room_for_so_many_watches_and_those_may_be_renewed() -> None:
    watchers = Watchers()
    for number in range(1_000):
        watchers.watch(ANN, Watch(RunId(f"run {number}"), 5.0), now=0.0)
    watchers.watch(BOB, Watch(ALL, 5.0), now=0.0)
    assert watchers.tell(RunId("run 7"), BATCH, (), 1.0) == [Send(ANN, Watched(BATCH))]
    watchers.watch(ANN, Watch(RunId("run 7"), 5.0), now=4.0)
    assert watchers.tell(RunId("run 7"), BATCH, (), 8.0) == [Send(ANN, Watched(BATCH))]
    watchers.watch(BOB, Watch(ALL, 5.0), now=8.0)
    assert watchers.tell(RunId("run 8"), BATCH, (), 8.0) == [Send(BOB, Watched(BATCH))]


def test_who_does_not_want_the_tasks_is_told_of_the_workflow_run_alone() -> None:
    watchers = Watchers()
    watchers.watch(ANN, Watch(WF, 5.0, with_tasks=False), now=0.0)
    watchers.watch(BOB, Watch(ALL, 5.0, with_tasks=False), now=0.0)
    assert watchers.tell(WF, BATCH, (), 1.0) == [Send(ANN, Watched(BATCH)), Send(BOB, Watched(BATCH))]
    assert watchers.tell(RUN, BATCH, (), 1.0) == []
    assert watchers.tell(RUN, None, [OUTPUT], 1.0) == []


def test_two_watches_of_a_peer_stand_beside_each_other_and_each_ends_by_itself() -> None:
    watchers = Watchers()
    watchers.watch(ANN, Watch(WF, 5.0), now=0.0)
    watchers.watch(ANN, Watch(WF, 9.0, with_tasks=False), now=1.0)
    assert (watchers.of(WF, 2.0), watchers.of(RUN, 2.0)) == ([ANN], [ANN])
    assert (watchers.of(WF, 6.0), watchers.of(RUN, 6.0)) == ([ANN], [])

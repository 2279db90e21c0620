"""What a node keeps does not grow with what it has done, nor with the members that came and went."""

from collections import OrderedDict, deque
from dataclasses import replace

from meshflow.core.client_messages import Watch
from meshflow.core.effects import Start
from meshflow.core.keys import call_key
from meshflow.core.member import Status
from meshflow.core.membership_settings import MembershipSettings
from meshflow.core.messages import Demand, Gossip, Message, News, Reports, Signal, Verdict, Work
from meshflow.core.requests import CreateRun
from meshflow.ids import NodeId, RunId
from tests.core.builders import ANN, dag, finished, member, workflow_record
from tests.core.noding import Noding
from tests.core.owning import Blueprints

BOUNDED = {"_ended", "_epochs", "_names", "_codes", "_last"}
"""What is remembered of the past up to a bound of its own, which each has a test for."""


def kept_by(thing: object, seen: dict[int, object]) -> int:
    """How many things are kept in all collections that can be reached from `thing`."""
    if id(thing) in seen or isinstance(thing, str | bytes | int | float | type(None)):
        return 0
    seen[id(thing)] = thing
    if isinstance(thing, dict | OrderedDict):
        return len(thing) + sum(kept_by(each, seen) for each in (*thing, *thing.values()))
    if isinstance(thing, list | tuple | deque):
        return len(thing) + sum(kept_by(each, seen) for each in thing)
    if not type(thing).__module__.startswith("meshflow."):
        return 0
    names = [*getattr(thing, "__dict__", {}), *getattr(thing, "__slots__", ())]
    return sum(kept_by(getattr(thing, name), seen) for name in names if name not in BOUNDED)


def drive_one(noding: Noding, number: int, now: float) -> None:
    """A workflow run from its submission to its end. ANN runs its first task, which starts a dag, and this node the
    rest."""
    run = RunId(f"{number:024x}")
    record = workflow_record(run=run)
    assert noding.store.perform([CreateRun(record, noding.blueprints.blobs, {"meta": {}, "data": {}})]) == [True]
    noding.handle(NodeId("client"), Watch(run, 1.0), now)
    noding.settle(now)
    noding.settle(now + 2.1)
    now += 2.1
    (job,) = [job for message in noding.pop_sent(ANN) if isinstance(message, Work) for job in message.jobs]
    start = Signal(job.attempt.run, call_key(job.attempt, 1), "start_dag", {"name": "sub"})
    noding.handle(ANN, start, now)
    noding.settle(now)
    noding.handle(ANN, Reports(job.attempt.run, number, number, (finished(job.attempt),), number + 1, number), now)
    noding.settle(now)
    while noding.starts:
        started: list[Start]
        started, noding.starts = noding.starts, []
        for each in started:
            noding.node.task_signal(each.job.attempt, 1, "is_dag_completed", {"name": "d:1"}, None, now)
            noding.settle(now)
            noding.node.task_finished(finished(each.job.attempt), now)
        noding.settle(now)
    noding.settle(now + 2.1)
    assert noding.node.status.owned == ()


def test_a_node_that_has_driven_many_runs_keeps_no_more_than_after_the_first() -> None:
    sub = dag("x y", "x>y", name="sub")
    first = dag("a b", "a>b")
    first = replace(first, tasks=(replace(first.tasks[0], queue="gpu"), first.tasks[1]))
    never_probes = MembershipSettings(probe_interval_s=1e9)
    noding = Noding(member(ANN, queues=("gpu",)), blueprints=Blueprints(first, sub), membership=never_probes)
    noding.blueprints.spec = replace(noding.blueprints.spec, autostart=("d",))
    noding.handle(ANN, Demand(1, 0))
    sizes = []
    for number in range(1, 25):
        drive_one(noding, number, now=10.0 * number)
        sizes.append(kept_by(noding.node, {}))
    assert max(sizes[4:]) <= max(sizes[:4])


def test_a_node_keeps_nothing_of_members_that_came_and_went_but_that_they_did() -> None:
    noding = Noding()
    sizes = []
    for number in range(40):
        passing = member(NodeId(f"passing {number:02}"))
        hello: Message = Gossip(News(members=(passing,)))
        noding.handle(passing.id, hello, float(number))
        noding.handle(passing.id, Demand(3, 0), float(number))
        noding.handle(passing.id, Watch(RunId(""), 600.0), float(number))
        left = Verdict(passing.id, passing.incarnation, Status.LEFT)
        noding.handle(passing.id, Gossip(News(verdicts=(left,))), float(number))
        noding.settle(float(number))
        runs, worker = noding.node._runs, noding.node._worker
        machines = (runs.dispatcher, runs._claims, worker._credit, noding.node._watchers, noding.node._clients)
        sizes.append(sum(kept_by(machine, {}) for machine in machines))
    assert max(sizes) == sizes[0]

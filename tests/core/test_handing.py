"""Jobs leave in batches of a bounded size, with the code that their node lacks."""

from meshflow.core.agenda import Agenda
from meshflow.core.effects import Effect, Send
from meshflow.core.graph import DagSpec
from meshflow.core.handing import hand_out
from meshflow.core.messages import Message, Offer, Work
from meshflow.core.queue import Waiting
from meshflow.core.records import Value
from meshflow.ids import RunId
from tests.core.builders import ANN, BOB, ME, RUN, dag, ended, member, task
from tests.core.driven import DrivenDag


class Handing(DrivenDag):
    """A dag run whose jobs are handed out to ANN, who serves the queue alone."""

    def __init__(self, spec: DagSpec) -> None:
        super().__init__(spec)
        self.begin()
        self.agenda = Agenda()
        self.dispatcher.set_members([member(ANN), member(BOB, queues=())])

    def hand(self, granted: int = 100) -> list[Effect]:
        self.dispatcher.demand(ANN, granted, 0, 0.0)
        return hand_out(self.dispatcher, {RUN: self.owner}, self.agenda, 0.0)


def works(effects: list[Effect]) -> list[tuple[list[str], list[str], int]]:
    """(tasks, digests, backlog) of each message."""
    messages: list[Message] = [effect.message for effect in effects if isinstance(effect, Send)]
    return [
        ([job.name for job in message.jobs], list(message.codes), message.backlog)
        for message in messages
        if isinstance(message, Work)
    ]


def test_jobs_go_together_with_code_that_was_not_sent_before() -> None:
    handing = Handing(dag("a b c", "", task("b", payload="code of a")))
    assert works(handing.hand(granted=2)) == [(["a", "b"], ["code of a"], 1)]
    assert handing.agenda.take() == (RUN,)
    assert works(handing.hand(granted=3)) == [(["c"], ["code of c"], 0)]


def test_large_jobs_go_in_several_messages() -> None:
    names = [f"t{number}" for number in range(5)]
    edges = " ".join(f"a>{name}" for name in names)
    spec = dag(" ".join(["a", *names]), edges)
    handing = Handing(spec)
    handing.queued()
    handing.fold.apply(ended(0, value=Value(bytes(3 * 1024 * 1024))))
    handing.owner._push(range(1, 6))
    handing.dispatcher.set_members([])
    handing.dispatcher.set_members([member(ANN)])
    assert [tasks for tasks, _, _ in works(handing.hand())] == [["t0", "t1"], ["t2", "t3"], ["t4"]]


def test_a_job_that_is_larger_than_a_message_should_be_goes_alone() -> None:
    handing = Handing(dag("a b c", "a>b"))
    handing.queued()
    handing.fold.apply(ended(0, value=Value(bytes(20 * 1024 * 1024))))
    handing.owner._push((2, 1))
    handing.dispatcher.set_members([])
    handing.dispatcher.set_members([member(ANN)])
    assert [tasks for tasks, _, _ in works(handing.hand())] == [["c"], ["b"]]


def test_a_job_that_is_not_wanted_any_more_costs_no_credit() -> None:
    handing = Handing(dag("a b"))
    handing.fold.apply(ended(0))
    handing.dispatcher.push(Waiting(RunId("gone/d:1"), 0), "task", 9)
    assert works(handing.hand(granted=3)) == [(["b"], ["code of b"], 0)]
    handing.dispatcher.push(Waiting(RUN, 1), "task", 0)
    handing.dispatcher.push(Waiting(RunId("gone/d:1"), 1), "task", 0)
    assert handing.dispatcher.pump(0.0)[0].jobs == (Waiting(RUN, 1), Waiting(RunId("gone/d:1"), 1))


def test_a_job_that_waits_for_the_log_is_not_sent_here() -> None:
    handing = Handing(dag("a", "", task("a", at_most_once=True)))
    assert handing.hand() == []


def test_who_has_no_credit_is_offered_what_waits() -> None:
    handing = Handing(dag("a b"))
    assert handing.hand(granted=0) == [Send(ANN, Offer({"task": 2}))]
    assert ME not in handing.owner.handouts.nodes

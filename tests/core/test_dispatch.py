"""Who gets which job, who is told that there are some, and that nobody gets more than it asked for."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshflow.core.dispatch import Dispatcher, DispatchSettings, Handout
from meshflow.core.member import Member
from meshflow.core.queue import Waiting
from meshflow.ids import NodeId
from tests.core.builders import ANN, BOB, ME, RUN, member

SETTINGS = DispatchSettings(reoffer_s=1.0, fanout=2, max_offers=8, spread_s=0.002, resync_s=2.0)


def jobs(count: int, first: int = 0) -> tuple[Waiting, ...]:
    return tuple(Waiting(RUN, number) for number in range(first, first + count))


def dispatcher(*members: Member, waiting: int = 0) -> Dispatcher:
    made = Dispatcher(SETTINGS, ME)
    made.set_members(members or (member(ANN), member(BOB)))
    for job in jobs(waiting):
        made.push(job, "task", 0)
    return made


# --- jobs and credit ---


def test_nothing_is_handed_out_without_credit() -> None:
    made = dispatcher(waiting=2)
    assert made.pump(0.0) == []
    assert made.waiting == {"task": 2}


def test_nobody_is_handed_more_than_it_granted() -> None:
    made = dispatcher(waiting=3)
    made.demand(ANN, granted=2, received=0, now=0.0)
    assert made.pump(0.0) == [Handout(ANN, jobs(2), backlog=1)]
    assert made.pump(0.0) == []
    made.demand(ANN, granted=3, received=2, now=0.1)
    assert made.pump(0.1) == [Handout(ANN, jobs(1, first=2), backlog=0)]
    assert made.waiting == {}


def test_jobs_are_dealt_in_turns_and_who_has_most_credit_is_first() -> None:
    made = dispatcher(waiting=4)
    made.demand(ANN, 1, 0, 0.0)
    made.demand(BOB, 5, 0, 0.0)
    first, second, third, fourth = jobs(4)
    assert made.pump(0.0) == [Handout(BOB, (first, third, fourth), 0), Handout(ANN, (second,), 0)]


def test_nobody_is_handed_jobs_of_a_queue_that_it_does_not_serve() -> None:
    made = dispatcher(member(ANN, queues=("gpu",)), member(BOB, is_draining=True), waiting=1)
    made.demand(ANN, 5, 0, 0.0)
    made.demand(BOB, 5, 0, 0.0)
    assert made.pump(0.0) == []


def test_the_backlog_told_is_that_of_the_queues_the_node_serves() -> None:
    made = dispatcher(member(ANN, queues=("task", "io", "empty")), waiting=2)
    made.push(Waiting(RUN, 10), "io", 0)
    made.push(Waiting(RUN, 11), "gpu", 0)
    made.demand(ANN, 1, 0, 0.0)
    assert made.pump(0.0) == [Handout(ANN, jobs(1), backlog=2)]


def test_a_removed_job_is_not_handed_out() -> None:
    made = dispatcher(waiting=2)
    for job in (*jobs(1), *jobs(1), Waiting(RUN, 99)):
        made.remove(job)
    made.demand(ANN, 2, 0, 0.0)
    assert made.pump(0.0) == [Handout(ANN, jobs(1, first=1), 0)]
    made.remove(jobs(1, first=1)[0])
    made.push(Waiting(RUN, 7), "io", 0)
    made.remove(Waiting(RUN, 7))
    assert made.waiting == {}


def test_credit_that_is_taken_back_is_gone() -> None:
    made = dispatcher(waiting=1)
    made.demand(ANN, 5, 0, 0.0)
    made.demand(ANN, 0, 0, 0.1)
    assert made.pump(0.1) == []


def test_a_refunded_job_may_be_replaced_by_another() -> None:
    made = dispatcher(waiting=2)
    made.demand(ANN, 1, 0, 0.0)
    made.pump(0.0)
    made.refund(ANN)
    made.refund(NodeId("stranger"))
    assert made.pump(0.0) == [Handout(ANN, jobs(1, first=1), 0)]


def test_a_refund_does_not_make_credit_of_what_was_taken_back() -> None:
    made = dispatcher(waiting=2)
    made.demand(ANN, 1, 0, 0.0)
    made.pump(0.0)
    made.demand(ANN, 0, 0, 0.1)
    made.refund(ANN)
    assert made.pump(0.1) == []


def test_jobs_lost_on_their_way_do_not_use_up_credit_for_ever() -> None:
    made = dispatcher(waiting=2)
    made.demand(ANN, 1, 0, 0.0)
    made.pump(0.0)
    made.demand(ANN, 1, 0, 2.0)
    assert made.pump(2.0) == []
    made.demand(ANN, 1, 0, 2.1)
    assert made.pump(2.1) == [Handout(ANN, jobs(1, first=1), 0)]


def test_strangers_have_no_credit() -> None:
    made = dispatcher(waiting=1)
    made.demand(NodeId("stranger"), 5, 0, 0.0)
    assert made.pump(0.0) == []


def test_who_is_gone_loses_its_credit() -> None:
    made = dispatcher(waiting=1)
    made.demand(ANN, 5, 0, 0.0)
    made.offers(0.0)
    made.set_members([member(BOB)])
    assert made.pump(0.0) == []
    made.set_members([member(ANN), member(BOB)])
    assert made.pump(0.0) == []


def test_who_was_taken_for_gone_and_is_back_has_the_credit_that_it_has_not_used() -> None:
    made = dispatcher(waiting=5)
    made.demand(ANN, 50, 48, 0.0)
    assert [len(handout.jobs) for handout in made.pump(0.0)] == [2]


# --- offers ---


def test_an_offer_goes_to_who_serves_the_queue_and_has_no_credit_and_again_if_it_may_be_lost() -> None:
    made = dispatcher(member(ANN), member(BOB), member(ME, queues=("gpu",)), waiting=2)
    made.demand(BOB, 1, 0, 0.0)
    made.pump(0.0)
    made.demand(BOB, 2, 1, 0.0)
    assert made.offers(0.0) == [(ANN, {"task": 1})]
    assert made.offers(0.5) == []
    assert made.offers(1.0) == [(ANN, {"task": 1})]


def test_what_is_told_is_the_share_of_each_node_that_serves_the_queue_rounded_up() -> None:
    made = dispatcher(member(ANN), member(BOB), member(ME, queues=("gpu",)), waiting=5)
    assert sorted(made.offers(0.0)) == [(ANN, {"task": 3}), (BOB, {"task": 3})]


def test_queues_are_offered_together() -> None:
    made = dispatcher(member(ANN, queues=("task", "io")), waiting=1)
    made.push(Waiting(RUN, 10), "io", 0)
    assert made.offers(0.0) == [(ANN, {"task": 1, "io": 1})]


def told(made: Dispatcher, now: float) -> list[NodeId]:
    return [to for to, _ in made.offers(now)]


def test_a_few_are_told_of_a_job_and_more_after_pauses_that_double() -> None:
    made = dispatcher(*(member(NodeId(str(number))) for number in range(40)), waiting=1)
    assert len(told(made, 0.0)) == 2
    at, pauses_s = 0.0, []
    for _ in range(3):
        pauses_s.append(made.deadline() - at)
        at = made.deadline()
        assert len(told(made, at)) == 2 * SETTINGS.fanout
    assert pauses_s == [pytest.approx(pause_s) for pause_s in (0.002, 0.004, 0.008)]


def test_offers_for_each_job_are_as_many_in_a_mesh_of_any_size() -> None:
    for count in (100, 1000):
        made = dispatcher(*(member(NodeId(str(number))) for number in range(count)))
        offered = 0
        for number in range(50):
            made.push(Waiting(RUN, number), "task", 0)
            offered += len(told(made, number * 0.003))
        assert offered == 50 * SETTINGS.fanout


def test_many_jobs_are_offered_to_many_at_once_but_not_to_all() -> None:
    made = dispatcher(*(member(NodeId(str(number))) for number in range(40)), waiting=3)
    assert len(told(made, 0.0)) == 3 * SETTINGS.fanout
    made = dispatcher(*(member(NodeId(str(number))) for number in range(40)), waiting=100)
    assert len(told(made, 0.0)) == SETTINGS.max_offers


def test_nodes_take_turns_and_each_owner_begins_elsewhere() -> None:
    nodes = [member(NodeId(str(number))) for number in range(40)]
    firsts = set()
    for owner in (ANN, BOB, ME):
        made = Dispatcher(SETTINGS, owner)
        made.set_members(nodes)
        seen: list[NodeId] = []
        for number in range(20):
            made.push(Waiting(RUN, number), "task", 0)
            seen += told(made, number * 0.003)
        assert len(dict.fromkeys(seen)) == 40
        firsts.add(seen[0])
    assert len(firsts) == 3


def test_a_queue_that_was_empty_in_between_is_offered_anew() -> None:
    made = dispatcher(member(ANN), waiting=1)
    made.offers(0.0)
    made.remove(jobs(1)[0])
    assert made.deadline() == -math.inf
    assert (made.offers(0.1), made.deadline()) == ([(ANN, {"task": 0})], math.inf)
    made.push(jobs(1)[0], "task", 0)
    assert made.offers(0.2) == [(ANN, {"task": 1})]


def test_who_hopes_for_jobs_is_told_when_others_have_had_them_all() -> None:
    made = dispatcher(waiting=2)
    assert sorted(told(made, 0.0)) == [ANN, BOB]
    made.demand(BOB, 3, 0, 0.001)
    assert [handout.backlog for handout in made.pump(0.001)] == [0]
    assert made.offers(0.001) == [(ANN, {"task": 0})]


def test_who_hopes_is_told_nothing_if_more_jobs_come_at_once() -> None:
    made = dispatcher(waiting=1)
    assert sorted(told(made, 0.0)) == [ANN, BOB]
    made.remove(jobs(1)[0])
    made.push(Waiting(RUN, 7), "task", 0)
    assert made.offers(0.001) == []


def test_an_offer_that_is_called_off_says_what_waits_on_other_queues() -> None:
    made = dispatcher(member(ANN, queues=("task", "io")), waiting=1)
    made.push(Waiting(RUN, 10), "io", 0)
    made.offers(0.0)
    made.remove(jobs(1)[0])
    assert made.offers(0.001) == [(ANN, {"io": 1, "task": 0})]


def test_more_jobs_on_a_queue_that_was_offered_are_not_offered_again() -> None:
    made = dispatcher(member(ANN), waiting=1)
    made.offers(0.0)
    made.push(Waiting(RUN, 10), "task", 0)
    assert made.offers(0.1) == []


def test_a_new_member_is_told_at_once() -> None:
    made = dispatcher(member(ANN), waiting=1)
    made.offers(0.0)
    made.set_members([member(ANN), member(BOB)])
    assert made.offers(0.1) == [(BOB, {"task": 1})]


def test_who_was_taken_for_gone_and_is_back_is_told_again() -> None:
    made = dispatcher(member(ANN), waiting=1)
    made.offers(0.0)
    made.set_members([])
    made.set_members([member(ANN)])
    assert made.offers(0.1) == [(ANN, {"task": 1})]


def test_who_takes_its_credit_back_while_jobs_wait_is_told() -> None:
    made = dispatcher(member(ANN), waiting=1)
    made.demand(ANN, 3, 0, 0.0)
    assert made.offers(0.0) == []
    made.demand(ANN, 0, 0, 0.1)
    assert made.offers(0.1) == [(ANN, {"task": 1})]


def test_who_has_used_its_credit_is_told_with_the_jobs_that_more_wait_and_offered_them_only_if_that_was_lost() -> None:
    made = dispatcher(member(ANN), waiting=4)
    made.demand(ANN, 1, 0, 0.0)
    assert [handout.backlog for handout in made.pump(0.0)] == [3]
    assert [made.offers(now) for now in (0.0, 0.5)] == [[], []]
    assert made.offers(1.6) == [(ANN, {"task": 3})]


# --- code ---


def test_code_is_sent_to_a_node_once_until_it_lacks_it() -> None:
    made = dispatcher()
    assert made.codes_to_send(ANN, ["x", "y", "x"]) == ["x", "y"]
    assert made.codes_to_send(ANN, ["y", "z"]) == ["z"]
    assert made.codes_to_send(BOB, ["y"]) == ["y"]
    made.forget_codes(ANN)
    made.forget_codes(NodeId("stranger"))
    assert made.codes_to_send(ANN, ["y"]) == ["y"]
    assert made.codes_to_send(BOB, ["y"]) == []


def test_what_was_sent_is_remembered_up_to_a_bound() -> None:
    made = dispatcher()
    made.codes_to_send(ANN, [str(number) for number in range(5000)])
    assert made.codes_to_send(ANN, ["1"]) == ["1"]
    assert len(made._peers[ANN].codes) == 1


# --- anything at all ---

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 9), st.sampled_from(["task", "gpu"])),
        st.tuples(st.just("remove"), st.integers(0, 9), st.just("")),
        st.tuples(st.just("demand"), st.integers(0, 20), st.sampled_from(["ann", "bob"])),
        st.tuples(st.just("members"), st.integers(0, 3), st.just("")),
    ),
    max_size=40,
)


@given(STEPS)
def test_no_job_is_lost_or_doubled_and_no_credit_is_exceeded(steps: list[tuple[str, int, str]]) -> None:
    made = dispatcher(member(ANN, queues=("task", "gpu")), member(BOB))
    waiting: dict[Waiting, str] = {}
    granted = {ANN: 0, BOB: 0}
    given_to = {ANN: 0, BOB: 0}
    for tick, (action, number, name) in enumerate(steps):
        job = Waiting(RUN, number)
        match action:
            case "push" if job not in waiting:
                made.push(job, name, number % 3)
                waiting[job] = name
            case "remove":
                made.remove(job)
                waiting.pop(job, None)
            case "demand":
                granted[NodeId(name)] = number
                made.demand(NodeId(name), number, given_to[NodeId(name)], tick * 0.1)
            case "members":
                present = [member(ANN, queues=("task", "gpu"), is_draining=number == 3), member(BOB)][: number % 3 + 1]
                made.set_members(present)
                granted |= {node: 0 for node in granted if node not in [each.id for each in present]}
        for handout in made.pump(tick * 0.1):
            assert handout.jobs
            for each in handout.jobs:
                queue = waiting.pop(each)
                assert queue == "task" or handout.to == ANN
            given_to[handout.to] += len(handout.jobs)
            assert given_to[handout.to] <= granted[handout.to]
        made.offers(tick * 0.1)
        counts = {queue: list(waiting.values()).count(queue) for queue in waiting.values()}
        assert made.waiting == counts


def test_who_takes_back_credit_although_jobs_wait_is_told_of_them_again_at_once() -> None:
    """It came too late to be used, so that the node thinks that there is nothing here."""
    made = dispatcher(member(ANN), waiting=1)
    made.offers(0.0)
    made.demand(ANN, 1, 0, 0.1)
    made.demand(ANN, 0, 0, 0.11)
    assert made.pump(0.11) == []
    assert made.offers(0.11) == [(ANN, {"task": 1})]
    made.demand(ANN, 0, 0, 0.12)
    assert made.offers(0.12) == []

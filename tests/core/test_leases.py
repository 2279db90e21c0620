"""Which lease is fed what, and when it ends."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from meshflow.core.calling import Call, Function
from meshflow.core.leases import AHEAD_S, HALT_S, LEASE_S, LINGER_S, PACKET_S, STALE_S, Leases
from meshflow.ids import NodeId

F = Function("f", "f")
NODE = NodeId("a" * 16)
TASK = {"task": None}


class Process:
    """What a process has of what it was fed."""

    def __init__(self) -> None:
        self.unbegun: dict[int, list[int]] = {}
        self.halted: list[tuple[int, int]] = []
        self.begun_counts: dict[int, int] = {}

    def take_back(self, lease: int) -> Sequence[int]:
        """All that was not begun."""
        return self.unbegun.pop(lease, [])

    def halt(self, lease: int, packet: int) -> None:
        self.halted.append((lease, packet))

    def begun(self, lease: int, packet: int) -> int:
        return self.begun_counts.get(packet, 0)


def call() -> Call:
    return Call(F, b"")


def leases(*opened: int) -> tuple[Leases, Process]:
    """Leases of one queue, of which these have called at time 0."""
    process = Process()
    made = Leases(process)
    for number in opened:
        made.ask(number, NODE, "task")
        assert made.opened(number, 0.0)
    return made, process


@dataclass
class Fed:
    packet: int
    calls: tuple[Call, ...]


def feed(made: Leases, number: int, count: int = 1, work_s: float = PACKET_S, now: float = 0.0) -> Fed:
    calls = tuple(call() for _ in range(count))
    return Fed(made.feed(number, calls, work_s, now), calls)


def test_a_lease_is_fed_only_when_its_process_has_called() -> None:
    made, _ = leases()
    made.ask(1, NODE, "task")
    assert made.hungriest(TASK, 0.0) is None
    assert made.idle_counts() == {"task": 1}, "it will take a call as soon as it is there"
    assert made.opened(1, 0.0)
    assert made.hungriest(TASK, 0.0) == (1, "task")
    assert made.hungriest({"other": None}, 0.0) is None


def test_nobody_calls_twice_or_unasked() -> None:
    made, _ = leases(1)
    assert not made.opened(1, 1.0)
    assert not made.opened(2, 1.0)


def test_the_one_with_the_least_to_do_is_fed_first() -> None:
    made, _ = leases(1, 2)
    feed(made, 1)
    assert made.hungriest(TASK, 0.0) == (2, "task")
    feed(made, 2)
    feed(made, 2)
    assert made.hungriest(TASK, 0.0) == (1, "task")


def test_short_calls_are_fed_further_ahead_than_long_ones() -> None:
    made, _ = leases(1)
    while made.hungriest(TASK, 0.0):
        feed(made, 1, work_s=PACKET_S)
    assert AHEAD_S <= made._leases[1].work_s <= AHEAD_S + PACKET_S
    made, _ = leases(1)
    while made.hungriest(TASK, 0.0):
        feed(made, 1, work_s=1.0)
    assert len(made._leases[1].packets) == 2, "one runs, and one need not be waited for"


def test_packets_are_answered_in_order_each_once() -> None:
    made, _ = leases(1)
    first, second = feed(made, 1), feed(made, 1, count=2)
    assert made.answered(1, second.packet, 1.0) == ()
    assert made.answered(1, first.packet, 1.0) == first.calls
    assert made.answered(1, first.packet, 1.0) == ()
    assert made.answered(1, second.packet, 1.0) == second.calls
    assert made.answered(2, 1, 1.0) == ()
    assert made._leases[1].work_s == 0.0


def test_what_has_not_begun_is_taken_back_and_the_rest_is_what_it_had_begun() -> None:
    made, process = leases(1)
    running, behind = feed(made, 1), feed(made, 1, count=3)
    process.unbegun[1] = [behind.packet]
    assert made.take_back(1) == [behind.calls]
    assert made.has_only(1, running.calls[0])
    assert not made.has_only(1, behind.calls[0])
    assert made.ended(1) == [running.calls]
    assert 1 not in made
    assert len(made) == 0


def test_an_idle_lease_ends_after_it_has_lingered() -> None:
    made, _ = leases(1)
    packet = feed(made, 1)
    assert made.answered(1, packet.packet, 1e-3)
    assert made.deadline() == 1e-3 + LINGER_S
    assert made.over(LINGER_S) == []
    assert made.over(1e-3 + LINGER_S) == [1]
    assert made.over(1.0) == [], "told of once"
    assert made.hungriest(TASK, 0.0) is None
    assert made.idle_counts() == {}
    assert made.deadline() == math.inf


def test_a_busy_lease_ends_when_its_time_is_over() -> None:
    made, _ = leases(1)
    feed(made, 1, now=LEASE_S - 1e-3)
    assert made.over(LEASE_S - 1e-3) == []
    assert made.deadline() == LEASE_S
    assert made.over(LEASE_S) == [1]


def test_what_is_behind_a_call_that_turns_out_long_is_to_be_taken_back() -> None:
    made, process = leases(1)
    feed(made, 1)
    behind = feed(made, 1)
    assert made.stuck(STALE_S / 2, has_waiting=True) == []
    assert made.deadline() == STALE_S
    assert made.stuck(STALE_S, has_waiting=True) == [1]
    process.unbegun[1] = [behind.packet]
    made.take_back(1)
    assert made.hungriest(TASK, STALE_S) is None, "or it would be fed what was just taken from it"
    assert made.stuck(STALE_S, has_waiting=True) == []
    assert made.deadline() == LEASE_S, "nothing is due before it ends"


def test_what_is_ahead_goes_to_who_has_nothing_to_do() -> None:
    made, _ = leases(1, 2)
    feed(made, 1)
    feed(made, 1)
    assert made.stuck(0.0, has_waiting=True) == [], "there is other work for the idle one"
    assert made.stuck(0.0, has_waiting=False) == [1]
    feed(made, 2)
    assert made.stuck(0.0, has_waiting=False) == []


def test_a_lease_that_is_closed_is_fed_no_more_and_gives_back_what_it_has() -> None:
    made, _ = leases(1)
    feed(made, 1)
    feed(made, 1)
    made.close(1)
    made.close(7)
    assert made.hungriest(TASK, 0.0) is None
    assert made.stuck(0.0, has_waiting=True) == [1]
    assert made.deadline() == math.inf, "what it has not given back, it has begun"


def test_a_call_has_its_process_to_itself_if_all_that_was_begun_with_it_is_cancelled() -> None:
    made, _ = leases(1)
    first, second = feed(made, 1, count=2).calls
    assert not made.has_only(1, first)
    second.is_cancelled = True
    assert made.has_only(1, first)


def test_of_a_packet_in_which_a_call_turned_out_long_what_has_not_begun_is_for_others() -> None:
    made, process = leases(1)
    fed = feed(made, 1, 5)
    assert made.deadline() == STALE_S
    assert made.relieved(STALE_S / 2) == []
    assert process.halted == []
    assert made.relieved(STALE_S) == []
    assert process.halted == [(1, fed.packet)]
    process.begun_counts[fed.packet] = 2
    assert made.deadline() == STALE_S + HALT_S
    assert made.relieved(STALE_S + HALT_S / 2) == [], "the process may be about to begin one"
    assert made.relieved(STALE_S + HALT_S) == [fed.calls[2:]]
    assert made.relieved(1.0) == []
    assert made.deadline() > STALE_S + HALT_S
    assert made.answered(1, fed.packet, 1.0) == fed.calls[:2]


def test_the_first_call_of_a_packet_is_left_to_it_though_it_was_not_seen_to_begin() -> None:
    made, _ = leases(1)
    fed = feed(made, 1, 2)
    made.relieved(STALE_S)
    assert made.relieved(STALE_S + HALT_S) == [fed.calls[1:]]
    assert made.ended(1) == [fed.calls[:1]]


def test_a_packet_of_one_call_is_left_alone() -> None:
    made, process = leases(1)
    feed(made, 1)
    assert made.relieved(1.0) == []
    assert process.halted == []


def test_a_lease_that_is_over_is_relieved_too() -> None:
    made, process = leases(1)
    feed(made, 1, 5, now=LEASE_S)
    assert made.over(LEASE_S) == [1]
    assert made.deadline() == LEASE_S + STALE_S
    made.relieved(LEASE_S + STALE_S)
    assert len(process.halted) == 1

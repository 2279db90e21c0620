"""What overrides what, what is remembered, and what is compared."""

from dataclasses import replace

import pytest

from meshflow.core.member import Member, Status
from meshflow.core.membership_settings import MembershipSettings
from meshflow.core.view import (
    DIGEST_PARTS,
    MAX_INCARNATION,
    MAX_RECORD_LENGTH,
    View,
    is_acceptable,
    is_newer,
    part_of,
    record_length,
)
from meshflow.ids import NodeId
from tests.core.builders import ANN, BOB, ME, member


def view(*known: Member, **settings: int) -> View:
    return View(member(ME), replace(MembershipSettings(), **settings), known)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("known_status", Status)
@pytest.mark.parametrize(("incarnation", "expected"), [(4, False), (6, True)])
def test_another_incarnation_decides_alone(
    incarnation: int, status: Status, known_status: Status, expected: bool
) -> None:
    assert is_newer(incarnation, status, member(ANN, incarnation=5, status=known_status)) is expected


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("known_status", Status)
def test_at_one_incarnation_the_worse_claim_holds(status: Status, known_status: Status) -> None:
    assert is_newer(5, status, member(ANN, incarnation=5, status=known_status)) is (status > known_status)


@pytest.mark.parametrize(
    "change",
    [
        {"incarnation": -1},
        {"incarnation": MAX_INCARNATION + 1},
        {"incarnation": MAX_INCARNATION, "status": Status.DEAD},
        {"id": ""},
        {"address": ""},
        {"name": "x" * (MAX_RECORD_LENGTH + 1)},
        {"queues": ("",) * (MAX_RECORD_LENGTH + 1)},
    ],
)
def test_a_record_that_would_do_harm_is_not_acceptable(change: dict[str, object]) -> None:
    assert not is_acceptable(replace(member(ANN), **change))  # type: ignore[arg-type]


def test_a_record_within_the_limits_is_acceptable() -> None:
    full = member(ANN, incarnation=MAX_INCARNATION)
    full = replace(full, name="x" * (MAX_RECORD_LENGTH - record_length(replace(full, name=""))))
    assert record_length(full) == MAX_RECORD_LENGTH
    assert is_acceptable(full)


def test_the_living_are_the_alive_and_the_suspect_in_the_order_in_which_they_became_known() -> None:
    known = view(member(ANN), member(BOB))
    known.put(member(ANN, status=Status.SUSPECT), now=1.0)
    assert [each.id for each in known.living()] == [ANN, BOB, ME]
    assert known.living() is known.living(), "not built anew while nothing changes"
    known.put(member(BOB, status=Status.DEAD), now=2.0)
    assert [each.id for each in known.living()] == [ANN, ME]
    assert known.living_count == 2
    known.put(member(BOB, incarnation=1), now=3.0)
    assert [each.id for each in known.living()] == [ANN, BOB, ME]
    assert known.living_count == 3


def test_the_dead_and_the_gone_are_remembered_for_a_while() -> None:
    known = view(member(ANN), member(BOB))
    known.put(member(ANN, status=Status.LEFT), now=1.0)
    known.put(member(BOB, status=Status.DEAD), now=2.0)
    assert known.dead() == [BOB]
    assert known.outdated(now=3600.9) == []
    assert known.outdated(now=3601.0) == [ANN]
    known.forget(ANN)
    assert list(known.members) == [BOB, ME]
    assert known.oldest_tombstone() == BOB


def test_only_so_many_of_them_are_remembered_and_the_oldest_go_first() -> None:
    known = view(max_tombstones=2)
    for number in range(4):
        known.put(member(NodeId(f"n{number}"), status=Status.DEAD), now=float(number))
    assert known.outdated(now=5.0) == ["n0", "n1"]


def test_who_comes_back_to_life_has_no_tombstone() -> None:
    known = view()
    known.put(member(ANN, status=Status.DEAD), now=1.0)
    known.put(member(ANN, status=Status.LEFT), now=2.0)
    known.put(member(ANN, incarnation=1), now=3.0)
    assert known.oldest_tombstone() is None
    assert known.outdated(now=1e9) == []


def test_equal_sets_of_living_members_have_equal_digests_whatever_the_history() -> None:
    one, other = view(member(ANN)), view()
    assert one.digests() != other.digests()
    other.put(member(BOB), now=0.0)
    other.put(member(ANN, incarnation=3), now=0.0)
    other.put(member(BOB, status=Status.DEAD), now=1.0)
    one.put(member(ANN, incarnation=2, status=Status.SUSPECT), now=0.0)
    one.put(member(ANN, incarnation=3, status=Status.SUSPECT), now=0.0)
    assert one.digests() == other.digests()
    assert view(member(ANN, incarnation=3)).digests() == one.digests(), "mixed one by one or all at once"


def test_views_are_compared_part_by_part() -> None:
    nodes = [NodeId(f"{number:016x}") for number in range(500)]
    one, other = view(*map(member, nodes)), view(*map(member, nodes))
    assert one.differing(other.digests()) == []
    other.put(member(nodes[0], incarnation=1), now=0.0)
    parts = one.differing(other.digests())
    assert parts == [part_of(nodes[0])]
    assert nodes[0] in {each.id for each in one.in_parts(parts)}
    assert len(one.in_parts(parts)) < 50


def test_digests_of_another_form_differ_everywhere() -> None:
    assert view().differing((1, 2, 3)) == list(range(DIGEST_PARTS))


def test_members_are_spread_over_all_parts() -> None:
    counts = [0] * DIGEST_PARTS
    for number in range(6100):
        counts[part_of(NodeId(f"{number * 7919:016x}"))] += 1
    assert all(40 < count < 200 for count in counts), counts


def test_members_are_found_by_address_while_they_live() -> None:
    known = view(member(ANN), member(BOB, address="sim://ann"))
    assert [each.id for each in known.at_address("sim://ann")] == [ANN, BOB]
    known.put(member(ANN, status=Status.DEAD), now=0.0)
    assert [each.id for each in known.at_address("sim://ann")] == [BOB]
    assert known.at_address("nowhere") == []

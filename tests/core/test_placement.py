"""Rendezvous hashing: everyone agrees, and little moves."""

import subprocess
import sys
from collections import Counter

import pytest

from meshflow.core.placement import owner_of, ranked
from meshflow.errors import UsageError
from meshflow.ids import NodeId
from tests.core.builders import member
from tests.source_tree import ROOT

NODES = [NodeId(f"{number:016x}") for number in range(20)]
KEYS = [f"key-{number}" for number in range(4000)]


def test_the_owner_is_the_same_in_every_process_and_version() -> None:
    """A changed hash would move every key of a running mesh; so the answer is written down here."""
    assert [owner_of(key, NODES) for key in ("a", "b", "käse")] == [NODES[3], NODES[17], NODES[10]]


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_the_hash_seed_of_the_process_does_not_matter(hash_seed: str) -> None:
    program = "from meshflow.core.placement import ranked; print(*ranked('a', [f'{n:016x}' for n in range(20)], 20))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={"PYTHONHASHSEED": hash_seed}, capture_output=True, check=True
    )
    assert done.stdout.decode().split() == ranked("a", NODES, 20)


def test_the_order_in_which_members_are_given_does_not_matter() -> None:
    assert ranked("a", NODES, 20) == ranked("a", NODES[::-1], 20)


def test_members_and_their_ids_give_the_same() -> None:
    assert owner_of("a", [member(node) for node in NODES]) == owner_of("a", NODES)


def test_ranked_begins_with_the_owner_and_names_each_member_once() -> None:
    first = ranked("a", NODES, 20)
    assert first[0] == owner_of("a", NODES)
    assert sorted(first) == NODES
    assert ranked("a", NODES, 3) == first[:3]
    assert ranked("a", NODES, 100) == first
    assert ranked("a", NODES, 0) == []


def test_when_a_member_goes_the_next_in_rank_owns_its_keys_and_nothing_else_moves() -> None:
    for key in KEYS[:200]:
        first, second = ranked(key, NODES, 2)
        assert owner_of(key, [node for node in NODES if node != first]) == second
        assert owner_of(key, [node for node in NODES if node != second]) == first


def test_keys_are_spread_evenly() -> None:
    """200 keys each; six standard deviations are 83."""
    counts = Counter(owner_of(key, NODES) for key in KEYS)
    assert len(counts) == 20
    assert all(abs(count - 200) < 83 for count in counts.values()), counts


def test_the_keys_of_a_dead_member_are_spread_over_all_others() -> None:
    heirs = Counter(ranked(key, NODES, 2)[1] for key in KEYS if owner_of(key, NODES) == NODES[0])
    assert len(heirs) > 15, heirs


def test_nobody_owns_a_key_where_nobody_is() -> None:
    with pytest.raises(UsageError, match="nobody can own 'a'"):
        owner_of("a", [])
    assert ranked("a", [], 3) == []

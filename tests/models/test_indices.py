"""Finding all places of an element."""

from meshflow.models.indices import find_indices


def test_all_positions_are_found_in_order() -> None:
    assert find_indices(["a", "b", "a", "c", "a"], "a") == [0, 2, 4]
    assert find_indices(["a"], "x") == []
    assert find_indices([], "x") == []

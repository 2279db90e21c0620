"""What is remembered of late."""

from meshflow.core.recent import Recent


def test_what_was_noted_longest_ago_is_forgotten_first() -> None:
    recent: Recent[str, int] = Recent(2)
    for key, value in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
        recent.note(key, value)
    assert len(recent) == 2
    assert (recent.get("a", 0), recent.get("b", 0), recent.get("c", 0)) == (3, 0, 4)
    assert ("a" in recent, "b" in recent) == (True, False)

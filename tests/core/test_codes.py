"""Which code is at hand."""

from meshflow.core.codes import Codes


def test_code_is_found_if_all_of_it_is_at_hand() -> None:
    codes = Codes(100)
    codes.keep({"a": b"1", "b": b"2"})
    assert codes.find(["a", "b"]) == {"a": b"1", "b": b"2"}
    assert codes.find(["a", "c"]) is None


def test_what_was_used_longest_ago_goes_first() -> None:
    codes = Codes(10)
    for digest in "abc":
        codes.keep({digest: bytes(3)})
    codes.find(["a"])
    codes.keep({"d": bytes(3)})
    assert [codes.find([digest]) is not None for digest in "abcd"] == [True, False, True, True]


def test_what_came_last_is_kept_even_if_it_is_more_than_there_is_room_for() -> None:
    codes = Codes(10)
    codes.keep({"a": bytes(3)})
    codes.keep({"b": bytes(30), "c": bytes(30)})
    assert codes.find(["b", "c"]) is not None
    assert codes.find(["a"]) is None


def test_code_that_comes_again_is_counted_once_and_is_the_latest() -> None:
    codes = Codes(10)
    for _ in range(10):
        codes.keep({"a": bytes(4)})
    codes.keep({"b": bytes(4)})
    codes.keep({"a": bytes(4)})
    codes.keep({"c": bytes(4)})
    assert [codes.find([digest]) is not None for digest in "abc"] == [True, False, True]

"""The functions that a task process keeps."""

from collections.abc import Callable

from meshflow.models.calls import dump_arguments, dump_function, load_results
from meshflow.runtime.callees import Callees

Code = tuple[str, bytes]


def counter(padding: bytes = b"") -> Code:
    """A function that counts its calls in its own globals."""
    space: dict[str, object] = {"count": 0}
    exec("def count():\n global count_\n count_ = globals().get('count_', 0) + 1\n return count_", space)
    function = space["count"]
    assert callable(function)
    return dump_function(lambda: (function(), padding)[0])


def called(callees: Callees, way: Callable[[str, bytes | None], object], digest: str, code: bytes | None) -> object:
    """What a call of the function returns."""
    callee = way(digest, code)
    assert callee is not None
    ((is_ok, value),) = load_results(callees.of_client(digest, None).run([dump_arguments(())]))
    assert is_ok, value
    return value


def test_a_function_keeps_its_globals_whichever_way_its_calls_come() -> None:
    callees, (digest, code) = Callees(), counter()
    assert called(callees, callees.of_client, digest, code) == 1
    callees.begin_lease()
    assert called(callees, callees.of_client, digest, code) == 2
    assert called(callees, callees.of_node, digest, code) == 3
    assert called(callees, callees.of_node, digest, None) == 4
    callees.begin_lease()
    assert called(callees, callees.of_client, digest, code) == 5


def test_what_was_leased_first_goes_first_but_not_what_the_node_has_sent_too() -> None:
    codes = [counter(bytes([number]) * 1000) for number in range(4)]
    callees = Callees(max_leased_bytes=sum(len(code) for _, code in codes[2:]))
    for digest, code in codes:
        called(callees, callees.of_client, digest, code)
    called(callees, callees.of_node, codes[0][0], codes[0][1])
    assert called(callees, callees.of_client, codes[1][0], None) == 2  # Until the lease ends.

    callees.begin_lease()

    counts = [called(callees, callees.of_client, digest, code) for digest, code in codes]
    assert counts == [3, 1, 2, 2]


def test_what_is_cleared_is_made_anew() -> None:
    callees, (digest, code) = Callees(), counter()
    assert called(callees, callees.of_node, digest, code) == 1
    callees.clear()
    assert called(callees, callees.of_node, digest, code) == 1

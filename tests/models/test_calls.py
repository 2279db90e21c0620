"""Functions, arguments, results and errors between a client and the process that makes the calls."""

import operator
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshflow.errors import PickleFailed
from meshflow.models.calls import (
    MAX_RESULT_BYTES,
    MAX_S,
    Callee,
    RemoteError,
    RemoteTraceback,
    Terminated,
    dump_arguments,
    dump_function,
    load_results,
    pack_flat,
    unpack_flat,
)
from meshflow.models.progress import BEGUN, BITS, HALT


def made(function: Callable[..., object], *rows: tuple[object, ...], **keywords: object) -> list[tuple[bool, Any]]:
    """What comes of calling the function with each row of arguments, as a client hears of it."""
    _, code = dump_function(function)
    results = Callee(code).run([dump_arguments(row, keywords) for row in rows])
    return list(load_results(unpack_flat(pack_flat(results))))


def error_of(function: Callable[..., object], *arguments: object) -> BaseException:
    ((is_result, error),) = made(function, arguments)
    assert not is_result
    assert isinstance(error, BaseException)
    return error


# --- results ---


class Point:
    def __init__(self, x: int) -> None:
        self.x = x


@pytest.mark.parametrize(
    "value",
    [None, True, 7, -1.5, 2j, "text", b"bytes", [1, [2]], {"a": (1, 2)}, {1, 2}, range(3), bytes(10_000), float, len],
    ids=repr,
)
def test_what_is_returned_arrives(value: object) -> None:
    assert made(lambda each: each, (value,)) == [(True, value)]


def test_arguments_may_be_given_by_name_and_be_of_any_kind() -> None:
    def total(first: Point, *, second: Point) -> int:
        return first.x + second.x

    assert made(total, (Point(1),), second=Point(2)) == [(True, 3)]


def test_each_call_of_a_batch_has_its_own_outcome() -> None:
    results = made(operator.truediv, (1, 2), (1, 0), (3, 4))
    assert [is_result for is_result, _ in results] == [True, False, True]
    assert (results[0][1], results[2][1]) == (0.5, 0.75)
    assert isinstance(results[1][1], ZeroDivisionError)


def test_functions_and_classes_of_a_script_travel_with_it(tmp_path: Any) -> None:
    """As `__main__` they cannot be imported by the process that makes the calls."""
    script = tmp_path / "script.py"
    script.write_text(
        """
import sys
from meshflow.models.calls import dump_arguments, dump_function
class Shape:
    def __init__(self, size): self.size = size
class TooSmall(Exception):
    def __init__(self, size, least):
        super().__init__(f"{size} is less than {least}")
        self.size, self.least = size, least
def area(shape):
    if shape.size < 2: raise TooSmall(shape.size, 2)
    return shape.size ** 2
sys.stdout.buffer.write(b"--".join([dump_function(area)[1], *(dump_arguments((Shape(n),)) for n in (3, 1))]))
"""
    )
    printed = subprocess.run([sys.executable, script], capture_output=True, check=True, env={"PYTHONPATH": "."}).stdout
    code, three, one = printed.split(b"--")
    (_, result), (_, error) = load_results(Callee(code).run([three, one]))
    assert result == 9
    assert isinstance(error, RemoteError)
    assert "TooSmall: 1 is less than 2" in str(error)


@pytest.mark.parametrize(
    "value", [threading.Lock(), (each for each in "abc"), sys._getframe()], ids=["lock", "gen", "frame"]
)
def test_a_result_that_cannot_be_pickled_is_an_error_that_says_so(value: object) -> None:
    holder = [value]
    callee = Callee(dump_function(len)[1])
    callee._function = lambda: holder[0]
    ((is_result, error),) = load_results(callee.run([dump_arguments(())]))
    assert not is_result
    assert isinstance(error, PickleFailed)
    assert type(value).__name__ in str(error)


def test_a_generator_function_gives_an_error_and_no_empty_result() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    assert isinstance(error_of(numbers), PickleFailed)


class Unwanted:
    """Can be pickled, and not be made again."""

    def __reduce__(self) -> Any:
        return (operator.truediv, (1, 0))


class Exiting:
    def __reduce__(self) -> Any:
        return (sys.exit, ("while unpickling",))


@pytest.mark.parametrize(("made_of", "kind"), [(Unwanted, ZeroDivisionError), (Exiting, SystemExit)])
def test_a_result_or_an_argument_that_cannot_be_made_again_is_the_error_of_its_call(
    made_of: Callable[[], object], kind: type[BaseException]
) -> None:
    callee = Callee(dump_function(lambda: None)[1])
    callee._function = lambda *_: made_of()
    assert [type(error) for _, error in load_results(callee.run([dump_arguments(())]))] == [kind]
    data = pickle.dumps(((made_of(),), None))
    assert [type(error) for _, error in load_results(callee.run([data]))] == [kind]


@pytest.mark.parametrize("made_of", [Unwanted, Exiting])
def test_a_function_that_cannot_be_made_again_fails_each_call(made_of: Callable[[], object]) -> None:
    callee = Callee(pickle.dumps(made_of()))
    results = list(load_results(callee.run([b"", b""])))
    assert [is_result for is_result, _ in results] == [False, False]


def test_an_argument_that_cannot_be_pickled_is_refused_where_it_is_given() -> None:
    with pytest.raises(PickleFailed, match="lock"):
        dump_arguments((threading.Lock(),))
    with pytest.raises(PickleFailed):
        dump_arguments((), {"key": threading.Lock()})


def test_a_function_that_cannot_be_pickled_is_refused() -> None:
    lock = threading.Lock()
    with pytest.raises(PickleFailed):
        dump_function(lambda: lock.locked())


def test_the_same_function_has_the_same_name_and_others_have_others() -> None:
    def adds(number: int) -> Callable[[int], int]:
        return lambda each: each + number

    assert dump_function(adds(1)) == dump_function(adds(1))
    assert dump_function(adds(1))[0] != dump_function(adds(2))[0]


# --- errors ---


class Detailed(Exception):
    """Keeps what it was made of."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text, code)
        self.code = code


class Forgetful(Exception):
    """Wants more than it keeps, so that `pickle` cannot make it again."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


class Holding(Exception):
    """Holds what cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("holds a lock")
        self.lock = threading.Lock()


class Speechless(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


class Quitter(Exception):
    def __str__(self) -> str:
        sys.exit("no more")


class Unnoted(Exception):
    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise RuntimeError("no notes")


class Base(BaseException):
    pass


class Frozen(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"cannot assign to {name}")


def raises(error: BaseException) -> Callable[[], Any]:
    def work() -> object:
        raise error

    callee = Callee(dump_function(len)[1])
    callee._function = work
    return lambda: next(load_results(callee.run([dump_arguments(())])))[1]


def test_an_error_arrives_with_its_type_its_attributes_and_the_traceback_there() -> None:
    error = raises(Detailed("too bad", 7))()
    assert isinstance(error, Detailed)
    assert (error.args, error.code) == (("too bad", 7), 7)
    assert isinstance(error.__cause__, RemoteTraceback)
    text = str(error.__cause__)
    assert "in work" in text
    assert "Detailed: ('too bad', 7)" in text
    assert "models/calls.py" not in text.partition("in work")[0]


def test_the_causes_of_an_error_are_in_the_traceback() -> None:
    def work() -> None:
        try:
            int("x")
        except ValueError as problem:
            raise KeyError("outer") from problem

    error = error_of(work)
    assert isinstance(error, KeyError)
    assert "invalid literal for int()" in str(error.__cause__)


@pytest.mark.parametrize(
    ("error", "text"),
    [(Forgetful("this", "that"), "Forgetful: this and that"), (Holding(), "Holding: holds a lock")],
)
def test_an_error_that_cannot_be_brought_here_says_what_it_was(error: Exception, text: str) -> None:
    arrived = raises(error)()
    assert isinstance(arrived, RemoteError)
    assert str(arrived) == text
    assert text in str(arrived.__cause__)


@pytest.mark.parametrize("error", [Speechless(), Quitter(), Unnoted()], ids=lambda error: type(error).__name__)
def test_an_error_that_cannot_say_what_it_is_arrives_all_the_same(error: Exception) -> None:
    arrived = raises(error)()
    assert type(arrived) is type(error)
    assert type(error).__name__ in str(arrived.__cause__)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), Base("mine")], ids=repr)
def test_what_ends_programs_ends_no_process_and_is_the_error_of_its_call(error: BaseException) -> None:
    arrived = raises(error)()
    assert (type(arrived), arrived.args) == (type(error), error.args)


def test_a_signal_to_end_the_process_is_no_error_of_a_call() -> None:
    with pytest.raises(Terminated):
        raises(Terminated())()
    with pytest.raises(Terminated):
        Callee(pickle.dumps(Terminating()))


class Terminating:
    def __reduce__(self) -> Any:
        return (_terminate, ())


def _terminate() -> None:
    raise Terminated


def test_an_error_that_lets_nothing_be_set_arrives() -> None:
    arrived = raises(Frozen(7))()
    assert isinstance(arrived, Frozen)
    assert isinstance(arrived.__cause__, RemoteTraceback)


def test_text_that_is_no_unicode_can_be_told() -> None:
    """As the name of a file that is not in UTF-8."""
    arrived = raises(Forgetful(os.fsdecode(b"caf\xe9"), "more"))()
    assert str(arrived) == "Forgetful: caf\\udce9 and more"


@pytest.mark.parametrize(
    "data", [b"", b"no pickle", pickle.dumps("no error"), pickle.dumps(Unwanted()), pickle.dumps(Exiting())]
)
def test_an_error_that_cannot_be_made_again_here_is_told_in_words(data: bytes) -> None:
    ((is_result, error),) = load_results([[data, "Odd: thing", "trace"]])
    assert not is_result
    assert isinstance(error, RemoteError)
    assert str(error) == "Odd: thing"


# --- sizes ---


def test_a_large_result_arrives() -> None:
    ((_, value),) = made(bytes, (20 * MAX_RESULT_BYTES,))
    assert len(value) == 20 * MAX_RESULT_BYTES


def test_a_batch_whose_results_grow_large_leaves_the_rest_to_another() -> None:
    each = MAX_RESULT_BYTES // 4 + 1
    assert [len(value) for _, value in made(bytes, *[(each,)] * 9)] == [each] * 4
    assert len(made(bytes, *[(2 * MAX_RESULT_BYTES,)] * 9)) == 1


def test_a_batch_whose_errors_grow_large_does_so_too() -> None:
    def fail(size: int) -> None:
        raise ValueError("x" * size)

    assert len(made(fail, *[(MAX_RESULT_BYTES,)] * 9)) == 1


def test_a_process_that_a_call_forked_makes_no_further_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.getpid()
    callee = Callee(dump_function(len)[1])

    def fork() -> int:
        monkeypatch.setattr("meshflow.models.calls.os.getpid", lambda: here + 1)
        return 1

    callee._function = fork
    assert len(list(load_results(callee.run([dump_arguments(())] * 3)))) == 1


@pytest.mark.parametrize("damaged", [5, None, "text", {}, [b""], [b"", "text"]])
def test_what_is_no_result_is_not_taken_for_one(damaged: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        list(load_results([damaged]))


def test_a_batch_of_calls_that_turn_out_long_ends_before_its_time() -> None:
    callee = Callee(dump_function(lambda seconds: time.sleep(seconds))[1])
    assert len(callee.run([dump_arguments((MAX_S,))] * 5)) == 1
    assert len(callee.run([dump_arguments((MAX_S * 0.6,))] * 5)) == 2
    assert len(callee.run([dump_arguments((0.0,))] * 5)) == 5


def test_it_is_shown_which_call_of_which_packet_has_begun() -> None:
    cells = [0, 0]
    shown = []
    callee = Callee(dump_function(abs)[1])
    callee._function = lambda: shown.append(divmod(cells[BEGUN], 1 << BITS))
    callee.run([dump_arguments(())] * 2, 7, cells)
    assert shown == [(7, 1), (7, 2)]


def test_of_a_packet_that_is_halted_only_what_has_begun_is_made() -> None:
    cells = [0, 7]
    callee = Callee(dump_function(abs)[1])
    assert len(callee.run([dump_arguments((1,))] * 3, 7, cells)) == 1, "the first, so that it makes headway"
    assert len(callee.run([dump_arguments((1,))] * 3, 8, cells)) == 3
    callee._function = lambda: cells.__setitem__(HALT, 9)
    assert len(callee.run([dump_arguments(())] * 3, 9, cells)) == 1

"""How a failure is told. What else a task process does is tested from outside (`test_executor.py` and its siblings)."""

import pytest

from meshflow.errors import WorkflowError
from meshflow.runtime.child import describe
from tests.source_tree import ROOT


def raised(error: BaseException, module: str = "user") -> BaseException:
    """The error as raised by a function of a module."""
    scope: dict[str, object] = {"__name__": module, "error": error}
    exec(compile("def fail():\n    raise error\n", f"{module}.py", "exec"), scope)
    with pytest.raises(type(error)) as caught:
        scope["fail"]()  # type: ignore[operator]
    return caught.value.with_traceback(caught.tb.tb_next)  # without the frame of this function


def test_the_first_line_is_type_and_message() -> None:
    assert describe(raised(ValueError("no sample"))).splitlines()[0] == "ValueError: no sample"


def test_a_message_of_several_lines_becomes_one() -> None:
    assert describe(raised(ValueError("a\n\tb\nc"))).splitlines()[0] == "ValueError: a b c"


def test_an_error_without_message_is_its_type() -> None:
    assert describe(raised(ValueError())).splitlines()[0] == "ValueError"


def test_the_traceback_follows() -> None:
    first, *rest = describe(raised(ValueError("no"))).splitlines()

    assert rest[0] == "Traceback (most recent call last):"
    assert rest[1] == '  File "user.py", line 2, in fail'
    assert rest[-1] == first


@pytest.mark.parametrize("module", ["meshflow.runtime.child", "meshflow.models.task", "meshflow.tasks.bash_task"])
def test_an_error_of_ours_has_no_traceback(module: str) -> None:
    assert describe(raised(WorkflowError("bad option"), module)) == "WorkflowError: bad option"


def test_the_cause_is_told_too() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise ValueError("outer") from inner
    except ValueError as error:
        reason = describe(error)

    assert "KeyError: 'inner'" in reason
    assert "direct cause" in reason
    assert str(ROOT / "tests") in reason


def test_an_error_that_cannot_be_shown_is_told_all_the_same() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("broken too")

    assert describe(Broken()) == "Broken: (its text cannot be shown: RuntimeError)"
    assert describe(raised(Broken())).startswith("Broken: (its text cannot be shown: RuntimeError)\nTraceback")


def test_a_long_reason_keeps_its_beginning_and_its_end() -> None:
    reason = describe(raised(ValueError("a" + "b" * 100_000 + "c")))

    assert len(reason) <= 16 * 1024
    assert reason.startswith("ValueError: abbb")
    assert reason.rstrip().endswith("bbbc")

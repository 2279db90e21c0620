"""`@workflow`: parameters from a signature, and a dag for each set of arguments."""

import inspect
from typing import Any

import pytest

from meshflow import task, workflow
from meshflow.errors import UsageError, WorkflowArgumentError, WorkflowError, WorkflowImportError
from meshflow.models.dag import Dag
from meshflow.models.parameters import Option
from meshflow.models.submission import pack
from meshflow.models.workflow import Workflow
from tests.models.conftest import WriteScript

SCRIPT = '''"""A script."""
from __future__ import annotations
from meshflow import task, workflow
from meshflow.models import Dag, Option, Parameters
from meshflow.tasks import PythonTask

parameters = Parameters([Option("more", default="m")])
by_hand = Dag("by_hand", schema={PythonTask("t"): None})

@task
def double(number):
    return 2 * number

@workflow(queue="graphs")
def doubling(count: int, name: str = "x"):
    """Doubles."""
    for number in range(count):
        double(number)
'''


@task
def double(number: int) -> int:
    return 2 * number


@workflow
def doubling(count: int, start: float = 0.5, deep: bool = False, label: str = "", *, untyped="u") -> None:  # type: ignore[no-untyped-def]
    """Doubles numbers.

    Args:
        count: how many
        start:  where to begin
    """
    for _ in range(count):
        double(start)


def shown(option: Option) -> tuple[Any, ...]:
    return option.name, option.default, option.help, option.type


def names(dag: Dag) -> list[str]:
    return [each.name for each in dag.tasks]


# --- parameters ---


def test_parameters_come_from_the_signature_and_their_help_from_the_docstring() -> None:
    assert [shown(option) for option in doubling.parameters] == [
        ("count", None, "how many", int),
        ("start", 0.5, "where to begin", float),
        ("deep", False, None, bool),
        ("label", "", None, str),
        ("untyped", "u", None, Any),
    ]


def starred(*names: str) -> None: ...
def double_starred(**names: str) -> None: ...
def positional(name: str, /) -> None: ...


@pytest.mark.parametrize("function", [starred, double_starred, positional])
def test_a_parameter_that_has_no_name_for_users_is_refused(function: Any) -> None:
    with pytest.raises(UsageError, match=r"parameter 'names?' of workflow '.*' cannot be given by its name; use plain"):
        workflow(function)


def test_a_default_of_none_is_refused_since_it_would_mean_that_there_is_none() -> None:
    def maybe(label: str | None = None) -> None: ...

    with pytest.raises(UsageError, match=r"'label' of workflow 'maybe' has the default None, .*; give it no default"):
        workflow(maybe)


async def later() -> None: ...


@pytest.mark.parametrize("function", [later, len, 5])
def test_only_plain_functions_are_workflows(function: Any) -> None:
    with pytest.raises(UsageError, match="@workflow is for functions made by `def`, without `async`, not for "):
        workflow(function)


def test_options_are_checked_where_the_function_is_decorated() -> None:
    with pytest.raises(UsageError, match="queue is ''"):
        workflow(queue="")(starred_free)


def starred_free() -> None: ...


# --- dags ---


def test_each_call_makes_a_dag_for_its_arguments() -> None:
    two, three = doubling(2), doubling(count=3)
    assert (type(two), two.name, two.queue, two.autostart) == (Dag, "doubling", "dag", True)
    assert names(two) == ["double", "double_2"]
    assert names(three) == ["double", "double_2", "double_3"]


def test_name_and_queue_can_be_chosen() -> None:
    dag = workflow(name="survey", queue="graphs")(starred_free)()
    assert (dag.name, dag.queue) == ("survey", "graphs")


def test_arguments_that_do_not_fit_are_refused() -> None:
    wrong: Any = doubling
    with pytest.raises(UsageError, match=r"workflow 'doubling' cannot be called like this: missing .* 'count'"):
        wrong()


def test_a_decorated_workflow_looks_like_its_function() -> None:
    assert inspect.signature(doubling) == inspect.signature(doubling.function)
    assert (doubling.docstring, repr(doubling)) == (
        "Doubles numbers.\n\nArgs:\n    count: how many\n    start:  where to begin",
        "WorkflowFunction('doubling')",
    )


# --- submissions ---


def test_a_function_alone_is_a_workflow() -> None:
    loaded = Workflow.from_function(doubling, queue="q", clear_data_store=False)
    assert (loaded.name, loaded.queue, loaded.clear_data_store, loaded.dags) == ("doubling", "q", False, {})
    assert (loaded.docstring or "").startswith("Doubles")
    submission = pack(loaded, {"count": "2", "other": 1})
    assert [each.name for each in submission.dags["doubling"].spec.tasks] == ["double", "double_2"]
    assert submission.arguments == {
        "count": 2,
        "start": 0.5,
        "deep": False,
        "label": "",
        "untyped": "u",
        "other": 1,
    }


def test_a_missing_argument_is_found_when_the_workflow_is_submitted() -> None:
    with pytest.raises(WorkflowArgumentError, match="workflow 'doubling' needs the arguments 'count'"):
        pack(Workflow.from_function(doubling))


def test_an_argument_of_the_wrong_type_is_found_when_the_workflow_is_submitted() -> None:
    with pytest.raises(WorkflowArgumentError, match="argument 'count' is 'many'"):
        pack(Workflow.from_function(doubling), {"count": "many"})


def test_what_the_function_raises_is_told_with_file_and_line() -> None:
    @workflow
    def broken() -> None:
        raise LookupError("no scans")

    line = broken.function.__code__.co_firstlineno + 2
    with pytest.raises(
        WorkflowError, match=rf"'broken' cannot be built: .*{__name__.rpartition('.')[2]}\.py, line {line}: Look"
    ):
        pack(Workflow.from_function(broken))


def test_the_errors_of_meshflow_come_as_they_are() -> None:
    @workflow
    def wrong() -> None:
        double()

    with pytest.raises(UsageError, match=r"^task 'double' cannot be called like this"):
        pack(Workflow.from_function(wrong))


# --- files ---


def test_a_file_may_have_decorated_workflows_beside_dags(write_script: WriteScript) -> None:
    loaded = Workflow.from_name(str(write_script("flow.py", SCRIPT)), arguments={"count": "1"})
    assert (loaded.name, loaded.docstring, loaded.dag_names) == ("flow", "A script.", ("by_hand", "doubling"))
    assert [(option.name, option.type) for option in loaded.parameters] == [
        ("more", str),
        ("count", int),
        ("name", str),
    ]
    assert list(loaded.dags) == ["by_hand"]
    made = loaded.make_dags({"count": "2"})
    assert {name: names(dag) for name, dag in made.items()} == {"by_hand": ["t"], "doubling": ["double", "double_2"]}
    assert {dag.workflow_name for dag in made.values()} == {"flow"}
    assert pack(loaded).spec.dag_queues == ("dag", "graphs")


def test_a_file_with_a_decorated_workflow_alone_has_a_dag(write_script: WriteScript) -> None:
    text = "from meshflow import workflow\n@workflow\ndef nothing(): pass\n"
    Workflow().load(str(write_script("flow.py", text)), strict_dag=True)


def test_an_error_of_decorating_is_one_of_importing(write_script: WriteScript) -> None:
    text = "from meshflow import workflow\n@workflow\ndef nothing(x=None): pass\n"
    with pytest.raises(WorkflowImportError, match=r"flow\.py, line 2: UsageError: parameter 'x'"):
        Workflow().load(str(write_script("flow.py", text)))

"""Loading workflows. The first part is what Lightflow's own tests ask for."""

import pickle
from pathlib import Path

import pytest

from meshflow.errors import (
    InvalidGraph,
    WorkflowArgumentError,
    WorkflowDefinitionError,
    WorkflowImportError,
    WorkflowNotFound,
)
from meshflow.models.workflow import Workflow
from tests.models.conftest import WriteScript

HEAD = '''"""The docstring

    of a flow.
"""
from meshflow.models import BaseTask, Dag, Option, Parameters
'''
DAG = HEAD + "dag = Dag('main')\ndag.define({BaseTask('t'): None})\n"
PARAMETERS = DAG + "parameters = Parameters([Option('needed'), Option('number', default=3, type=int)])\n"


@pytest.fixture(autouse=True)
def _on_sys_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))


# --- as in Lightflow ---


def test_a_missing_script_is_an_import_error() -> None:
    with pytest.raises(WorkflowImportError):
        Workflow().load("no_such_workflow_anywhere")


def test_a_script_without_dag_is_refused_only_if_asked_for(write_script: WriteScript) -> None:
    write_script("no_dag_flow.py", "")
    Workflow().load("no_dag_flow", strict_dag=False)
    with pytest.raises(WorkflowImportError, match="workflow 'no_dag_flow' defines no Dag: "):
        Workflow().load("no_dag_flow", strict_dag=True)


def test_a_loaded_workflow_has_name_docstring_and_parameters(write_script: WriteScript) -> None:
    write_script("dag_flow.py", DAG)
    workflow = Workflow()
    workflow.load("dag_flow", strict_dag=True)
    assert (workflow.name, workflow.docstring) == ("dag_flow", "The docstring\n\nof a flow.")
    assert len(workflow.parameters) == 0
    assert workflow.provided_arguments == {}
    assert list(workflow.dags) == ["main"]


@pytest.mark.parametrize("arguments", [None, {}, {"number": 5}])
def test_missing_arguments_are_named(arguments: dict[str, object] | None, write_script: WriteScript) -> None:
    write_script("flow_with_parameters.py", PARAMETERS)
    with pytest.raises(
        WorkflowArgumentError, match="'flow_with_parameters' needs the arguments 'needed'; give each as"
    ):
        Workflow().load("flow_with_parameters", arguments=arguments)


def test_given_arguments_are_kept_unconverted(write_script: WriteScript) -> None:
    write_script("flow_with_parameters.py", PARAMETERS)
    workflow = Workflow()
    workflow.load("flow_with_parameters", arguments={"needed": "ok", "number": "7", "more": 1})
    assert workflow.parameters[0].name == "needed"
    assert workflow.provided_arguments == {"needed": "ok", "number": "7", "more": 1}


def test_missing_arguments_are_taken_if_not_validated(write_script: WriteScript) -> None:
    write_script("flow_with_parameters.py", PARAMETERS)
    Workflow().load("flow_with_parameters", validate_arguments=False)


def test_from_name_loads(write_script: WriteScript) -> None:
    write_script("flow_with_parameters.py", PARAMETERS)
    workflow = Workflow.from_name("flow_with_parameters", queue="q", clear_data_store=False, arguments={"needed": "ok"})
    assert workflow.parameters[0].name == "needed"
    assert (workflow.queue, workflow.clear_data_store) == ("q", False)


# --- what Lightflow did not test ---


def test_an_empty_workflow_has_lightflows_defaults() -> None:
    workflow = Workflow()
    assert (workflow.queue, workflow.clear_data_store, workflow.docstring) == ("workflow", True, None)
    assert (workflow.name, workflow.dags, workflow.parameters, workflow.provided_arguments) == ("", {}, [], {})


def test_folders_may_be_given_instead_of_sys_path(write_script: WriteScript, tmp_path: Path) -> None:
    write_script("sub/flow.py", DAG)
    assert Workflow.from_name("flow", directories=[tmp_path / "sub"]).name == "flow"
    assert Workflow.from_name(str(tmp_path / "sub" / "flow.py")).name == "flow"
    with pytest.raises(WorkflowNotFound):
        Workflow.from_name("flow", directories=[tmp_path])


def test_every_dag_and_all_parameters_at_module_level_count(write_script: WriteScript) -> None:
    write_script("beside.py", "from meshflow.models import Dag\nimported = Dag('imported', schema={})\n")
    text = HEAD + "from beside import imported\nfirst = Dag('first')\nsecond = Dag('second', autostart=False)\n"
    text += "p1 = Parameters([Option('a')])\np2 = Parameters([Option('b'), Option('c')])\nnot_counted = [Dag('x')]\n"
    write_script("flow.py", text)
    workflow = Workflow()
    workflow.load("flow", validate_arguments=False)
    assert list(workflow.dags) == ["imported", "first", "second"]
    assert [option.name for option in workflow.parameters] == ["a", "b", "c"]
    assert all(dag.workflow_name == "flow" for dag in workflow.dags.values())


def test_of_two_dags_of_one_name_the_last_is_taken(write_script: WriteScript) -> None:
    write_script("flow.py", HEAD + "one = Dag('d', queue='one')\ntwo = Dag('d', queue='two')\n")
    assert [dag.queue for dag in Workflow.from_name("flow").dags.values()] == ["two"]


def test_a_cyclic_dag_names_dag_and_workflow(write_script: WriteScript) -> None:
    write_script("flow.py", HEAD + "a, b = BaseTask('a'), BaseTask('b')\nDag('d').define({a: b, b: a})\n")
    with pytest.raises(WorkflowDefinitionError, match="dag 'd' of workflow 'flow' cannot be run: its tasks") as raised:
        Workflow().load("flow")
    assert (raised.value.workflow_name, raised.value.graph_name) == ("flow", "d")
    assert isinstance(raised.value, InvalidGraph)


def test_a_failed_load_leaves_the_workflow_as_it_was(write_script: WriteScript) -> None:
    write_script("good.py", DAG)
    write_script("bad.py", PARAMETERS)
    workflow = Workflow.from_name("good")
    with pytest.raises(WorkflowArgumentError):
        workflow.load("bad")
    assert (workflow.name, len(workflow.parameters)) == ("good", 0)


def test_loading_again_replaces_what_was_loaded(write_script: WriteScript) -> None:
    write_script("one.py", PARAMETERS)
    write_script("two.py", DAG.replace("'main'", "'other'"))
    workflow = Workflow.from_name("one", arguments={"needed": 1})
    workflow.load("two")
    assert (workflow.name, list(workflow.dags), workflow.provided_arguments) == ("two", ["other"], {})
    assert len(workflow.parameters) == 0


def test_a_workflow_survives_a_pickle(write_script: WriteScript) -> None:
    write_script("flow.py", DAG)
    copy = pickle.loads(pickle.dumps(Workflow.from_name("flow", queue="q")))
    assert (copy.name, copy.queue, list(copy.dags)) == ("flow", "q", ["main"])
    assert [task.name for task in copy.dags["main"].tasks] == ["t"]

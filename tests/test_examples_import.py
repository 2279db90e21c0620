"""The examples that ship with the package: each can be loaded, and is what its story says."""

import sys
from pathlib import Path

import pytest

from meshflow.core.graph import check
from meshflow.errors import WorkflowImportError
from meshflow.models.workflow import Workflow

REPOSITORY = Path(__file__).parent.parent
EXAMPLES = REPOSITORY / "examples"

DAGS = {
    "abort": {"main_dag": ["collect_task", "check_task"]},
    "bash": {"main_dag": ["proc_task"]},
    "branching": {
        "main_dag": [
            "put_task",
            "branch_task",
            "lane1_print_task",
            "lane2_print_task",
            "lane3_print_task",
            "t_join_me",
        ]
    },
    "cached": {"survey": ["stars", "total", "report"]},
    "chunking_dag": {"chunk_dag": ["make_list_task", "chunk_task"], "print_dag": ["print_list_task"]},
    "data_store": {"main_dag": ["first_task", "second_task", "third_task_a", "third_task_b"]},
    "decision": {"main_dag": ["decision_task", "small_number_task", "large_number_task"]},
    "decorated": {"survey": ["read", "mean", "read_2", "read_3", "judge", "alarm", "archive", "report"]},
    "mapped": {"chapters": ["find", "count", "longest"]},
    "multi_data": {
        "main_dag": [
            "put_task",
            "print_task_1",
            "square_task",
            "multiply_task",
            "subtract_task",
            "print_task_2",
            "print_task_3",
            "print_task_4",
        ]
    },
    "nested_joins": {
        "survey_dag": ["survey_task", "sum_task"],
        "plate_dag": ["plate_task"],
        "field_dag": ["field_task"],
    },
    "parallel": {"main_dag": ["branch_task", "lane1_print_task", "lane2_print_task", "lane3_print_task", "t_join_me"]},
    "parameters": {"main_dag": ["print_filepath_task", "print_iterations_task"]},
    "queues": {"main_dag": ["print_task", "print_memory_task"]},
    "retries": {"main_dag": ["read_task", "archive_task", "alarm_task"]},
    "sequence": {"main_dag": ["task_1", "task_2", "task_3"]},
    "simple": {"main_dag": ["put_task", "print_task"]},
    "stop": {
        "main_dag": [
            "start_task",
            "bash_task",
            "stop_noskip_task",
            "stop_task",
            "print_task_1",
            "print_task_2",
            "print_task_3",
        ]
    },
    "sub_dag": {"main_dag": ["init_task", "call_dag_task"], "sub_dag": ["print_task"]},
    "timing": {"main_dag": ["sleep_task_1", "sleep_task_2", "sleep_task_3", "print_task"]},
}

STARTED_BY_A_TASK = {"print_dag", "plate_dag", "field_dag", "sub_dag"}

NEEDS_NUMPY = ["data_store", "sub_dag"]


def loaded(name: str) -> Workflow:
    if name in NEEDS_NUMPY:
        pytest.importorskip("numpy")
    workflow = Workflow()
    workflow.load(name, validate_arguments=False, strict_dag=True, directories=[EXAMPLES])
    return workflow


def test_no_example_is_left_out() -> None:
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == sorted(DAGS)


def test_the_examples_are_part_of_the_package() -> None:
    assert EXAMPLES.resolve() == REPOSITORY / "meshflow" / "examples"


@pytest.mark.parametrize("name", DAGS)
def test_an_example_defines_the_dags_that_it_tells_of(name: str) -> None:
    workflow = loaded(name)
    dags = workflow.make_dags({})
    assert {dag.name: [task.name for task in dag.tasks] for dag in dags.values()} == DAGS[name]
    for dag in dags.values():
        check(dag.spec(["digest"] * len(dag.tasks)))
        assert dag.autostart == (dag.name not in STARTED_BY_A_TASK)


@pytest.mark.parametrize("name", DAGS)
def test_an_example_opens_with_a_title_and_a_story_that_names_its_tasks(name: str) -> None:
    title, blank, *story = (loaded(name).docstring or "").splitlines()
    assert title
    assert blank == ""
    text = "\n".join(story)
    assert [task for tasks in DAGS[name].values() for task in tasks if task not in text] == []


def test_only_the_example_of_queues_uses_queues_of_its_own() -> None:
    used = {name: {dag.queue for dag in loaded(name).make_dags({}).values()} for name in DAGS}
    assert used.pop("queues") == {"graph"}
    assert all(queues == {"dag"} for queues in used.values())
    [dag] = loaded("queues").dags.values()
    assert [task.queue for task in dag.tasks] == ["task", "high_memory"]


def test_the_example_of_retries_shows_each_option() -> None:
    [dag] = loaded("retries").dags.values()
    read, archive, alarm = dag.tasks
    assert (read.retries, read.retry_delay, read.backoff, read.timeout) == (3, 0.1, 2.0, 10.0)
    assert alarm.priority > archive.priority


def test_the_example_of_parameters_asks_for_a_filepath_only() -> None:
    parameters = loaded("parameters").parameters
    assert parameters.check_missing({}) == ["filepath"]
    assert parameters.consolidate({"filepath": "/data"})["iterations"] == 1


@pytest.mark.parametrize("name", NEEDS_NUMPY)
def test_an_example_that_misses_numpy_says_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(WorkflowImportError, match=f"the example {name} needs numpy"):
        Workflow().load(name, directories=[EXAMPLES])

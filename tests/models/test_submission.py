"""Packing a workflow: what is in a submission, and that everything wrong is found here."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshflow.core.graph import Edge, WorkflowSpec
from meshflow.core.requests import Pickled
from meshflow.errors import (
    DataStoreValueError,
    DirectedAcyclicGraphUndefined,
    PickleFailed,
    WorkflowArgumentError,
    WorkflowDefinitionError,
)
from meshflow.models.bundles import load_task
from meshflow.models.submission import pack
from meshflow.models.workflow import Workflow
from tests.models.conftest import WriteScript

HEAD = "from meshflow.models import BaseTask, Dag, Option, Parameters\n"

Load = Callable[..., Workflow]


@pytest.fixture
def load(write_script: WriteScript, tmp_path: Path) -> Load:
    """A workflow from the text of a script."""

    def loaded(text: str, **arguments: Any) -> Workflow:
        write_script("flow.py", HEAD + text)
        return Workflow.from_name("flow", directories=[tmp_path], arguments=arguments)

    return loaded


def test_a_submission_describes_workflow_and_dags(load: Load) -> None:
    workflow = load(
        "a, b, c = (BaseTask(name) for name in 'abc')\n"
        "main = Dag('main')\nmain.define({a: {b: 'slot'}})\n"
        "sub = Dag('sub', autostart=False, queue='q')\nsub.define({c: None})\n"
    )
    submission = pack(workflow)
    assert submission.spec == WorkflowSpec("flow", "workflow", ("main", "sub"), ("main",), ("dag", "q"), True)
    assert list(submission.dags) == ["main", "sub"]
    main = submission.dags["main"]
    assert [task.name for task in main.spec.tasks] == ["a", "b"]
    assert main.spec.edges == (Edge(0, 1, "slot"),)
    for task in main.spec.tasks:
        assert load_task(main.payloads[task.payload], task.name).name == task.name
    assert set(main.payloads) == {task.payload for task in main.spec.tasks}
    assert submission.arguments == {}


def test_queue_and_keeping_of_data_travel_with_the_workflow(load: Load) -> None:
    workflow = load("")
    submission = pack(Workflow(queue="q", clear_data_store=False))
    assert (submission.spec.queue, submission.spec.clear_data_store) == ("q", False)
    assert (pack(workflow).spec.dags, pack(workflow).dags) == ((), {})


def test_arguments_are_converted_completed_and_encoded(load: Load) -> None:
    text = "p = Parameters([Option('n', type=int), Option('x', default='1', type=float), Option('none', default='')])"
    workflow = load(text, n="5", more=(1, 2))
    arguments = pack(workflow).arguments
    assert isinstance(arguments.pop("more"), Pickled)
    assert arguments == {"n": 5, "x": 1.0, "none": ""}
    assert pack(workflow, {"n": "6"}).arguments == {"n": 6, "x": 1.0, "none": ""}


def test_arguments_that_are_missing_or_wrong_are_refused(load: Load) -> None:
    workflow = load("p = Parameters([Option('n', type=int)])", n=1)
    with pytest.raises(WorkflowArgumentError, match="'flow' needs the arguments 'n'"):
        pack(workflow, {})
    with pytest.raises(WorkflowArgumentError, match="argument 'n' is 'x', which is not of type int"):
        pack(workflow, {"n": "x"})
    with pytest.raises(WorkflowArgumentError, match=r"'a.b' is no name for an argument"):
        pack(workflow, {"n": 1, "a.b": 2})
    with pytest.raises(DataStoreValueError, match="'lock'"):
        pack(workflow, {"n": 1, "lock": threading.Lock()})


def test_a_cycle_that_define_did_not_look_for_is_found(load: Load) -> None:
    workflow = load("a = BaseTask('a')\nd = Dag('d')\nd.define({a: a}, validate=False)")
    with pytest.raises(WorkflowDefinitionError, match=r"dag 'd' of workflow 'flow' cannot be run: .*: a -> a"):
        pack(workflow)


def test_two_tasks_of_one_name_that_define_did_not_look_for_are_found(load: Load) -> None:
    workflow = load("d = Dag('d', schema={BaseTask('a'): BaseTask('a')})")
    with pytest.raises(WorkflowDefinitionError, match="two tasks are named 'a'"):
        pack(workflow)


def test_a_dag_without_schema_is_found(load: Load) -> None:
    with pytest.raises(DirectedAcyclicGraphUndefined, match="dag 'd' has no schema"):
        pack(load("d = Dag('d')"))


def test_a_task_that_cannot_be_pickled_is_named(load: Load) -> None:
    workflow = load(
        "import threading\nlock = threading.Lock()\ndef init(*_):\n    lock.acquire()\n"
        "d = Dag('d')\nd.define({BaseTask('good'): BaseTask('bad', callback_init=init)})"
    )
    with pytest.raises(
        PickleFailed, match="task 'bad' cannot be pickled: its callback_init: init uses 'lock': TypeError"
    ):
        pack(workflow)
    with pytest.raises(PickleFailed, match=r"task 'good' cannot be pickled: it takes .* limit of 10"):
        pack(workflow, max_bytes=10)


def test_a_task_that_no_message_could_carry_is_refused_before_anything_starts(load: Load) -> None:
    workflow = load(
        "table = bytes(40_000_000)\ndef init(*_):\n    len(table)\n"
        "d = Dag('d')\nd.define({BaseTask('large', callback_init=init): None})"
    )
    with pytest.raises(
        PickleFailed, match=r"task 'large' cannot be pickled: it takes 400\d+ bytes, more than the limit"
    ):
        pack(workflow)


def test_ten_thousand_tasks_are_packed_in_well_under_a_second(load: Load) -> None:
    workflow = load(
        "def work(data, store, signal, context):\n    data['x'] = 1\n"
        "first, last = BaseTask('first'), BaseTask('last')\n"
        "tasks = [BaseTask(f't{index}', callback_init=work) for index in range(10_000)]\n"
        "d = Dag('d')\nd.define({first: tasks, **dict.fromkeys(tasks, last)})"
    )
    started = time.process_time()
    submission = pack(workflow)
    assert time.process_time() - started < 1.0
    assert len(submission.dags["d"].spec.tasks) == 10_002

"""The names that `meshflow.tasks` exports."""

import subprocess
import sys

import pytest

import meshflow.tasks


@pytest.mark.parametrize("name", meshflow.tasks.__all__)
def test_each_exported_name_is_a_task(name: str) -> None:
    assert getattr(meshflow.tasks, name).__name__ == name


def test_another_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'TriggerTask'"):
        _ = meshflow.tasks.TriggerTask


def test_a_python_task_does_not_load_what_runs_commands() -> None:
    script = "import sys; from meshflow.tasks import PythonTask; assert 'meshflow.tasks.bash_task' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)

"""The kinds of task that come with MeshFlow; a kind of your own derives from `meshflow.models.BaseTask`.

Names are imported on first use: a process that calls Python functions only need not load what runs commands.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshflow.tasks.bash_task import BashTask
    from meshflow.tasks.chunking_task import ChunkingTask
    from meshflow.tasks.python_task import PythonTask

__all__ = ["BashTask", "ChunkingTask", "PythonTask"]

_HOMES = {
    "BashTask": "meshflow.tasks.bash_task",
    "ChunkingTask": "meshflow.tasks.chunking_task",
    "PythonTask": "meshflow.tasks.python_task",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value

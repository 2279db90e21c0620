"""MeshFlow: workflows of Python and shell tasks on any number of machines, without a server.

The public names are imported when they are first used, so that `import meshflow` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from meshflow.version import __version__

if TYPE_CHECKING:
    from meshflow.async_client import AsyncClient
    from meshflow.client import Client
    from meshflow.config import DEFAULT_TEXT as default_config
    from meshflow.config import Config
    from meshflow.errors import MeshflowError
    from meshflow.executor import Executor
    from meshflow.local_mesh import local
    from meshflow.models.workflow_function import workflow
    from meshflow.run_handle import RunHandle
    from meshflow.tasks.function_task import task

__all__ = [
    "AsyncClient",
    "Client",
    "Config",
    "Executor",
    "MeshflowError",
    "RunHandle",
    "__version__",
    "default_config",
    "local",
    "task",
    "workflow",
]

_HOMES = {
    "Client": ("meshflow.client", "Client"),
    "AsyncClient": ("meshflow.async_client", "AsyncClient"),
    "Executor": ("meshflow.executor", "Executor"),
    "local": ("meshflow.local_mesh", "local"),
    "task": ("meshflow.tasks.function_task", "task"),
    "workflow": ("meshflow.models.workflow_function", "workflow"),
    "RunHandle": ("meshflow.run_handle", "RunHandle"),
    "Config": ("meshflow.config", "Config"),
    "default_config": ("meshflow.config", "DEFAULT_TEXT"),
    "MeshflowError": ("meshflow.errors", "MeshflowError"),
}
"""Where each public name lives. `default_config` is Lightflow's name for the default YAML text."""


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    value: object = getattr(import_module(module), attribute)
    globals()[name] = value
    return value

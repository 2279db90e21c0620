"""A workflow: the dags and parameters of one script."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from meshflow.errors import (
    InvalidGraph,
    WorkflowArgumentError,
    WorkflowDefinitionError,
    WorkflowImportError,
)
from meshflow.models.dag import Dag
from meshflow.models.parameters import Parameters
from meshflow.models.script import find_script, import_script


class Workflow:
    """The dags, parameters and arguments to be run together; empty until `load`."""

    def __init__(self, queue: str = "workflow", clear_data_store: bool = True) -> None:
        """Only nodes that serve `queue` drive its runs; `clear_data_store` removes a run's document when it ends."""
        self._queue = queue
        self._clear_data_store = clear_data_store
        self._name = ""
        self._docstring: str | None = None
        self._dags: dict[str, Dag] = {}
        self._parameters = Parameters()
        self._provided_arguments: dict[str, Any] = {}

    @classmethod
    def from_name(
        cls,
        name: str,
        *,
        queue: str = "workflow",
        clear_data_store: bool = True,
        arguments: Mapping[str, Any] | None = None,
        directories: Sequence[str | Path] | None = None,
    ) -> Self:
        """A new workflow, loaded; see `load`."""
        workflow = cls(queue=queue, clear_data_store=clear_data_store)
        workflow.load(name, arguments=arguments, directories=directories)
        return workflow

    def load(
        self,
        name: str,
        *,
        arguments: Mapping[str, Any] | None = None,
        validate_arguments: bool = True,
        strict_dag: bool = False,
        directories: Sequence[str | Path] | None = None,
    ) -> None:
        """Import the script `name` and take over every Dag and Parameters that it has at module level.

        Of two dags of one name the later one is taken. A failed load leaves the workflow as it was.

        Args:
            name: of the script, without `.py`; or the path of the file.
            arguments: by option name; what no option declares is kept too. They are converted by `pack`.
            validate_arguments: False accepts that required ones are missing.
            strict_dag: whether a script without any Dag is an error.
            directories: where to look for the script, in this order; None is `sys.path`.

        Raises:
            WorkflowNotFound: there is no such script.
            WorkflowImportError: the script cannot be imported, or has no Dag and `strict_dag` is set.
            WorkflowDefinitionError: a dag has a cycle, or two tasks of one name.
            WorkflowArgumentError: a required argument is missing.
        """
        path = find_script(name, directories)
        try:
            module = import_script(path)
        except InvalidGraph as exc:
            raise WorkflowDefinitionError(path.stem, exc.graph_name, exc.reason) from exc
        dags = {value.name: value for value in vars(module).values() if isinstance(value, Dag)}
        if strict_dag and not dags:
            raise WorkflowImportError(f"workflow {path.stem!r} defines no Dag: {path}")
        lists = [value for value in vars(module).values() if isinstance(value, Parameters)]
        parameters = Parameters(option for options in lists for option in options)
        if validate_arguments:
            require_arguments(path.stem, parameters, arguments or {})
        for dag in dags.values():
            dag.workflow_name = path.stem
        self._name = path.stem
        self._docstring = inspect.cleandoc(module.__doc__) if module.__doc__ else None
        self._dags = dags
        self._parameters = parameters
        self._provided_arguments = dict(arguments or {})

    @property
    def name(self) -> str:
        """The name of the script; empty before `load`."""
        return self._name

    @property
    def queue(self) -> str:
        """The queue on which its runs wait for a node."""
        return self._queue

    @property
    def clear_data_store(self) -> bool:
        """Whether the document of a run is removed when the run ends."""
        return self._clear_data_store

    @property
    def docstring(self) -> str | None:
        """The docstring of the script without its indentation; None if it has none."""
        return self._docstring

    @property
    def dags(self) -> dict[str, Dag]:
        """The dags by name, in the order of the script."""
        return dict(self._dags)

    @property
    def parameters(self) -> Parameters:
        """The options of the script."""
        return self._parameters

    @property
    def provided_arguments(self) -> dict[str, Any]:
        """The arguments as they were given, unconverted."""
        return self._provided_arguments


def require_arguments(workflow_name: str, parameters: Parameters, arguments: Mapping[str, Any]) -> None:
    """Refuse `arguments` that lack a required one.

    Raises:
        WorkflowArgumentError: the message names all that are missing.
    """
    if missing := parameters.check_missing(arguments):
        names = ", ".join(map(repr, missing))
        raise WorkflowArgumentError(f"workflow {workflow_name!r} needs the arguments {names}; give each as name=value")

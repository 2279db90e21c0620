"""A workflow: the dags and parameters of one script."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from meshflow.errors import (
    InvalidGraph,
    MeshflowError,
    WorkflowArgumentError,
    WorkflowDefinitionError,
    WorkflowError,
    WorkflowImportError,
)
from meshflow.models.dag import Dag
from meshflow.models.parameters import Parameters
from meshflow.models.script import find_script, import_script, place_of
from meshflow.models.workflow_function import WorkflowFunction


class Workflow:
    """The dags, parameters and arguments to be run together; empty until `load`."""

    def __init__(self, queue: str = "workflow", clear_data_store: bool = True) -> None:
        """Only nodes that serve `queue` drive its runs; `clear_data_store` removes a run's document when that
        completes."""
        self._queue = queue
        self._clear_data_store = clear_data_store
        self._name = ""
        self._docstring: str | None = None
        self._dags: dict[str, Dag | WorkflowFunction[...]] = {}
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
        """Import the script `name` and take over every Dag, decorated workflow and Parameters that it has at module
        level.

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
        found = [value for value in vars(module).values() if isinstance(value, Dag | WorkflowFunction)]
        dags: dict[str, Dag | WorkflowFunction[...]] = {value.name: value for value in found}
        if strict_dag and not dags:
            raise WorkflowImportError(f"workflow {path.stem!r} defines no Dag: {path}")
        lists = [value for value in vars(module).values() if isinstance(value, Parameters)]
        lists += [value.parameters for value in dags.values() if isinstance(value, WorkflowFunction)]
        parameters = Parameters(option for options in lists for option in options)
        if validate_arguments:
            require_arguments(path.stem, parameters, arguments or {})
        for dag in dags.values():
            if isinstance(dag, Dag):
                dag.workflow_name = path.stem
        self._name = path.stem
        self._docstring = inspect.cleandoc(module.__doc__) if module.__doc__ else None
        self._dags = dags
        self._parameters = parameters
        self._provided_arguments = dict(arguments or {})

    @classmethod
    def from_function(
        cls, function: WorkflowFunction[...], *, queue: str = "workflow", clear_data_store: bool = True
    ) -> Self:
        """The workflow of a decorated function alone, wherever that was defined."""
        workflow = cls(queue=queue, clear_data_store=clear_data_store)
        workflow._name = function.name
        workflow._docstring = function.docstring
        workflow._dags = {function.name: function}
        workflow._parameters = function.parameters
        return workflow

    def make_dags(self, arguments: Mapping[str, Any]) -> dict[str, Dag]:
        """All dags by name, in the order of the script; those of decorated functions as they are for the arguments.

        Raises:
            WorkflowArgumentError: an argument cannot be converted.
            WorkflowError: a decorated function has failed; the message names file and line.
        """
        return {name: dag if isinstance(dag, Dag) else self._made(dag, arguments) for name, dag in self._dags.items()}

    def _made(self, function: WorkflowFunction[...], arguments: Mapping[str, Any]) -> Dag:
        try:
            dag = function.make_dag(arguments)
        except MeshflowError:
            raise
        except Exception as exc:  # The function is the user's.
            where = place_of(exc, Path(function.function.__code__.co_filename))
            raise WorkflowError(f"workflow {function.name!r} cannot be built: {where}") from exc
        dag.workflow_name = self._name
        return dag

    @property
    def name(self) -> str:
        """The name of the script, or of the decorated function; empty before `load`."""
        return self._name

    @property
    def queue(self) -> str:
        """The queue on which its runs wait for a node."""
        return self._queue

    @property
    def clear_data_store(self) -> bool:
        """Whether the document of a run is removed when the run completes."""
        return self._clear_data_store

    @property
    def docstring(self) -> str | None:
        """The docstring of the script without its indentation; None if it has none."""
        return self._docstring

    @property
    def dags(self) -> dict[str, Dag]:
        """The dags by name, in the order of the script, without those of decorated functions; see `make_dags`."""
        return {name: dag for name, dag in self._dags.items() if isinstance(dag, Dag)}

    @property
    def dag_names(self) -> tuple[str, ...]:
        """The names of all dags, in the order of the script."""
        return tuple(self._dags)

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

"""`@workflow`: a function that is run to make a dag, once for each submission, with the arguments of that.

    @workflow
    def counting(sentence: str = "to be or not to be") -> None:
        count(split(sentence))

Its parameters are those of the workflow. What it computes itself, and which tasks it calls, may depend on them; what
tasks return it never sees, only handles (see `wiring.py`).
"""

import inspect
import re
from collections.abc import Callable, Mapping
from functools import update_wrapper
from types import FunctionType
from typing import Any, Generic, ParamSpec, overload

from meshflow.errors import UsageError
from meshflow.models.dag import Dag
from meshflow.models.parameters import Option, Parameters
from meshflow.models.wiring import recording

P = ParamSpec("P")

_TYPES = {kind.__name__: kind for kind in (str, int, float, bool)}
"""By name, as `from __future__ import annotations` leaves only that."""

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class WorkflowFunction(Generic[P]):
    """What `@workflow` makes of a function. Calling it makes the dag; submitting it makes the dag and a run."""

    def __init__(self, function: Callable[P, object], name: str | None = None, queue: str = "dag") -> None:
        """`name` is that of the dag, and of the workflow if it is not in a file; None: that of the function. Only
        nodes that serve `queue` drive runs of the dag.

        Raises:
            UsageError: it is not a plain function, or a parameter cannot be one of a workflow.
        """
        if not isinstance(function, FunctionType) or inspect.iscoroutinefunction(function):
            raise UsageError(f"@workflow is for functions made by `def`, without `async`, not for {function!r:.80}")
        update_wrapper(self, function)  # First, as it brings along whatever attributes the function has.
        self.name = function.__name__ if name is None else name
        self.queue = queue
        self.function = function
        self.docstring = inspect.getdoc(function)
        self.parameters = Parameters(
            _option(self.name, parameter, self.docstring or "")
            for parameter in inspect.signature(function).parameters.values()
        )
        Dag(self.name, queue=queue)  # Says here what is wrong with these, and not at each submission.

    def __call__(self, /, *arguments: P.args, **keywords: P.kwargs) -> Dag:
        """The dag for these arguments, which are taken as they are.

        Raises whatever the function raises, and:
            UsageError: the arguments do not fit the function, or a call of a task in it is wrong.
        """
        try:
            inspect.signature(self.function).bind(*arguments, **keywords)
        except TypeError as exc:
            raise UsageError(f"workflow {self.name!r} cannot be called like this: {exc}") from None
        with recording(self.name) as wiring:
            self.function(*arguments, **keywords)
        return wiring.dag(self.queue)

    def make_dag(self, arguments: Mapping[str, Any]) -> Dag:
        """The dag for the arguments of a submission, converted to the types of the parameters; what is none of its
        parameters is left out.

        Raises:
            WorkflowArgumentError: an argument cannot be converted.
        """
        converted = self.parameters.consolidate(arguments)
        make: Callable[..., Dag] = self
        return make(**{option.name: converted[option.name] for option in self.parameters if option.name in converted})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


@overload
def workflow(function: Callable[P, object], /) -> WorkflowFunction[P]: ...


@overload
def workflow(
    *, name: str | None = None, queue: str = "dag"
) -> Callable[[Callable[P, object]], WorkflowFunction[P]]: ...


def workflow(function: Any = None, /, *, name: str | None = None, queue: str = "dag") -> Any:
    """Make a workflow of a function that calls tasks: `@workflow`, or `@workflow(name="survey")`; the options are those
    of `WorkflowFunction`.

    Raises:
        UsageError: it is not a plain function, or a parameter cannot be one of a workflow.
    """
    if function is not None:
        return WorkflowFunction(function, name, queue)
    return lambda decorated: WorkflowFunction(decorated, name, queue)


def _option(workflow_name: str, parameter: inspect.Parameter, docstring: str) -> Option:
    where = f"parameter {parameter.name!r} of workflow {workflow_name!r}"
    if parameter.kind not in _NAMED:
        raise UsageError(f"{where} cannot be given by its name; use plain parameters only, without *, ** and /")
    is_required = parameter.default is inspect.Parameter.empty
    if parameter.default is None:
        raise UsageError(f"{where} has the default None, which means none; give it no default, or another such as ''")
    line = re.search(rf"^\s*{parameter.name}: +(.+)$", docstring, re.MULTILINE)
    default = None if is_required else parameter.default
    return Option(parameter.name, default, line and line[1], _kind(parameter.annotation))


def _kind(annotation: Any) -> Any:
    """The type of an option; Any where there is no annotation, so that values stay as they are."""
    if annotation is inspect.Parameter.empty:
        return Any
    return _TYPES.get(annotation, annotation) if isinstance(annotation, str) else annotation

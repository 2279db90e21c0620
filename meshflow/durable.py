"""Calls of a function as a run: how `Client.map_durable` makes one, and `RunHandle.results` reads it."""

from collections.abc import Callable, Iterable
from typing import Any, Unpack

from meshflow.core.records import State
from meshflow.errors import MeshflowError
from meshflow.models.calls import load_results, unpack_flat
from meshflow.models.payload import load_data
from meshflow.models.submission import Submission, pack_dag
from meshflow.models.task_data import value_of
from meshflow.references import NotFound
from meshflow.results import Ask, all_results
from meshflow.run_view import RunView
from meshflow.tasks.calls_task import DAG_NAME, calls_dag, calls_of
from meshflow.tasks.options import TaskOptions


class RunFailed(MeshflowError):
    """A run did not complete, so this call was not made, or not to its end."""


def pack_calls(
    function: Callable[..., object],
    rows: Iterable[tuple[Any, ...]],
    name: str | None = None,
    *,
    calls_per_task: int | None = None,
    **options: Unpack[TaskOptions],
) -> Submission:
    """The workflow that calls the function with each row of arguments.

    Raises:
        PickleFailed: the function or an argument cannot be pickled.
        UsageError: an option is out of its range.
    """
    dag = calls_dag(function, rows, calls_per_task, **options)
    called: str = getattr(function, "__name__", type(function).__name__)
    return pack_dag(name or called, dag)


def results_of(ask: Ask, view: RunView, *, return_exceptions: bool = False) -> list[Any]:
    """What came of each call of a run that has ended, in order; as `RunHandle.results`."""
    dag = f"{DAG_NAME}:1"
    tasks = [task.name for task in view.dags[dag].tasks] if dag in view.dags else []
    if list(view.dags) != [dag] or not all(name.replace("-", "").isdigit() for name in tasks):
        raise NotFound(f"run {view.run} has no results of calls; only runs that map_durable has started have")
    if view.state is not State.COMPLETED and not return_exceptions:
        raise _failure(view)
    found = all_results(ask, view, dag)
    results: list[Any] = []
    for name in tasks:
        if name not in found:
            results += [_failure(view) for _ in calls_of(name)]
            continue
        for is_returned, result in load_results(unpack_flat(value_of(load_data(found[name])))):
            if not is_returned and not return_exceptions:
                raise result
            results.append(result)
    return results


def _failure(view: RunView) -> RunFailed:
    why = view.reason.partition("\n")[0]
    return RunFailed(f"run {view.run} ended {view.state.value}" + (why and f": {why}"))

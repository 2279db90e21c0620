"""What a task of a run has handed on: found in the log of its dag run, or among the blobs of the run if it is large."""

from collections.abc import Callable, Sequence

from meshflow.core.records import Batch, State, TaskEnded
from meshflow.core.requests import Answer, GetBlob, ReadLog, Request
from meshflow.ids import RunId, workflow_of
from meshflow.references import Ambiguous, NotFound
from meshflow.run_view import RunView

Ask = Callable[[Request], Answer]


def find_result(ask: Ask, view: RunView, task: str, dag: str | None = None) -> bytes | list[bytes]:
    """The pickled result of the task of that name, in the dag run `dag` (None: the only one where it has ended); of a
    mapped task a list of those of its instances, in order.

    Raises:
        NotFound: no such task has a result (yet), it has ended without one, or it was removed.
        Ambiguous: it has ended in several dag runs, and none was named.
    """
    found = [
        (name, dag_run.run, place)
        for name, dag_run in view.dags.items()
        if dag in (None, name)
        for place, each in enumerate(dag_run.tasks)
        if each.name == task and each.state.is_final and each.attempt
    ]
    where = f"run {view.run}" if dag is None else f"{dag} of run {view.run}"
    if not found:
        raise NotFound(f"no task {task!r} of {where} has a result; see what it has: meshflow status {view.run}")
    if len(found) > 1:
        names = ", ".join(name for name, _, _ in found)
        raise Ambiguous(f"task {task!r} of {where} has ended in several dag runs: {names}; name one of them")
    name, run, place = found[0]
    tasks = view.dags[name].tasks
    instances = tasks[place].instances
    if instances is None:
        return _value(ask, run, _ended(ask, run, (place,))[place], f"task {task!r} of {where}")
    open_count = sum(1 for each in instances if not tasks[each].state.is_final)
    if open_count:
        raise NotFound(f"task {task!r} of {where} has no result: {open_count} of its {len(instances)} instances run on")
    ends = _ended(ask, run, instances)
    return [_value(ask, run, ends[each], f"task {tasks[each].name!r} of {where}") for each in instances]


def all_results(ask: Ask, view: RunView, dag: str) -> dict[str, bytes]:
    """The pickled result of every task of the dag run of this name that has completed, by name.

    Raises:
        NotFound: they were removed.
    """
    if dag not in view.dags:
        return {}
    run, tasks = view.dags[dag].run, view.dags[dag].tasks
    places = [place for place, each in enumerate(tasks) if each.state is State.COMPLETED]
    ends = _ended(ask, run, places)
    return {
        tasks[place].name: _value(ask, run, ends[place], f"task {tasks[place].name!r} of {dag}") for place in places
    }


def _value(ask: Ask, run: RunId, ended: TaskEnded, what: str) -> bytes:
    value = ended.value
    if ended.state is not State.COMPLETED and not value.blob and not value.inline:
        why = ended.reason.partition("\n")[0]
        raise NotFound(f"{what} has no result: it ended {ended.state.value}" + (why and f" ({why})"))
    if not value.blob:
        return value.inline
    data = ask(GetBlob(workflow_of(run), value.blob))
    if not isinstance(data, bytes):
        raise NotFound(
            f"the result of {what} was larger than 64 KiB and is not there: such results are removed when a run "
            "completes, and a retry takes over only those it needs; all are kept if the run is submitted with keep_data"
        )
    return data


def _ended(ask: Ask, run: RunId, places: Sequence[int]) -> dict[int, TaskEnded]:
    """The log entries by which these tasks, which have ended, did so."""
    since = 0
    wanted = dict.fromkeys(places)
    found: dict[int, TaskEnded] = {}
    while len(found) < len(wanted):
        batches = [batch for batch in _as_tuple(ask(ReadLog(run, since))) if isinstance(batch, Batch)]
        if not batches:
            raise NotFound(f"the log of {run} has been removed")
        for batch in batches:
            for entry in batch.entries:
                if isinstance(entry, TaskEnded) and entry.task in wanted and not entry.retry:
                    found.setdefault(entry.task, entry)
        since = batches[-1].seq + 1
    return found


def _as_tuple(answer: Answer) -> tuple[object, ...]:
    return answer if isinstance(answer, tuple) else ()

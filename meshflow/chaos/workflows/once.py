"""A task that may run at most once, between two that may run again."""

from meshflow.chaos.steps import answer, noted, seed_of
from meshflow.models import Dag, DataStoreDocument, MultiTaskData, Option, Parameters, TaskContext, TaskSignal
from meshflow.tasks import PythonTask

parameters = Parameters(
    [Option("seed", type=int, help="what the answer follows from"), Option("mark", type=int, help="which run this is")]
)


def begin(data: MultiTaskData, store: DataStoreDocument, signal: TaskSignal, context: TaskContext) -> None:
    """Take the argument."""
    data["value"] = seed_of(store)


def count(data: MultiTaskData, store: DataStoreDocument, signal: TaskSignal, context: TaskContext) -> None:
    """Count on."""
    data["value"] += 1


def tell(data: MultiTaskData, store: DataStoreDocument, signal: TaskSignal, context: TaskContext) -> None:
    """Keep what came of it."""
    count(data, store, signal, context)
    answer(store, data["value"] + 1)


first, only = PythonTask("first", noted(begin)), PythonTask("only", noted(count), at_most_once=True)
main = Dag("main")
main.define({first: only, only: PythonTask("last", noted(tell))})

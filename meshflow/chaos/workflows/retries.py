"""A task that fails at first."""

from meshflow.chaos.plans import FAILURE_COUNT
from meshflow.chaos.steps import answer, noted, seed_of, starts
from meshflow.models import Dag, DataStoreDocument, MultiTaskData, Option, Parameters, TaskContext, TaskSignal
from meshflow.tasks import PythonTask

parameters = Parameters(
    [Option("seed", type=int, help="what the answer follows from"), Option("mark", type=int, help="which run this is")]
)


def shaky(data: MultiTaskData, store: DataStoreDocument, signal: TaskSignal, context: TaskContext) -> None:
    """Fail some times, then work.

    Raises:
        RuntimeError: it is not time to work yet.
    """
    count = starts(context)
    if count <= FAILURE_COUNT:
        raise RuntimeError(f"start {count} fails, as it should")
    data["value"] = 3 * seed_of(store)


def tell(data: MultiTaskData, store: DataStoreDocument, signal: TaskSignal, context: TaskContext) -> None:
    """Keep what came of it."""
    answer(store, data["value"])


main = Dag("main")
main.define(
    {PythonTask("shaky", noted(shaky), retries=8, retry_delay=0.1, backoff=1.5): PythonTask("tell", noted(tell))}
)

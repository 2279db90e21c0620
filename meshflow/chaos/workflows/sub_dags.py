"""Sub-dags, and a task that waits for them."""

from meshflow.chaos.plans import SUB_DAG_COUNT
from meshflow.chaos.steps import answer, noted, patiently, seed_of
from meshflow.models import Dag, DataStoreDocument, MultiTaskData, Option, Parameters, TaskContext, TaskSignal
from meshflow.tasks import PythonTask

parameters = Parameters(
    [Option("seed", type=int, help="what the answer follows from"), Option("mark", type=int, help="which run this is")]
)


def ask(data: MultiTaskData, store: DataStoreDocument, signal: TaskSignal, context: TaskContext) -> None:
    """Start the sub-dags and wait for them."""
    started = []
    for number in range(1, SUB_DAG_COUNT + 1):
        data["product"] = number * seed_of(store)
        data["number"] = number
        started.append(signal.start_dag("part", data=data))
    signal.join_dags(started)


def count(data: MultiTaskData, store: DataStoreDocument, signal: TaskSignal, context: TaskContext) -> None:
    """Nothing comes back from a sub-dag but what it keeps."""
    patiently(lambda: store.set(f"products.p{data['number']}", data["product"]))


def add(data: MultiTaskData, store: DataStoreDocument, signal: TaskSignal, context: TaskContext) -> None:
    """Add what they kept."""
    answer(store, sum(patiently(lambda: store.get("products")).values()))


main = Dag("main")
main.define({PythonTask("ask", noted(ask)): PythonTask("total", noted(add))})
part = Dag("part", autostart=False)
part.define({PythonTask("count", noted(count)): None})

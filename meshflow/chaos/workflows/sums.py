"""Fan out and in: the sum of some squares."""

from meshflow.chaos.plans import PART_COUNT
from meshflow.chaos.steps import answer, noted, seed_of
from meshflow.models import Dag, DataStoreDocument, MultiTaskData, Option, Parameters, TaskContext, TaskSignal
from meshflow.tasks import PythonTask

parameters = Parameters(
    [Option("seed", type=int, help="what the answer follows from"), Option("mark", type=int, help="which run this is")]
)


def split(data: MultiTaskData, store: DataStoreDocument, signal: TaskSignal, context: TaskContext) -> None:
    """Give the numbers."""
    seed = seed_of(store)
    data["numbers"] = [seed + number for number in range(PART_COUNT)]


def square(data: MultiTaskData, store: DataStoreDocument, signal: TaskSignal, context: TaskContext) -> None:
    """Square one of them."""
    data["square"] = data["numbers"][int(context.task_name.removeprefix("part"))] ** 2


def add(data: MultiTaskData, store: DataStoreDocument, signal: TaskSignal, context: TaskContext) -> None:
    """Add the squares."""
    answer(store, sum(data(f"part{number}")["square"] for number in range(PART_COUNT)))


first = PythonTask("split", noted(split))
parts = [PythonTask(f"part{number}", noted(square)) for number in range(PART_COUNT)]
total = PythonTask("total", noted(add))
main = Dag("main")
main.define({first: parts, **dict.fromkeys(parts, total)})

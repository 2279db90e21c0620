"""A chain of tasks that add lines to a file."""

from meshflow.chaos.plans import LINK_COUNT
from meshflow.chaos.steps import answer, append, folder, noted, seed_of
from meshflow.models import Dag, DataStoreDocument, MultiTaskData, Option, Parameters, TaskContext, TaskSignal
from meshflow.tasks import PythonTask

parameters = Parameters(
    [Option("seed", type=int, help="what the answer follows from"), Option("mark", type=int, help="which run this is")]
)


def link(data: MultiTaskData, store: DataStoreDocument, signal: TaskSignal, context: TaskContext) -> None:
    """Add a line, and count on."""
    number = data["number"] if "number" in data else seed_of(store)
    append(folder() / f"{context.workflow_id}.appended", str(number))
    data["number"] = number + 1


def read(data: MultiTaskData, store: DataStoreDocument, signal: TaskSignal, context: TaskContext) -> None:
    """Read them back: a line may be there twice, since a task may run twice, but none before those that precede it."""
    lines = (folder() / f"{context.workflow_id}.appended").read_text("ascii").split()
    answer(store, " ".join(dict.fromkeys(lines)))


links = [PythonTask(f"link{number}", noted(link)) for number in range(LINK_COUNT)]
main = Dag("main")
main.define(dict(zip(links, [*links[1:], PythonTask("read", noted(read))], strict=True)))

"""Ten megabytes that go two ways and meet again."""

import hashlib

from meshflow.chaos.plans import large_content
from meshflow.chaos.steps import answer, noted, seed_of
from meshflow.models import Dag, DataStoreDocument, MultiTaskData, Option, Parameters, TaskContext, TaskSignal
from meshflow.tasks import PythonTask

parameters = Parameters(
    [Option("seed", type=int, help="what the answer follows from"), Option("mark", type=int, help="which run this is")]
)


def make(data: MultiTaskData, store: DataStoreDocument, signal: TaskSignal, context: TaskContext) -> None:
    """Make them."""
    data["content"] = large_content(seed_of(store))


def digest(data: MultiTaskData, store: DataStoreDocument, signal: TaskSignal, context: TaskContext) -> None:
    """See what has arrived."""
    data["digest"] = hashlib.sha256(data["content"]).hexdigest()
    del data["content"]


def compare(data: MultiTaskData, store: DataStoreDocument, signal: TaskSignal, context: TaskContext) -> None:
    """Tell both."""
    answer(store, f"{data('left')['digest']} {data('right')['digest']}")


first = PythonTask("make", noted(make))
left, right = PythonTask("left", noted(digest)), PythonTask("right", noted(digest))
last = PythonTask("compare", noted(compare))
main = Dag("main")
main.define({first: [left, right], left: last, right: last})

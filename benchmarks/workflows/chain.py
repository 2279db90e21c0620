"""Twenty tasks that do nothing, one after the other."""

from itertools import pairwise

from meshflow.models import Dag
from meshflow.tasks import PythonTask


def nothing(data, store, signal, context):
    pass


chain = Dag("chain")
tasks = [PythonTask(name=f"task_{number}", callback=nothing) for number in range(20)]
chain.define(dict(pairwise(tasks)))

"""Ten tasks of 50 ms, one after the other: a run that outlives the death of its owner."""

import time
from itertools import pairwise

from meshflow.models import Dag
from meshflow.tasks import PythonTask


def sleep(data, store, signal, context):
    time.sleep(0.05)


some_steps = Dag("some_steps")
tasks = [PythonTask(name=f"task_{number}", callback=sleep) for number in range(10)]
some_steps.define(dict(pairwise(tasks)))

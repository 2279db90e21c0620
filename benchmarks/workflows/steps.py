"""A hundred tasks of 50 ms, one after the other: a run that goes on for some seconds."""

import time
from itertools import pairwise

from meshflow.models import Dag
from meshflow.tasks import PythonTask


def sleep(data, store, signal, context):
    time.sleep(0.05)


steps = Dag("steps")
tasks = [PythonTask(name=f"task_{number}", callback=sleep) for number in range(100)]
steps.define(dict(pairwise(tasks)))

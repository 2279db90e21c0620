"""Letting a number decide

decision_task draws a number between 0 and 1. Small numbers, below a half, go one way, large ones
the other; the way not taken is skipped. Run it a few times.

                    /-> small_number_task
    decision_task --|
                    \\-> large_number_task
"""

import random

from meshflow.models import Action, Dag
from meshflow.tasks import PythonTask


def decide(data, store, signal, context):
    data["number"] = random.random()
    return Action(data, limit=[small_number_task if data["number"] < 0.5 else large_number_task])


def print_small_number(data, store, signal, context):
    print(f"Small number: {data['number']}")


def print_large_number(data, store, signal, context):
    print(f"Large number: {data['number']}")


decision_task = PythonTask(name="decision_task", callback=decide)
small_number_task = PythonTask(name="small_number_task", callback=print_small_number)
large_number_task = PythonTask(name="large_number_task", callback=print_large_number)

d = Dag("main_dag")
d.define({decision_task: [small_number_task, large_number_task]})

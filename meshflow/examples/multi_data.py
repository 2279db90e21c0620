"""Tasks that hear from more than one side

A task gets one dataset from each task before it. put_task gives 5 to everybody. square_task makes
25 of it, multiply_task has both and makes 125, and subtract_task takes the 125 from the 5, so for
the last one it matters which is which. There are three ways of telling datasets apart: by their
place, by the task they come from, and by a slot of the graph, which is a name of our choice.

    put_task --|-> print_task_1
               |-> square_task -----|-> print_task_2
               |-> multiply_task <--/
               |        |--> print_task_3
               |        v (as 'second')
               \\-> subtract_task -> print_task_4
                 (as 'first')
"""

from meshflow.models import Dag
from meshflow.tasks import PythonTask


def put_value(data, store, signal, context):
    data["value"] = 5


def print_value(data, store, signal, context):
    print(f"{context.task_name}: {data['value']}")


def square_value(data, store, signal, context):
    data["value"] = data["value"] ** 2


# Square brackets mean the default dataset. That is the one with index 0, unless we choose another
# one.
def multiply_values(data, store, signal, context):
    data["value"] = data["value"] * data.get_by_index(1)["value"]


# Slots are aliases of datasets, and calling the data is short for get_by_alias.
def subtract_values(data, store, signal, context):
    data["value"] = data.get_by_alias("first")["value"] - data("second")["value"]


put_task = PythonTask(name="put_task", callback=put_value)
square_task = PythonTask(name="square_task", callback=square_value)
multiply_task = PythonTask(name="multiply_task", callback=multiply_values)
subtract_task = PythonTask(name="subtract_task", callback=subtract_values)
print_task_1 = PythonTask(name="print_task_1", callback=print_value)
print_task_2 = PythonTask(name="print_task_2", callback=print_value)
print_task_3 = PythonTask(name="print_task_3", callback=print_value)
print_task_4 = PythonTask(name="print_task_4", callback=print_value)

# Where a dataset needs a name at its destination, the list of successors becomes a dictionary of
# slots.
d = Dag("main_dag")
d.define(
    {
        put_task: {print_task_1: None, square_task: None, multiply_task: None, subtract_task: "first"},
        square_task: [print_task_2, multiply_task],
        multiply_task: {print_task_3: None, subtract_task: "second"},
        subtract_task: print_task_4,
    }
)

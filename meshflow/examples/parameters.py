"""Telling a workflow what to work on

A workflow can ask for values when it is started. This one insists on a filepath, because that
option has no default, and is content with the defaults of the others. Each value is checked and
converted to the type of its option before anything starts.

    meshflow submit parameters --arg filepath=/data --arg iterations=3

    print_filepath_task -> print_iterations_task
"""

from meshflow.models import Dag, Option, Parameters
from meshflow.tasks import PythonTask

parameters = Parameters(
    [
        Option("filepath", help="where the measurements are", type=str),
        Option("recursive", default=True, help="whether to look into the folders below too", type=bool),
        Option("iterations", default=1, help="how often to refine the result", type=int),
        Option("threshold", default=0.4, help="what counts as a signal, from 0 to 1", type=float),
    ]
)


# The values are in the store, where every task can read them.
def print_filepath(data, store, signal, context):
    print(f"The filepath is: {store.get('filepath')}")


def print_iterations(data, store, signal, context):
    print(f"The number of iterations is: {store.get('iterations')}")


print_filepath_task = PythonTask(name="print_filepath_task", callback=print_filepath)
print_iterations_task = PythonTask(name="print_iterations_task", callback=print_iterations)

d = Dag("main_dag")
d.define({print_filepath_task: print_iterations_task})

"""Three tasks in a row, counting

A number is handed from task to task like a baton, and each task adds one to it. All three call the
same function: a task is a place in the graph, not a piece of code.

    task_1 -> task_2 -> task_3
"""

from meshflow.models import Dag
from meshflow.tasks import PythonTask


def count(data, store, signal, context):
    print(
        f"Task {context.task_name} is running in dag {context.dag_name} of workflow {context.workflow_name} "
        f"({context.workflow_id}) on {context.worker_hostname}"
    )
    # The first task of a dag starts with empty data.
    data["value"] = data["value"] + 1 if "value" in data else 1
    print(f"This is task #{data['value']}")


task_1 = PythonTask(name="task_1", callback=count)
task_2 = PythonTask(name="task_2", callback=count)
task_3 = PythonTask(name="task_3", callback=count)

d = Dag("main_dag")
d.define({task_1: task_2, task_2: task_3})

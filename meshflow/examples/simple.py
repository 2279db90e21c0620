"""Two tasks, one value

The smallest workflow that does something: put_task leaves the number 5 in the data, and print_task,
which comes after it, finds it there. The two may run on different machines; the data travels with
the work.

    put_task -> print_task
"""

from meshflow.models import Dag
from meshflow.tasks import PythonTask


# Every function that a task calls gets the same four things: the data that travels from task to
# task, the store that all tasks of the workflow share, the signal for talking to the workflow, and
# the context, which says where we are.
def put_value(data, store, signal, context):
    print(
        f"Task {context.task_name} is running in dag {context.dag_name} of workflow {context.workflow_name} "
        f"({context.workflow_id}) on {context.worker_hostname}"
    )
    data["value"] = 5


def print_value(data, store, signal, context):
    print(f"The value is: {data['value']}")


put_task = PythonTask(name="put_task", callback=put_value)
print_task = PythonTask(name="print_task", callback=print_value)

# A dag says what comes after what.
d = Dag("main_dag")
d.define({put_task: print_task})

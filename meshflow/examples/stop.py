"""Enough is enough: ending a task early

Three tasks stop themselves with StopTask, which is no failure: the workflow succeeds. bash_task
stops when its command has counted to 5, and the command is ended with it. stop_noskip_task stops
too, but asks that its successor runs all the same. stop_task does not, so nothing comes after it.
In the end, of the three print tasks only the second one has run.

                 /-> bash_task --------> print_task_1   (skipped)
    start_task --|-> stop_noskip_task -> print_task_2
                 \\-> stop_task --------> print_task_3   (skipped)
"""

from meshflow.models import Dag, StopTask
from meshflow.tasks import BashTask, PythonTask


def print_start(data, store, signal, context):
    print(f"Dag {context.dag_name} starts")


# Any callback may stop its task.
def stop_at_five(line, data, store, signal, context):
    if int(line) == 5:
        raise StopTask("the count has reached 5")
    print(f"The line is: {int(line)}")


def stop_alone(data, store, signal, context):
    raise StopTask("stopping, but those after me may go on", skip_successors=False)


def stop_with_successors(data, store, signal, context):
    raise StopTask("stopping, and so do those after me")


def print_context(data, store, signal, context):
    print(
        f"Task {context.task_name} is running in dag {context.dag_name} of workflow {context.workflow_name} "
        f"({context.workflow_id})"
    )


start_task = PythonTask(name="start_task", callback=print_start)
bash_task = BashTask(name="bash_task", command='for i in $(seq 1 10); do echo "$i"; done', callback_stdout=stop_at_five)
stop_noskip_task = PythonTask(name="stop_noskip_task", callback=stop_alone)
stop_task = PythonTask(name="stop_task", callback=stop_with_successors)
print_task_1 = PythonTask(name="print_task_1", callback=print_context)
print_task_2 = PythonTask(name="print_task_2", callback=print_context)
print_task_3 = PythonTask(name="print_task_3", callback=print_context)

d = Dag("main_dag")
d.define(
    {
        start_task: [bash_task, stop_noskip_task, stop_task],
        bash_task: print_task_1,
        stop_noskip_task: print_task_2,
        stop_task: print_task_3,
    }
)

"""Choosing which lanes to take

There are three lanes again, but this time branch_task looks at the map first and opens only two of
them: it returns an Action whose limit names its choice, once as the task itself and once by name.
The third lane is skipped, and the join does not wait for it.

                              /-> lane1_print_task -\\
    put_task -> branch_task --|-> lane2_print_task --|-> t_join_me
                              \\-> lane3_print_task -/     (lane 3 is skipped)
"""

from meshflow.models import Action, Dag
from meshflow.tasks import PythonTask


def put_value(data, store, signal, context):
    print(
        f"Task {context.task_name} is running in dag {context.dag_name} of workflow {context.workflow_name} "
        f"({context.workflow_id})"
    )
    data["value"] = 5


def choose_lanes(data, store, signal, context):
    return Action(data, limit=[lane1_print_task, "lane2_print_task"])


def print_value(data, store, signal, context):
    print(f"Task {context.task_name} has the value {data['value']}")


put_task = PythonTask(name="put_task", callback=put_value)
branch_task = PythonTask(name="branch_task", callback=choose_lanes)
lane1_print_task = PythonTask(name="lane1_print_task", callback=print_value)
lane2_print_task = PythonTask(name="lane2_print_task", callback=print_value)
lane3_print_task = PythonTask(name="lane3_print_task", callback=print_value)
join_task = PythonTask(name="t_join_me", callback=print_value)

d = Dag("main_dag")
d.define(
    {
        put_task: branch_task,
        branch_task: [lane1_print_task, lane2_print_task, lane3_print_task],
        lane1_print_task: join_task,
        lane2_print_task: join_task,
        lane3_print_task: join_task,
    }
)

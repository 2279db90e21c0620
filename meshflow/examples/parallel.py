"""Three lanes at the same time, and a join

After branch_task the road splits into three lanes. They run at the same time if the mesh has room
for them, in any order if it has not. t_join_me waits until the last of them is through.

                  /-> lane1_print_task -\\
    branch_task --|-> lane2_print_task --|-> t_join_me
                  \\-> lane3_print_task -/
"""

from meshflow.models import Dag
from meshflow.tasks import PythonTask


def print_context(data, store, signal, context):
    print(
        f"Task {context.task_name} is running in dag {context.dag_name} of workflow {context.workflow_name} "
        f"({context.workflow_id})"
    )


branch_task = PythonTask(name="branch_task", callback=print_context)
lane1_print_task = PythonTask(name="lane1_print_task", callback=print_context)
lane2_print_task = PythonTask(name="lane2_print_task", callback=print_context)
lane3_print_task = PythonTask(name="lane3_print_task", callback=print_context)
join_task = PythonTask(name="t_join_me", callback=print_context)

# A list is a fork; a task that is named after several others is a join.
d = Dag("main_dag")
d.define(
    {
        branch_task: [lane1_print_task, lane2_print_task, lane3_print_task],
        lane1_print_task: join_task,
        lane2_print_task: join_task,
        lane3_print_task: join_task,
    }
)

"""Sending work to the right machine

One computer of the lab has a lot of memory. A node on it serves the queue high_memory, and whatever
asks for that queue runs there and nowhere else. Queues are only names: nobody has to set them up,
but somebody has to serve them, and what waits for a queue without a node says so. This workflow
needs three nodes,

    meshflow node --queues main
    meshflow node --queues graph,task
    meshflow node --queues high_memory

and since it shall wait on the queue main itself, it is started with

    meshflow submit queues --queue main

    print_task (queue task) -> print_memory_task (queue high_memory)
"""

from meshflow.models import Dag
from meshflow.tasks import PythonTask


def print_context(data, store, signal, context):
    print(
        f"Task {context.task_name} is running in dag {context.dag_name} of workflow {context.workflow_name} "
        f"({context.workflow_id}) on {context.worker_hostname}"
    )


print_task = PythonTask(name="print_task", callback=print_context)
print_memory_task = PythonTask(name="print_memory_task", callback=print_context, queue="high_memory")

d = Dag("main_dag", queue="graph")
d.define({print_task: print_memory_task})

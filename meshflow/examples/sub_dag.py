"""A dag that starts other dags

How many images there are turns out only when the workflow runs, so their processing cannot be drawn
into the main dag. Instead call_dag_task starts a run of sub_dag for each of the five, hands it the
image, and waits for them all. The runs are called sub_dag:1 to sub_dag:5.

    main_dag:   init_task -> call_dag_task
    sub_dag:    print_task     (not started by itself)
"""

from meshflow.models import Dag
from meshflow.tasks import PythonTask

try:
    import numpy as np
except ImportError as missing:
    raise ImportError("the example sub_dag needs numpy, here and on the nodes that run its tasks") from missing


def prepare(data, store, signal, context):
    data["image"] = np.ones((100, 100))


def process_images(data, store, signal, context):
    # The name of a run is known at once; its result is not. What a sub-dag finds out belongs into
    # the store.
    started = [signal.start_dag("sub_dag", data=data) for _ in range(5)]
    signal.join_dags(started)
    print(f"Finished: {', '.join(started)}")


def print_dimension(data, store, signal, context):
    print(f"{context.dag_name}: the dimension of the image is {data['image'].shape}")


init_task = PythonTask(name="init_task", callback=prepare)
call_dag_task = PythonTask(name="call_dag_task", callback=process_images)

main_dag = Dag("main_dag")
main_dag.define({init_task: call_dag_task})

print_task = PythonTask(name="print_task", callback=print_dimension)

sub_dag = Dag("sub_dag", autostart=False)
sub_dag.define({print_task: None})

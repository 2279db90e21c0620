"""Where did the time go?

The mesh keeps a log of each dag in the store: which task ran when, where and for how long. Three
tasks sleep for a while, and the last one reads the log. It finds itself there as well, without an
end.

    sleep_task_1 -> sleep_task_2 -> sleep_task_3 -> print_task
"""

import random
import time

from meshflow.models import Dag, DataStoreDocumentSection
from meshflow.tasks import PythonTask


def sleep_a_while(data, store, signal, context):
    time.sleep(random.uniform(0.1, 0.3))


# The log is not in the section for data but in the one for what is known about the data.
def print_times(data, store, signal, context):
    dag_log = store.get(f"log.{context.dag_name}", section=DataStoreDocumentSection.Meta)
    for name, entry in dag_log["tasks"].items():
        if "duration" in entry:
            print(f"{name} took {entry['duration']:.3f} seconds on {entry['worker']}")
        else:
            print(f"{name} is still running on {entry['worker']}")


sleep_task_1 = PythonTask(name="sleep_task_1", callback=sleep_a_while)
sleep_task_2 = PythonTask(name="sleep_task_2", callback=sleep_a_while)
sleep_task_3 = PythonTask(name="sleep_task_3", callback=sleep_a_while)
print_task = PythonTask(name="print_task", callback=print_times)

d = Dag("main_dag")
d.define({sleep_task_1: sleep_task_2, sleep_task_2: sleep_task_3, sleep_task_3: print_task})

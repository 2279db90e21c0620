"""Sorting a pile of files into scans

A detector has written files of several scans, and the name of a file begins with the name of its
scan. chunk_task reads the pile from top to bottom and starts print_dag once for each scan. The bar
in the list says that a scan was finished there: the two halves of "quartz" are two scans, though
their names are the same.

    chunk_dag:   make_list_task -> chunk_task
    print_dag:   print_list_task     (started by chunk_task, once per scan)
"""

from meshflow.models import Dag
from meshflow.tasks import ChunkingTask, PythonTask


def make_list(data, store, signal, context):
    data["files"] = [
        "copper_0001.dat",
        "copper_0002.dat",
        "silicon_0001.dat",
        "silicon_0002.dat",
        "silicon_0003.dat",
        "quartz_0001.dat",
        "|",
        "quartz_0002.dat",
        "mica_0001.dat",
        "|",
    ]


def print_list(data, store, signal, context):
    print(f"{context.dag_name}: {', '.join(data['files'])}")


make_list_task = PythonTask(name="make_list_task", callback=make_list)
chunk_task = ChunkingTask(
    name="chunk_task", dag_name="print_dag", match_pattern="(?P<match>[0-9A-Za-z]+)_", in_key="files"
)

chunk_dag = Dag("chunk_dag")
chunk_dag.define({make_list_task: chunk_task})

print_list_task = PythonTask(name="print_list_task", callback=print_list)

print_dag = Dag("print_dag", autostart=False)
print_dag.define({print_list_task: None})

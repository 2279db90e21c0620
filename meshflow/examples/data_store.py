"""A notebook that all tasks share

What should not travel with the data goes into the store: a document that every task of the workflow
can read and write. Keys with dots make levels, lists grow by push and extend without two tasks
getting in each other's way, and a value may be anything that can be pickled, such as the image
here.

                                /-> third_task_a
    first_task -> second_task --|
                                \\-> third_task_b

Start it with --keep-data to look at the document afterwards.
"""

from meshflow.models import Dag
from meshflow.tasks import PythonTask

try:
    import numpy as np
except ImportError as missing:
    raise ImportError("the example data_store needs numpy, here and on the nodes that run its tasks") from missing


def fill(data, store, signal, context):
    store.set("number", 5)
    store.set("buffer.observable", 20)
    store.push("sample.spectra", 7)
    # The second image takes the place of the first.
    store.set("image", np.ones((10, 10)))
    store.set("image", np.ones((100, 100)))


def change(data, store, signal, context):
    number = store.get("number")
    print(f"The number is: {number}")
    print(f"The dimension of the image is: {store.get('image').shape}")
    store.set("number", number * 10)
    store.push("filenames", "file_a")


# These two run at the same time. Each of their additions is kept, in one order or the other.
def add_one(data, store, signal, context):
    store.push("filenames", "file_b")


def add_several(data, store, signal, context):
    # Push adds one element, whatever it is; extend adds those of a list.
    store.push("filenames", ["nested_a", "nested_b"])
    store.extend("filenames", ["file_c", "file_d"])


first_task = PythonTask(name="first_task", callback=fill)
second_task = PythonTask(name="second_task", callback=change)
third_task_a = PythonTask(name="third_task_a", callback=add_one)
third_task_b = PythonTask(name="third_task_b", callback=add_several)

d = Dag("main_dag")
d.define({first_task: second_task, second_task: [third_task_a, third_task_b]})

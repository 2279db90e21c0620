"""Pulling the emergency brake

A reconstruction needs five images, and collect_task has found three. check_task sees that there is
no point in going on and aborts: not itself, but the whole workflow, with a reason for whoever looks
at it later.

    collect_task -> check_task
"""

from meshflow.models import AbortWorkflow, Dag
from meshflow.tasks import PythonTask


def collect_images(data, store, signal, context):
    data["images"] = ["img_001.tif", "img_002.tif", "img_003.tif"]


def check_images(data, store, signal, context):
    if len(data["images"]) < 5:
        raise AbortWorkflow("At least 5 images are required")


collect_task = PythonTask(name="collect_task", callback=collect_images)
check_task = PythonTask(name="check_task", callback=check_images)

d = Dag("main_dag")
d.define({collect_task: check_task})

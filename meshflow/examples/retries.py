"""Trying again, and what goes first

The detector needs a moment to warm up: reading it fails twice and works the third time. That is
nothing to give up for, so read_task may be tried up to three more times, a tenth of a second after
the first failure and twice as long after each further one. Should an attempt hang, it counts as
failed after ten seconds.

What has been read then goes two ways. If the mesh has room for one task only, the alarm goes before
the archive.

                /-> archive_task
    read_task --|
                \\-> alarm_task     (the more urgent one)
"""

from meshflow.models import Dag
from meshflow.tasks import PythonTask


# An attempt starts with the data of the first one. What one attempt shall tell the next belongs
# into the store.
def read_detector(data, store, signal, context):
    attempt = store.get("attempts", 0) + 1
    store.set("attempts", attempt)
    if attempt < 3:
        raise RuntimeError(f"attempt {attempt}: the detector is not ready")
    data["counts"] = 1234
    print(f"Attempt {attempt}: the detector counted {data['counts']}")


def archive(data, store, signal, context):
    print(f"Archived: {data['counts']}")


def raise_alarm(data, store, signal, context):
    print(f"Alarm: {data['counts']} is too much")


read_task = PythonTask(name="read_task", callback=read_detector, retries=3, retry_delay=0.1, backoff=2.0, timeout=10.0)
archive_task = PythonTask(name="archive_task", callback=archive)
alarm_task = PythonTask(name="alarm_task", callback=raise_alarm, priority=10)

d = Dag("main_dag")
d.define({read_task: [archive_task, alarm_task]})

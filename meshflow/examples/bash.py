"""Running a command and listening to it

proc_task lets the shell write ten lines. We hear of its start, of each line while the command is
still running, and of its end, where the whole output is waiting for us in a file.

    proc_task
"""

from meshflow.models import Dag
from meshflow.tasks import BashTask


def started(pid, data, store, signal, context):
    data["line_count"] = 0


# A line comes with its newline.
def count_line(line, data, store, signal, context):
    print(line.rstrip("\n"))
    data["line_count"] += 1


# The files hold bytes, exactly as the command wrote them.
def ended(return_code, stdout_file, stderr_file, data, store, signal, context):
    print(f"Return code: {return_code}")
    print(f"Number of lines: {data['line_count']}")
    print(f"stdout:\n{stdout_file.read().decode()}")
    print(f"stderr:\n{stderr_file.read().decode()}")


proc_task = BashTask(
    name="proc_task",
    command='for i in $(seq 1 10); do echo "This is line $i"; done',
    capture_stdout=True,
    capture_stderr=True,
    callback_process=started,
    callback_stdout=count_line,
    callback_stderr=count_line,
    callback_end=ended,
)

# A task that nothing comes after.
d = Dag("main_dag")
d.define({proc_task: None})

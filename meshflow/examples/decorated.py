"""Plain functions as tasks

A decorated function becomes a task each time it is called in the workflow's function, and what it
returns is what the next one is given: no data to fill, no dag to draw. read is called once for each
scan, read, read_2 and read_3, all at the same time if the mesh has room. judge looks at their mean
and chooses one of the two ways; report gets None from the way that was not taken.

    meshflow run decorated scans=3 threshold=100

    read   -\\                 /-> alarm   -\\
    read_2 --|-> mean -> judge -|             |-> report
    read_3 -/                 \\-> archive -/
"""

from meshflow import task, workflow
from meshflow.models import Action


@task(retries=2)
def read(scan):
    return [scan * 40, scan * 50, scan * 60]


@task
def mean(counts):
    values = [value for scan in counts for value in scan]
    return sum(values) / len(values)


@task
def judge(value, threshold):
    return Action.of(value, limit=["alarm" if value > threshold else "archive"])


@task
def alarm(value):
    return f"{value:g} is too much"


@task
def archive(value):
    return f"{value:g} was archived"


@task
def report(alarmed, archived, *, context):
    print(f"{alarmed or archived} (task {context.task_name} of {context.dag_name})")


@workflow
def survey(scans: int = 3, threshold: float = 100.0):
    """How high the counts are.

    scans: how many scans there are
    threshold: which mean is too much
    """
    judged = judge(mean([read(number) for number in range(1, scans + 1)]), threshold)
    report(alarm(judged), archive(judged))

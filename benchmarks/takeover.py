"""How long does a run stand still when its owner is killed?

From `kill -9` of the node that drives a dag run until another has claimed the run and the first task started after the
kill runs. The nodes look for silent peers as the preset `local` says.
"""

import os
import signal
import time

from benchmarks.measure import Figure, Report
from benchmarks.mesh import WORKFLOWS
from meshflow.client import Client
from meshflow.config import Config
from meshflow.follow import News
from meshflow.private_mesh import NodePlan, PrivateMesh
from meshflow.queue.const import JobType
from meshflow.queue.models import JobStartedEvent
from meshflow.run_handle import RunHandle

PLANS = (
    NodePlan("first", ("workflow", "dag")),
    NodePlan("second", ("workflow", "dag")),
    NodePlan("left", ("task",), slots=1),
    NodePlan("right", ("task",), slots=1),
)
RUNS = 5
_WARM_TASKS = 5
_LONGEST_S = 30.0


def measure() -> Report:
    """Each kill on a mesh of its own, of four nodes: two that drive runs, two that run tasks."""
    figure = Figure("kill -9 of the owner", "s", tuple(_still_s() for _ in range(RUNS)), "< 5")
    return Report("How long does a run stand still when its owner is killed?", (figure,))


def _still_s() -> float:
    config = Config()
    with PrivateMesh(config, PLANS) as mesh, Client(config, mesh=mesh.connect()) as client:
        run = client.submit(WORKFLOWS / "steps.py")
        following = run.follow(with_output=False)
        started = 0
        while started < _WARM_TASKS:
            started += sum(_task_started_at(news) > 0.0 for news in following.step())
        killed_at = time.time()
        os.kill(_owner_process(client, run), signal.SIGKILL)
        while time.time() < killed_at + _LONGEST_S:
            for news in following.step():
                at = _task_started_at(news)
                if at > killed_at:
                    return at - killed_at
    raise AssertionError(f"the run did not go on within {_LONGEST_S:g} s")


def _task_started_at(news: News) -> float:
    """The wall clock of a task's start; 0 for other news."""
    if isinstance(news, JobStartedEvent) and news.type == JobType.Task:
        return news.event_time.timestamp()
    return 0.0


def _owner_process(client: Client, run: RunHandle) -> int:
    """The process of the node that drives the dag run."""
    (owner,) = {record.owner for record in client.open_jobs() if record.parent == run.id}
    return next(node.member.pid for node in client.nodes() if node.member.id == owner)

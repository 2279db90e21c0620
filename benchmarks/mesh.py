"""The mesh that is measured: three nodes on this host, one that drives runs and two with a task slot each, and the
embedded store on disk. Times are the client's: from its call of `submit` to its seeing the final state.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from meshflow.client import Client
from meshflow.config import Config
from meshflow.core.records import State
from meshflow.private_mesh import NodePlan, PrivateMesh

WORKFLOWS = Path(__file__).parent / "workflows"

PLANS = (
    NodePlan("driver", ("workflow", "dag")),
    NodePlan("left", ("task",), slots=1),
    NodePlan("right", ("task",), slots=1),
)

RUNS = 15
"""At least ten, and odd, so that the median is one of them."""


@contextmanager
def running_mesh() -> Iterator[Client]:
    """A client of a mesh that has just started."""
    config = Config()
    with PrivateMesh(config, PLANS) as mesh, Client(config, mesh=mesh.connect()) as client:
        yield client


def run_once(client: Client, workflow: Path) -> None:
    """Submit the workflow and wait for its end.

    Raises:
        AssertionError: it did not complete.
    """
    state = client.submit(workflow).wait()
    assert state is State.COMPLETED, f"{workflow.name} ended {state.value}"


def runner(client: Client, workflow: Path) -> Callable[[], None]:
    """`run_once` as an action to be repeated."""
    return lambda: run_once(client, workflow)

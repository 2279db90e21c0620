"""What a node and its template say to each other (see `template.py`), in records of one size over a stream socket."""

import struct
from enum import IntEnum
from typing import NamedTuple


class Endpoints(NamedTuple):
    """The descriptors of a task process, which come with the order to fork it."""

    jobs: int
    """Its end of the job queue."""
    talk: int
    """Its end of the socket over which both speak."""
    stdout: int
    stderr: int


class Birth(NamedTuple):
    """What a new task process is born with."""

    endpoints: Endpoints
    template: int
    """The process id of the template."""
    mark: str
    """What the programs that it starts are known by."""


class Order(IntEnum):
    """What the node tells its template."""

    SPAWN = 0
    """Fork the process; comes with its `Endpoints`."""
    TERMINATE = 1
    """SIGTERM to the process and all below it."""
    KILL = 2
    """SIGKILL to the process; what is below it follows when it is dead."""
    RETIRE = 3
    """The process is about to end by itself: what its tasks left running may stay."""


class Report(IntEnum):
    """What the template tells its node."""

    SPAWNED = 0
    """The detail is the process id."""
    REFUSED = 1
    """The process could not be forked; the detail is an errno."""
    EXITED = 2
    """The process and all below it are dead; the detail is its wait status."""


ORDER = struct.Struct("=BI")
"""An order and the number of the process it is about. Numbers are the node's, and never used twice."""
REPORT = struct.Struct("=BIi")
"""A report, the number of the process, and the detail."""

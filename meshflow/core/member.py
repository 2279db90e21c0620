"""A member of the mesh as others see it: immutable, shared by reference, replaced as a whole."""

from dataclasses import dataclass
from enum import IntEnum

from meshflow.ids import NodeId


class Status(IntEnum):
    """What is believed of a member, in rising precedence at one incarnation (SWIM, section 4.2)."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3


@dataclass(frozen=True, slots=True)
class Member:
    """One node's record in the view."""

    id: NodeId
    address: str
    """Where its ROUTER socket is reached, for example `tcp://192.0.2.7:40213`."""
    incarnation: int = 0
    """Raised only by the member itself, to refute suspicion or to change what follows."""
    status: Status = Status.ALIVE
    name: str = ""
    host: str = ""
    pid: int = 0
    queues: tuple[str, ...] = ()
    slots: int = 0
    store: str = ""
    """Names the store this node writes to (without secrets): nodes that share a store share this text."""
    has_store: bool = True
    """Whether it reaches that store by itself; False: through a peer that does."""
    is_draining: bool = False
    """Takes no new work and no new runs."""

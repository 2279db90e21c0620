"""What can go wrong between two ends, as errors with a sentence for the user.

A Line raises them. A Transport never does, once it is made: it reports them, each once per peer, as `Problem`s.
"""

from dataclasses import dataclass

from meshflow.errors import MeshflowError, UsageError


class PortInUse(UsageError):
    """Another program, or another node, listens there."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"cannot listen on '{address}': the port is in use; stop what uses it, or choose another (0: any free one)"
        )


class CannotBind(UsageError):
    """The system refuses to listen there."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"cannot listen on '{address}': {reason}; give an address of this host, and a port that you may use"
        )


class OutOfSockets(UsageError):
    """No connection can be made, for want of a socket or a descriptor."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"cannot connect to '{address}': {reason}; raise the limit of open files (ulimit -n), or max_sockets"
        )


class TooManyConnections(UsageError):
    """A node has as many connections as it may; who comes now has to wait."""

    def __init__(self, max_count: int) -> None:
        super().__init__(
            f"this node has {max_count} connections and takes in no more until some have gone (max_connections); look "
            "who connects (ss -tnp), raise the limit, or keep strangers away with a firewall"
        )


class QueueFull(UsageError):
    """As many messages wait for a peer as may; a further one was dropped."""

    def __init__(self, max_count: int) -> None:
        super().__init__(
            f"{max_count} messages wait for it, further ones are dropped (max_queued_messages); it is too slow, or the "
            "network is; what matters is sent again"
        )


class MessageTooLarge(UsageError):
    """A message of ours is larger than the limit, and was not sent."""

    def __init__(self, kind: str, size_bytes: int, max_bytes: int) -> None:
        super().__init__(
            f"a {kind} message of {size_bytes} bytes was not sent: the limit is {max_bytes} (max_message_bytes); "
            "send less at once, or raise the limit on all nodes"
        )
        self.size_bytes = size_bytes
        self.max_bytes = max_bytes


class Unreachable(UsageError):
    """The other end cannot be spoken to; a Line that has failed so stays failed."""

    def __init__(self, address: str, message: str) -> None:
        super().__init__(message)
        self.address = address


class NobodyThere(Unreachable):
    """Nothing listens at the address."""

    def __init__(self, address: str, reason: str = "connection refused") -> None:
        super().__init__(
            address, f"no node answers at '{address}' ({reason}); check the address, and that the node is running"
        )


class Silent(NobodyThere):
    """The address does not answer in time: the host is down, the network or a firewall in between swallows everything,
    or the node is stopped."""

    def __init__(self, address: str) -> None:
        super().__init__(address, "it is silent")


class WrongKey(Unreachable):
    """A node is there, and belongs to a mesh with another key."""

    def __init__(self, address: str) -> None:
        super().__init__(
            address,
            f"the node at '{address}' hung up on this mesh key: it belongs to another mesh, the key of the mesh was "
            "changed while this host was away, or it is no node at all; copy the key of its mesh to this host, and "
            "name the file in mesh.key_file or MESHFLOW_KEY_FILE",
        )


class NotANode(Unreachable):
    """Something else than a node listens at the address."""

    def __init__(self, address: str) -> None:
        super().__init__(address, f"what listens at '{address}' is not a node of MeshFlow; check the address and port")


class ConnectionLost(Unreachable):
    """The connection broke after it was made. Whether the last messages arrived is unknown."""

    def __init__(self, address: str) -> None:
        super().__init__(
            address, f"the connection to the node at '{address}' broke; the node, or its host, may be down"
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """Something for the log of a node."""

    where: str
    """The node id or the address it is about."""
    error: MeshflowError


class Problems:
    """Problems until they are logged; each kind once per place, so that a broken peer can't fill the log."""

    _MAX_KNOWN = 10_000

    def __init__(self) -> None:
        self._known: dict[tuple[str, type[MeshflowError]], None] = {}
        self._new: list[Problem] = []

    def note(self, where: str, error: MeshflowError) -> bool:
        """Keep it, unless it is known; False then."""
        kind = (where, type(error))
        if kind in self._known:
            return False
        if len(self._known) >= self._MAX_KNOWN:
            self._known.clear()
        self._known[kind] = None
        self._new.append(Problem(where, error))
        return True

    def drain(self) -> list[Problem]:
        """What is new since the last call."""
        new, self._new = self._new, []
        return new

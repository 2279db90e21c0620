"""The limits of the transport."""

from dataclasses import dataclass, fields

from meshflow.errors import UsageError


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """Sizes in bytes, durations in seconds; every value is above 0."""

    max_message_bytes: int = 64 * 1024 * 1024
    """Largest message that is sent or accepted. What a client sends at once (all payloads of a workflow) and a blob
    that goes to or comes from the store of another host must fit. Every connection may cost as much memory. Must be the
    same on all nodes, and pass within `heartbeat_timeout_s`: 64 MiB in 60 s needs 9 Mbit/s."""
    max_queued_messages: int = 10_000
    """Most messages that wait for one connection, at either end; further ones are dropped and counted. Above what the
    core has under way to a peer. Costs memory only while a peer is slow."""
    idle_s: float = 60.0
    """A connection that was not used for this long, up to twice as long, is closed. Lower saves descriptors in large
    meshes, where a node probes each other one rarely; making it again costs about 2 ms on a local network."""
    linger_s: float = 1.0
    """Longest time that closing waits for messages to go out. Above a few round trips, for the goodbye of a node."""
    reconnect_s: float = 0.05
    """First pause before a broken connection is tried again; doubles up to `max_reconnect_s`."""
    max_reconnect_s: float = 2.0
    """Longest such pause; with `connect_timeout_s`, the longest delay after a partition has healed."""
    connect_timeout_s: float = 3.0
    """Time for TCP to connect. Below its own retransmission times, which grow to minutes."""
    handshake_s: float = 5.0
    """Time for a new connection to prove itself; a silent one is closed then. Above the longest pause of a busy node's
    loop, which answers for it."""
    heartbeat_s: float = 10.0
    """Pause between two pings on a connection. They clear away what a cut network left; who is alive is for the
    membership to find out, much sooner."""
    heartbeat_timeout_s: float = 60.0
    """A connection on which no whole message arrives for this long after a ping is closed. Longer than the membership
    takes to judge a silent peer, and see `max_message_bytes`."""
    max_connections: int = 4096
    """Connections that a node takes in at a time, of members, clients and strangers. Each costs a descriptor, and up to
    `max_message_bytes` while a message arrives. When there are so many, further ones wait outside until others have
    gone (on Linux; elsewhere the limit is only told of)."""
    backlog: int = 1024
    """Connections that may wait to be accepted: a large mesh that finds a new owner comes all at once."""
    max_routes: int = 10_000
    """Connecting nodes and clients that a node remembers how to answer; the oldest goes first, and comes back with its
    next message."""
    max_sockets: int = 16_383
    """Sockets of one node. A peer needs three, and five descriptors; the system's own limit is often lower."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise UsageError(f"the transport setting {field.name!r} is {value!r}; expected a number above 0")

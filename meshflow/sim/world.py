"""What all simulated nodes share: one clock, one source of randomness, one network, one store, and a history.

Invariants:
1. Whatever is random comes from `rng`, so the same seed and the same calls give the same `digest()`, under any hash
   seed.
2. The history is written where things happen, not by the machines that are tested.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from meshflow.core.attempts import Attempt
from meshflow.core.events import Event
from meshflow.core.messages import Message
from meshflow.core.records import State
from meshflow.ids import NodeId, RunId
from meshflow.sim.clock import Clock
from meshflow.sim.network import Network
from meshflow.store.base import Store


class Listener(Protocol):
    """A node, as the network sees it."""

    def receive(self, sender: NodeId, message: Message) -> bool:
        """Take a message; False: there is no process any more."""

    def disconnected(self, peer: NodeId) -> None:
        """A connection to `peer` was closed or refused by the host at its other end."""


@dataclass(slots=True)
class Execution:
    """One execution of a task, as it really happened."""

    attempt: Attempt
    name: str
    node: NodeId
    started_at: float
    inputs: tuple[str, ...]
    """Names of the tasks whose results it was given."""
    result: bytes
    """What the task makes of them."""
    ended_at: float | None = None
    """None: it has not ended, or was killed with its node."""
    state: State | None = None
    """How it ended."""
    joined: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)
    """When each of its `join_dags` returned, and which dag runs it had started by then."""


class World:
    """The ground that the nodes of one simulated mesh stand on. `store` is shared by all of them."""

    def __init__(self, seed: int, store: Store) -> None:
        self.rng = random.Random(seed)
        self.clock = Clock()
        self.network = Network(random.Random(self.rng.random()))
        self.store = store
        self.events: list[tuple[float, NodeId, Event]] = []
        """(when, at which node, what)."""
        self.executions: list[Execution] = []
        """In the order in which they started."""
        self.dead_hosts: dict[NodeId, None] = {}
        """Nodes that went with their hosts, so that nothing answers in their place."""
        self.failures: Counter[tuple[RunId, int]] = Counter()
        """How often each task has failed as its program has it."""
        self.sent: Counter[str] = Counter()
        """How many messages of each kind were sent, by the name of their class."""
        self._listeners: dict[NodeId, Listener] = {}
        self._addresses: dict[str, NodeId] = {}
        self._broken: dict[tuple[NodeId, NodeId], None] = {}
        """`{(node, peer): None}`: the node knows that its connection to the peer, which is dead, is gone."""
        self._hash = hashlib.blake2b(digest_size=16)

    def listen(self, node: NodeId, address: str, listener: Listener) -> None:
        """Have what is sent to `node`, or to `address`, given to `listener`."""
        self._listeners[node] = listener
        self._addresses[address] = node

    def send(self, sender: NodeId, to: NodeId, message: Message) -> None:
        """Put a message on its way."""
        kind = type(message).__name__
        self.sent[kind] += 1
        listener = self._listeners.get(to)
        if listener is None:
            return
        for at in self.network.arrivals(sender, to, self.clock.now):
            self.trace(kind, sender, to, at)
            self.clock.after(at - self.clock.now, lambda: self._deliver(sender, to, listener, message))

    def _deliver(self, sender: NodeId, to: NodeId, listener: Listener, message: Message) -> None:
        if not listener.receive(sender, message):
            self.break_connection(sender, to)

    def break_connection(self, node: NodeId, peer: NodeId) -> None:
        """Let `node` learn, once, that `peer` has no process any more: its host says so, if it can be reached."""
        listener = self._listeners.get(node)
        if listener is None or (node, peer) in self._broken or peer in self.dead_hosts:
            return
        for at in self.network.arrivals(peer, node, self.clock.now):
            self._broken[(node, peer)] = None
            self.clock.after(at - self.clock.now, lambda: listener.disconnected(peer))

    def send_to(self, sender: NodeId, address: str, message: Message) -> None:
        """Put a message on its way to whoever has this address."""
        to = self._addresses.get(address)
        if to is not None:
            self.send(sender, to, message)

    def emit(self, node: NodeId, event: Event) -> None:
        """Note what happened at a node."""
        self.events.append((self.clock.now, node, event))
        self.trace(node, repr(event))

    def trace(self, *facts: str | float) -> None:
        """Have the digest stand for this, too."""
        self._hash.update(repr((self.clock.now, facts)).encode())

    def digest(self) -> str:
        """Stands for everything that has happened, in its order."""
        return self._hash.hexdigest()


@dataclass(slots=True)
class Life:
    """Whether a node runs. What it is to do while it is paused waits until it goes on."""

    is_alive: bool = True
    is_paused: bool = False
    slowness: float = 1.0
    """Its tasks take so many times longer."""
    _waiting: list[Callable[[], None]] = field(default_factory=list)

    def do(self, action: Callable[[], None]) -> None:
        """Now, after the pause, or never if the node is dead."""
        if self.is_paused:
            self._waiting.append(action)
        elif self.is_alive:
            action()

    def go_on(self) -> None:
        """End the pause, and do what has gathered."""
        self.is_paused = False
        waiting, self._waiting = self._waiting, []
        for action in waiting:
            self.do(action)

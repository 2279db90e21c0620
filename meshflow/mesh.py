"""A client's way into the mesh: one node that answers, another if it no longer does.

Invariants:
1. A client depends on no node: when the one it uses falls silent, the next that answers takes its place, and what was
   asked is asked again. Everything that may be asked of a store may be asked twice.
2. No wait is without end: no node is waited for longer than `timeout_s`, and if none answers, `NoMesh` says so.
3. News that are pushed while an answer is awaited are kept, up to `_MAX_NEWS_COUNT`; a watcher reads what is missing.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from meshflow.core.member import Member, Status
from meshflow.core.messages import (
    AskStatus,
    Drain,
    Draining,
    Message,
    NodeStatus,
    StoreAnswers,
    StoreAsk,
    Watch,
    Watched,
)
from meshflow.core.requests import Answer, Request
from meshflow.errors import StoreUnavailable, UsageError
from meshflow.ids import NodeId, RunId

_TURN_S = 0.02
"""How long each of several nodes is listened to in turn; the first usually answers within one turn."""

_MAX_NODES_TRIED = 3
"""A request that so many nodes in turn left unanswered is at fault itself, or the store is."""

_MAX_NEWS_COUNT = 10_000

_SHORT_ID = 8
"""Digits of a node id that are shown where its name is not known."""


class NoMesh(UsageError):
    """No node answered."""

    hint = "start one: meshflow node      or run without a mesh: meshflow run WORKFLOW"


class WrongKey(UsageError):
    """A node is there and does not accept the key of this client."""

    hint = "use the key file of that mesh: MESHFLOW_KEY_FILE, or mesh.key_file in the settings"


class Link(Protocol):
    """A connection to one node."""

    def send(self, message: Message) -> None:
        """Send, without waiting; the message may be lost."""

    def receive(self, timeout_s: float) -> Message | None:
        """The next message, or None if none came in time."""

    def problem(self) -> str:
        """Why the connection does not come about, as far as that is known; else empty."""

    def close(self) -> None:
        """Let go of it."""


Dial = Callable[[str], Link]
"""Opens a link to an address."""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """A node as the mesh and, if it answered, the node itself describe it."""

    member: Member
    status: NodeStatus | None
    """None: it did not answer in time."""

    @property
    def state(self) -> str:
        """`alive`, `draining`, `suspect`, `dead`, `left`, or `silent` if only this client gets no answer."""
        if self.member.status is not Status.ALIVE:
            return self.member.status.name.lower()
        if self.status is None:
            return "silent"
        return "draining" if self.member.is_draining else "alive"


class Mesh:
    """Talks to the mesh through one of the nodes at `addresses()`; it is also a `Store`, that of the mesh."""

    def __init__(
        self,
        dial: Dial,
        addresses: Callable[[], Sequence[str]],
        *,
        timeout_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.generation = 0
        """Counts the nodes that were connected to: a watch is to be asked for anew when it changes."""
        self._dial = dial
        self._addresses = addresses
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._link: Link | None = None
        self._number = 0
        self._members: dict[NodeId, Member] = {}
        self._news: deque[Watched] = deque(maxlen=_MAX_NEWS_COUNT)

    def connect(self) -> None:
        """Find a node that answers.

        Raises:
            NoMesh: none does.
            WrongKey: one refuses the key.
        """
        self._current()

    def close(self) -> None:
        """Let go of the node."""
        if self._link is not None:
            self._link.close()
        self._link = None

    def living(self) -> tuple[Member, ...]:
        """The members that are not known to be gone."""
        return tuple(member for member in self._members.values() if member.status in (Status.ALIVE, Status.SUSPECT))

    def node_name(self, node: NodeId) -> str:
        """What users call a node: its name, or the beginning of its id where that is not known; empty for no node."""
        member = self._members.get(node)
        return member.name if member is not None and member.name else node[:_SHORT_ID]

    # --- the store of the mesh ---

    def perform(self, requests: Sequence[Request]) -> list[Answer]:
        """Perform `requests` in order, in the store of the mesh, and answer each.

        Raises:
            NoMesh: no node answers.
            StoreUnavailable: the nodes answer that their store does not.
        """
        for _ in range(_MAX_NODES_TRIED):
            number = self._next_number()
            answer = self._exchange(StoreAsk(number, tuple(requests)), number)
            if isinstance(answer, StoreAnswers):
                if answer.error:
                    raise StoreUnavailable(answer.error)
                return list(answer.answers)
            self._drop()
        raise StoreUnavailable(f"nodes are there, but their store did not answer within {self._timeout_s:g} s")

    # --- hints, news and status ---

    def hint(self, message: Message) -> None:
        """Send something that does no harm if it is lost."""
        self._current().send(message)

    def watch(self, run: RunId, seconds: float) -> None:
        """Ask to be told for so long what happens in `run` (empty: in all runs)."""
        self._current().send(Watch(run, seconds))

    def news(self, timeout_s: float) -> Watched | None:
        """The next news that were pushed, or None if none came in time."""
        if self._news:
            return self._news.popleft()
        until = self._monotonic() + timeout_s
        link = self._current()
        while (rest := until - self._monotonic()) >= 0:
            message = link.receive(rest)
            if isinstance(message, Watched):
                return message
            if message is None:
                return None
        return None

    def nodes(self) -> list[NodeReport]:
        """Every member of the mesh with what it is doing now; all are asked at once."""
        self._current()
        self._refresh()
        members = sorted(self._members.values(), key=lambda member: (member.name, member.id))
        statuses = self._ask_each({m.id: m.address for m in members if m.status in (Status.ALIVE, Status.SUSPECT)})
        return [NodeReport(_fresher(member, statuses.get(member.id)), statuses.get(member.id)) for member in members]

    def drain(self, member: Member) -> bool:
        """Ask a node to finish what it has and leave; whether it said that it will."""
        number = self._next_number()
        link = self._dial(member.address)
        try:
            link.send(Drain(number))
            return isinstance(self._await(link, number), Draining)
        finally:
            link.close()

    # --- one node, or the next ---

    def _current(self) -> Link:
        if self._link is None:
            self._link = self._find()
            self.generation += 1
        return self._link

    def _drop(self) -> None:
        """The node does not answer: use another."""
        if self._link is not None:
            self._link.close()
        self._link = None

    def _find(self) -> Link:
        """Ask all addresses at once; the first that answers is taken."""
        addresses = list(dict.fromkeys([*self._addresses(), *(member.address for member in self.living())]))
        links = {address: self._dial(address) for address in addresses}
        taken: Link | None = None
        try:
            for link in links.values():
                link.send(AskStatus(self._next_number()))
            until = self._monotonic() + self._timeout_s
            while links and self._monotonic() < until:
                for link in links.values():
                    message = link.receive(_TURN_S)
                    if isinstance(message, NodeStatus):
                        self._learn(message)
                        taken = link
                        return link
            raise _refusal(links, self._timeout_s)
        finally:
            for link in links.values():
                if link is not taken:
                    link.close()

    def _exchange(self, message: Message, number: int) -> Message | None:
        """Send to the present node and await the answer of that number; None if it does not come in time."""
        link = self._current()
        link.send(message)
        return self._await(link, number)

    def _await(self, link: Link, number: int) -> Message | None:
        until = self._monotonic() + self._timeout_s
        while (rest := until - self._monotonic()) > 0:
            message = link.receive(min(rest, _TURN_S * 10))
            if message is None and link.problem():
                return None
            if isinstance(message, Watched):
                self._news.append(message)
            elif getattr(message, "number", None) == number:
                return message
        return None

    def _refresh(self) -> None:
        """Hear of the members anew."""
        number = self._next_number()
        answer = self._exchange(AskStatus(number), number)
        if isinstance(answer, NodeStatus):
            self._learn(answer)

    def _ask_each(self, addresses: dict[NodeId, str]) -> dict[NodeId, NodeStatus]:
        links = {node: self._dial(address) for node, address in addresses.items()}
        statuses: dict[NodeId, NodeStatus] = {}
        try:
            for link in links.values():
                link.send(AskStatus(self._next_number()))
            until = self._monotonic() + self._timeout_s
            for node, link in links.items():
                while node not in statuses and (rest := until - self._monotonic()) > 0:
                    message = link.receive(rest)
                    if isinstance(message, NodeStatus):
                        statuses[node] = message
                    elif message is None:
                        break
        finally:
            for link in links.values():
                link.close()
        return statuses

    def _learn(self, status: NodeStatus) -> None:
        self._members.update((member.id, member) for member in (*status.members, status.member))

    def _next_number(self) -> int:
        self._number += 1
        return self._number


def _refusal(links: dict[str, Link], timeout_s: float) -> UsageError:
    """Why none of the nodes at these addresses was found."""
    if not links:
        return NoMesh("no mesh found: no node runs on this host")
    problems = {address: link.problem() for address, link in links.items()}
    for address, problem in problems.items():
        if "key" in problem:
            return WrongKey(f"the node at {address} refuses this client: {problem}")
    told = "; ".join(f"{address}: {problem or 'no answer'}" for address, problem in problems.items())
    return NoMesh(f"no mesh found: no node answered within {timeout_s:g} s ({told})")


def _fresher(member: Member, status: NodeStatus | None) -> Member:
    """What a node says of itself goes before what others say."""
    return member if status is None else status.member

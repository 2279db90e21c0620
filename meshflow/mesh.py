"""A client's way into the mesh: one node that answers, another if it no longer does.

Invariants:
1. A client depends on no node: when the one it uses is gone or silent, the next that answers takes its place, and what
   was asked is asked again. Everything that may be asked of a store may be asked twice.
2. No node is waited for longer than `timeout_s`; if none answers, `NoMesh` says so.
3. News that are pushed while an answer is awaited are kept, up to `_MAX_NEWS_COUNT`; a watcher reads what is missing.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from meshflow.call_maker import CallMaker
from meshflow.core.client_messages import AskStatus, Drain, Draining, NodeStatus, StoreAnswers, StoreAsk, Watched
from meshflow.core.member import Member, Status
from meshflow.core.messages import Message
from meshflow.core.requests import Answer, Request
from meshflow.errors import PeerError, StoreUnavailable, UsageError
from meshflow.ids import NodeId
from meshflow.runtime.transport.problems import MessageTooLarge, Unreachable, WrongKey
from meshflow.store.remote import AskTooLarge, RemoteStore

_TURN_S = 0.02
"""How long each of several nodes is listened to in turn; the first usually answers within one turn."""

_MAX_NEWS_COUNT = 10_000

_SHORT_ID = 8
"""Digits of a node id that are shown where its name is not known."""


class NoMesh(UsageError):
    """No node answered."""

    hint = "start a node: meshflow node      or run without a mesh: meshflow run WORKFLOW"


class Link(Protocol):
    """A connection to one node; `runtime.transport.line.Line` is one."""

    def send(self, message: Message) -> None:
        """Send, without waiting; the message may be lost.

        Raises:
            MessageTooLarge: it cannot be sent.
        """

    def receive(self, timeout_s: float, interrupt: int = -1) -> Message | None:
        """The next message; None if none came in time, or until the descriptor `interrupt` was readable.

        Raises:
            Unreachable: the node cannot be spoken to, now and for ever over this link.
            PeerError: what it sent makes no sense.
        """

    def close(self) -> None:
        """Let go of it."""


Dial = Callable[[str], Link]
"""Opens a link to an address, without making contact yet."""


Hire = Callable[[Sequence[Member], int | None], CallMaker]
"""Starts a maker of calls, given who is alive and how many may run at a time."""


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
    """Talks to the mesh through one of the nodes at `addresses()`; it is also a `Store`, that of the mesh. For one
    thread."""

    def __init__(
        self,
        dial: Dial,
        addresses: Callable[[], Sequence[str]],
        hire: Hire | None = None,
        *,
        timeout_s: float,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        interrupt: int = -1,
    ) -> None:
        self.now = now
        """The clock of this client, in monotonic seconds."""
        self.sleep = sleep
        """Passes the time without listening."""
        self.generation = 0
        """Counts the nodes that were connected to: a watch is to be asked for anew when it changes."""
        self._dial = dial
        self._addresses = addresses
        self._hire = hire
        self._timeout_s = timeout_s
        self._interrupt = interrupt
        self._link: Link | None = None
        self._address = ""
        self._number = 0
        self._members: dict[NodeId, Member] = {}
        self._names: dict[str, str] = {}
        self._asked_about: dict[NodeId, None] = {}
        self._news: deque[Watched] = deque(maxlen=_MAX_NEWS_COUNT)
        self._store = RemoteStore(_Call(self), self._known_addresses)

    def connect(self) -> None:
        """Find a node that answers.

        Raises:
            NoMesh: none does.
            WrongKey: those that are there do not accept the key of this client.
        """
        self._current()

    def close(self) -> None:
        """Let go of the node; the next call finds one anew."""
        if self._link is not None:
            self._link.close()
        self._link = None
        self._address = ""

    def hire(self, max_out: int | None = None) -> CallMaker:
        """Start what makes calls on the mesh, at most `max_out` at a time. None: as many as the mesh takes.

        Raises:
            NoMesh: no node answers.
        """
        assert self._hire is not None, "this mesh was made without"
        self._current()
        return self._hire(self.living(), max_out)

    def another(self, interrupt: int = -1) -> "Mesh":
        """A connection to the same mesh, for another thread; its `news` does not wait while the descriptor `interrupt`
        is readable."""
        known = self._known_addresses()
        return Mesh(
            self._dial,
            lambda: [*known, *self._addresses()],
            self._hire,
            timeout_s=self._timeout_s,
            now=self.now,
            sleep=self.sleep,
            interrupt=interrupt,
        )

    def living(self) -> tuple[Member, ...]:
        """The members that are not known to be gone, as they were last heard of."""
        return tuple(member for member in self._members.values() if member.status in (Status.ALIVE, Status.SUSPECT))

    def node_name(self, node: NodeId) -> str:
        """What users call a node: its name, or the beginning of its id where that is not known; empty for no node. Who
        is not known is asked about, so that the name may be known the next time."""
        name = self._names.get(node)
        if name is None and node and node not in self._asked_about and self._link is not None:
            self._asked_about[node] = None
            self._link.send(AskStatus(self._next_number()))
        return name or node[:_SHORT_ID]

    def perform(self, requests: Sequence[Request]) -> list[Answer]:
        """Perform `requests` in order, in the store of the mesh, and answer each.

        Raises:
            NoMesh: no node answers.
            StoreUnavailable: nodes answer, and say that their store does not.
        """
        self._current()
        try:
            return self._store.perform(requests)
        except StoreUnavailable as problem:
            if self._link is None:
                raise NoMesh(f"no node of the mesh answers any more: {problem}") from problem
            raise

    def hint(self, message: Message) -> None:
        """Send something that does no harm if it is lost.

        Raises:
            NoMesh: no node answers.
        """
        self._current().send(message)

    def news(self, timeout_s: float) -> Watched | None:
        """The next news that were pushed, or None if none came in time.

        Raises:
            NoMesh: no node answers.
        """
        if self._news:
            return self._news.popleft()
        link = self._current()
        until = self.now() + timeout_s
        while True:
            message = self._receive(link, max(0.0, until - self.now()), self._interrupt)
            if isinstance(message, Watched):
                return message
            if isinstance(message, NodeStatus):
                self._learn(message)
            if message is None or self.now() >= until:
                return None

    def nodes(self) -> list[NodeReport]:
        """Every member of the mesh with what it is doing now; all are asked at once.

        Raises:
            NoMesh: no node answers.
        """
        number = self._next_number()
        link = self._current()
        link.send(AskStatus(number))
        status = self._answer(link, number)
        if isinstance(status, NodeStatus):
            self._learn(status)
        else:
            self.close()
            self._current()  # which learns from the node that takes its place
        answers = self.ask_each(self.living(), lambda _, number: AskStatus(number))
        statuses = {node: answer for node, answer in answers.items() if isinstance(answer, NodeStatus)}
        members = sorted(self._members.values(), key=lambda member: (member.name, member.id))
        return [_report(member, statuses.get(member.id)) for member in members]

    def drain(self, member: Member) -> bool:
        """Ask a node to finish what it has and leave; whether it said that it will."""
        number = self._next_number()
        link = self._dial(member.address)
        try:
            link.send(Drain(number))
            return isinstance(self._answer(link, number), Draining)
        finally:
            link.close()

    def ask_each(self, members: Sequence[Member], ask: Callable[[Member, int], Message]) -> dict[NodeId, Message]:
        """What each member that answers says to `ask(member, number)`; one wait is for all of them."""
        number = self._next_number()
        links = {member: self._dial(member.address) for member in members}
        answers: dict[NodeId, Message] = {}
        try:
            for member, link in links.items():
                link.send(ask(member, number))
            until = self.now() + self._timeout_s
            for member, link in links.items():
                message = self._receive(link, max(0.0, until - self.now()))
                if getattr(message, "number", None) == number and message is not None:
                    answers[member.id] = message
        finally:
            for link in links.values():
                link.close()
        return answers

    # --- the node in use ---

    def ask_store(self, address: str, ask: StoreAsk) -> StoreAnswers:
        """What the node at `address`, which is the one in use from here on, answers.

        Raises:
            StoreUnavailable: it does not.
            AskTooLarge: the ask does not fit into a message.
        """
        link = self._use(address)
        try:
            link.send(ask)
        except MessageTooLarge as problem:
            raise AskTooLarge(problem.size_bytes, problem.max_bytes) from problem
        answers = self._answer(link, ask.number)
        if answers is None and self._link is None:
            # The connection broke. A node breaks it when it changes its key, too, and is still there.
            link = self._use(address)
            link.send(ask)
            answers = self._answer(link, ask.number)
        if isinstance(answers, StoreAnswers):
            return answers
        self.close()
        raise StoreUnavailable(f"no answer from '{address}' within {self._timeout_s:g} s")

    def _current(self) -> Link:
        """The link to the node in use; without one, to the first that answers."""
        if self._link is None:
            self._address, self._link = self._find()
            self.generation += 1
        return self._link

    def _use(self, address: str) -> Link:
        if self._link is None or self._address != address:
            self.close()
            self._address, self._link = address, self._dial(address)
            self.generation += 1
        return self._link

    def _known_addresses(self) -> list[str]:
        """Where nodes may be, the one in use first."""
        known = [self._address, *(member.address for member in self.living()), *self._addresses()]
        return list(dict.fromkeys(address for address in known if address))

    def _find(self) -> tuple[str, Link]:
        """Ask at all known addresses at once; the first that answers is taken."""
        links = {address: self._dial(address) for address in self._known_addresses()}
        waiting = dict(links)
        problems: dict[str, Exception] = {}
        taken = ""
        try:
            for link in links.values():
                link.send(AskStatus(self._next_number()))
            until = self.now() + self._timeout_s
            while waiting and self.now() < until:
                for address, link in list(waiting.items()):
                    try:
                        status = link.receive(_TURN_S)
                    except (Unreachable, PeerError) as problem:
                        problems[address] = problem
                        del waiting[address]
                        continue
                    if isinstance(status, NodeStatus):
                        self._learn(status)
                        taken = address
                        return address, link
            raise _refusal(list(links), problems, self._timeout_s)
        finally:
            for address, link in links.items():
                if address != taken:
                    link.close()

    def _receive(self, link: Link, timeout_s: float, interrupt: int = -1) -> Message | None:
        """The next message; None if there is none, or none will come, which ends the use of the link."""
        try:
            return link.receive(timeout_s, interrupt)
        except (Unreachable, PeerError):
            if link is self._link:
                self.close()
            return None

    def _answer(self, link: Link, number: int) -> Message | None:
        """The answer of that number, or None if it did not come in time."""
        until = self.now() + self._timeout_s
        while (rest := until - self.now()) > 0:
            message = self._receive(link, rest)
            if message is None:
                return None
            if isinstance(message, Watched):
                self._news.append(message)
            elif getattr(message, "number", None) == number:
                return message
        return None

    def _learn(self, status: NodeStatus) -> None:
        self._members.update((member.id, member) for member in (*status.members, status.member))
        self._names |= status.names | {member.id: member.name for member in self._members.values()}

    def _next_number(self) -> int:
        self._number += 1
        return self._number


class _Call:
    """What `RemoteStore` calls: the node in use, or the next."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    def __call__(self, holder: str, ask: StoreAsk, /) -> StoreAnswers:
        return self._mesh.ask_store(holder, ask)

    def close(self) -> None:
        self._mesh.close()


def _refusal(addresses: list[str], problems: dict[str, Exception], timeout_s: float) -> UsageError:
    """Why none of the nodes at these addresses was found."""
    for problem in problems.values():
        if isinstance(problem, WrongKey):
            return problem
    if not addresses:
        return NoMesh("no mesh found: no node runs on this host")
    told = [str(problem) for problem in problems.values()]
    told += [f"'{address}' did not answer within {timeout_s:g} s" for address in addresses if address not in problems]
    return NoMesh("no mesh found: " + "; ".join(told))


def _report(member: Member, status: NodeStatus | None) -> NodeReport:
    """What a node says of itself goes before what others say."""
    return NodeReport(member if status is None else status.member, status)

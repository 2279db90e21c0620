"""A mesh of nodes that are objects: they answer from one memory store, and do what a story tells while clients wait."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from meshflow.core.attempts import Attempt
from meshflow.core.client_messages import AskStatus, Drain, Draining, NodeStatus, StoreAnswers, StoreAsk, Watch, Watched
from meshflow.core.member import Member, Status
from meshflow.core.messages import Message, RunOpen
from meshflow.ids import NodeId, RunId, workflow_of
from meshflow.mesh import Mesh
from meshflow.runtime.transport.problems import NobodyThere, Unreachable
from meshflow.store.base import Store
from meshflow.store.memory import MemoryStore
from meshflow.store.remote import ANSWERS_TOO_LARGE, TooLargeForMesh
from tests.client.run_stories import OWNER, WORKER

TIMEOUT_S = 5.0


class FakeClock:
    """Time passes only by waiting."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class FakeNode:
    """One node. `is_silent`: it takes messages and answers none. `problem`: why nobody can speak to it."""

    member: Member
    running: tuple[tuple[Attempt, str, float], ...] = ()
    waiting: dict[str, int] = field(default_factory=dict)
    owned: tuple[RunId, ...] = ()
    store_error: str = ""
    is_silent: bool = False
    problem: Unreachable | None = None
    heard: list[Message] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)


class FakeLink:
    """A client's connection to one node of a FakeMesh."""

    def __init__(self, mesh: "FakeMesh", node: FakeNode | None, address: str) -> None:
        self._mesh = mesh
        self._node = node
        self._address = address
        self.inbox: deque[Message] = deque()
        self.is_closed = False

    def send(self, message: Message) -> None:
        if self._node is not None and not self._node.is_silent and self._node.problem is None:
            self._node.heard.append(message)
            self.inbox.extend(self._mesh.answer(self._node, message, self))

    def receive(self, timeout_s: float, interrupt: int = -1) -> Message | None:
        assert not self.is_closed
        if self._node is None:
            raise NobodyThere(self._address, "connection refused")
        if self._node.problem is not None:
            raise self._node.problem
        if not self.inbox and timeout_s > 0:
            self._mesh.pass_time(timeout_s)
        return self.inbox.popleft() if self.inbox else None

    def close(self) -> None:
        self.is_closed = True


class FakeMesh:
    """Two nodes, alice and bob, and their store. `story` holds what is to happen, one step per wait of a client."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store: Store = MemoryStore()
        self.nodes = {
            node.member.address: node
            for node in (
                FakeNode(_member(OWNER, "alice", 1, ("workflow", "dag"))),
                FakeNode(_member(WORKER, "bob", 2, ("task",))),
            )
        }
        self.story: deque[Callable[[], None]] = deque()
        self.links: list[FakeLink] = []
        self._watchers: dict[int, tuple[FakeLink, Watch]] = {}

    @property
    def alice(self) -> FakeNode:
        return self.nodes["tcp://192.0.2.1:1"]

    @property
    def bob(self) -> FakeNode:
        return self.nodes["tcp://192.0.2.1:2"]

    def connect(self) -> Mesh:
        """What a client uses."""
        return Mesh(self.dial, lambda: list(self.nodes), timeout_s=TIMEOUT_S, now=self.clock, sleep=self.clock.sleep)

    def dial(self, address: str) -> FakeLink:
        link = FakeLink(self, self.nodes.get(address), address)
        self.links.append(link)
        return link

    def push(self, news: Watched) -> None:
        """Tell all who watch, those who do not want the tasks only of the workflow run."""
        is_of_tasks = news.batch is None or workflow_of(news.batch.run) != news.batch.run
        for link, watch in self._watchers.values():
            if not link.is_closed and (watch.with_tasks or not is_of_tasks):
                link.inbox.append(news)

    def pass_time(self, seconds: float) -> None:
        """A client waits: the next step of the story happens, or else time passes."""
        if self.story:
            self.story.popleft()()
        else:
            self.clock.sleep(seconds)

    def answer(self, node: FakeNode, message: Message, link: FakeLink) -> list[Message]:
        match message:
            case AskStatus(number=number):
                return [self._status(node, number)]
            case StoreAsk(number=number, requests=requests):
                if node.store_error:
                    return [StoreAnswers(number, (), node.store_error)]
                try:
                    return [StoreAnswers(number, tuple(self.store.perform(requests)))]
                except TooLargeForMesh:
                    return [StoreAnswers(number, (), ANSWERS_TOO_LARGE)]
            case Watch():
                self._watchers[id(link)] = (link, message)
            case Drain(number=number):
                node.member = replace(node.member, is_draining=True)
                return [Draining(number)]
            case RunOpen():
                pass
            case _:
                raise AssertionError(f"a client does not send {message!r}")
        return []

    def _status(self, node: FakeNode, number: int) -> NodeStatus:
        return NodeStatus(
            number=number,
            member=node.member,
            version="0.1.0",
            running=node.running,
            waiting=node.waiting,
            owned=node.owned,
            members=tuple(each.member for each in self.nodes.values()),
            done_count=7,
            uptime_s=61.5,
            store_error=node.store_error,
            children=(11, 12),
            names=node.names,
        )


def _member(node: NodeId, name: str, port: int, queues: tuple[str, ...]) -> Member:
    return Member(
        id=node,
        address=f"tcp://192.0.2.1:{port}",
        status=Status.ALIVE,
        name=name,
        host="lab1",
        pid=4000 + port,
        queues=queues,
        slots=2,
        store="sqlite on lab1",
    )

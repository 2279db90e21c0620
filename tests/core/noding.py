"""A whole node beside a store, driven by hand, for the tests of the node."""

import random
from typing import Any

from meshflow.core.effects import Ask, Effect, Emit, Send, Start
from meshflow.core.events import Event
from meshflow.core.member import Member
from meshflow.core.membership_settings import MembershipSettings
from meshflow.core.messages import Gossip, Message, News
from meshflow.core.node import Node, NodeSettings
from meshflow.core.requests import CreateRun
from meshflow.core.worker_settings import WorkerSettings
from meshflow.ids import NodeId
from meshflow.store.memory import MemoryStore
from tests.core.builders import ME, dag, member, workflow_record
from tests.core.owning import WALL_OFFSET_S, Blueprints


class Noding:
    """A node of two slots; `members` introduce themselves to it at once."""

    def __init__(
        self,
        *members: Member,
        blueprints: Blueprints | None = None,
        membership: MembershipSettings | None = None,
        **me: Any,
    ) -> None:
        self.blueprints = blueprints or Blueprints(dag("a b", "a>b"))
        self.store = MemoryStore()
        settings = NodeSettings(membership or MembershipSettings(), WorkerSettings(slots=2))
        self.node = Node(member(ME, **me), settings, self.blueprints, random.Random(7), 0.0, version="1.2.3")
        self.node.wall_offset_s = WALL_OFFSET_S
        self.asks: list[Ask] = []
        self.starts: list[Start] = []
        self.sent: list[Send] = []
        self.events: list[Event] = []
        self.others: list[Effect] = []
        """All further effects."""
        self.do(self.node.start((), 0.0))
        for each in members:
            self.handle(each.id, Gossip(News(members=(each,))))
        self.events.clear()

    def submit(self) -> None:
        """Have the workflow run in the store."""
        created = CreateRun(workflow_record(), self.blueprints.blobs, {"meta": {}, "data": {}})
        assert self.store.perform([created]) == [True]

    def do(self, effects: list[Effect]) -> list[Effect]:
        """Perform effects; gives them."""
        for effect in self.node.perform(effects):
            match effect:
                case Ask():
                    self.asks.append(effect)
                case Start():
                    self.starts.append(effect)
                case Emit(event=event):
                    self.events.append(event)
                case Send():
                    self.sent.append(effect)
                case _:
                    self.others.append(effect)
        return effects

    def handle(self, sender: NodeId, message: Message, now: float = 0.0) -> list[Effect]:
        """A message comes; gives what it brings at once and with the flush."""
        effects = self.do(self.node.handle(sender, message, now))
        return effects + self.do(self.node.flush(now))

    def answer(self, now: float = 0.0) -> None:
        """Have the store answer what was asked so far."""
        asks, self.asks = self.asks, []
        for ask in asks:
            self.do(self.node.answered(ask.token, self.store.perform(ask.requests), now))

    def settle(self, now: float = 0.0) -> None:
        """Flush and answer until nothing moves."""
        self.do(self.node.flush(now))
        while self.asks:
            self.answer(now)
            self.do(self.node.flush(now))

    def pop_sent(self, to: NodeId) -> list[Message]:
        """What was sent to that node since the last call, without what only concerns membership."""
        messages = [send.message for send in self.sent if send.to == to]
        self.sent = [send for send in self.sent if send.to != to]
        return messages

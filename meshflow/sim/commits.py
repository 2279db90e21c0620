"""How a simulated node writes to the shared store: in group commits, with all that can go wrong on the way.

A commit leaves the node, reaches the store a little later, and is answered a little later again. Between these three
instants the node may be paused or killed, the store may be away, and the answer may be lost, with all or only the first
requests applied: then the node sends the whole commit again, as the real shell does. It does so too when the store that
the tests gave raises StoreUnavailable.

Invariants:
1. A node has one commit on its way at a time; what is asked meanwhile goes with the next one.
2. What left the node reaches the store even if the node dies: a stale owner's last words come late.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from meshflow.core.effects import Ask
from meshflow.core.requests import Request
from meshflow.errors import StoreUnavailable
from meshflow.ids import NodeId
from meshflow.sim.world import Life, World

_RETRY_S = 0.1
"""Seconds after which a commit without an answer is sent again."""


Reply = Callable[[Sequence[object]], None]


@dataclass(slots=True)
class StoreTrouble:
    """What is wrong with the store. Shares are of 1."""

    delay_s: float = 0.002
    """About how long a commit takes, there and back."""
    reply_loss: float = 0.0
    """Share of commits whose answer is lost; half of them were applied in part only."""
    stragglers: float = 0.0
    """Share of commits that reach the store up to `straggle_s` late."""
    straggle_s: float = 2.0
    is_away: bool = False
    cut_off: dict[NodeId, None] = field(default_factory=dict)
    """Nodes that cannot reach the store."""

    def mend(self) -> None:
        """Nothing is wrong any more."""
        self.reply_loss = self.stragglers = 0.0
        self.is_away = False
        self.cut_off.clear()


class Commits:
    """The way of one node to the store. `answered` is given each Ask with its answers."""

    def __init__(
        self,
        world: World,
        trouble: StoreTrouble,
        node: NodeId,
        life: Life,
        answered: Callable[[Ask, Sequence[object]], None],
    ) -> None:
        self._world = world
        self._trouble = trouble
        self._node = node
        self._life = life
        self._answered = answered
        self._asks: list[Ask] = []
        self._replies: dict[int, Reply] = {}
        """Who waits for the answers that are not for the core, by token."""
        self._is_busy = False

    @property
    def is_idle(self) -> bool:
        """Whether everything that was asked has been answered."""
        return not self._is_busy and not self._asks

    def ask(self, ask: Ask) -> None:
        """Have this performed."""
        self._asks.append(ask)
        self._begin()

    def ask_for_task(self, requests: Sequence[Request], reply: Reply) -> None:
        """Have this performed for a task; `reply` gets the answers."""
        token = -len(self._replies) - 1
        self._replies[token] = reply
        self.ask(Ask(token, tuple(requests)))

    def _begin(self) -> None:
        if self._is_busy or not self._asks:
            return
        self._is_busy = True
        asks, self._asks = self._asks, []
        self._after(0.5, lambda: self._life.do(lambda: self._leave(asks)))

    def _after(self, share: float, action: Callable[[], None]) -> None:
        """Call `action` after about this share of the time that a commit takes."""
        self._world.clock.after(share * self._trouble.delay_s * self._world.rng.uniform(0.5, 1.5), action)

    def _again(self, asks: list[Ask]) -> None:
        self._world.clock.after(_RETRY_S, lambda: self._life.do(lambda: self._leave(asks)))

    def _leave(self, asks: list[Ask]) -> None:
        if self._trouble.stragglers and self._world.rng.random() < self._trouble.stragglers:
            self._world.clock.after(self._world.rng.uniform(0.0, self._trouble.straggle_s), lambda: self._reach(asks))
        else:
            self._after(0.25, lambda: self._reach(asks))

    def _reach(self, asks: list[Ask]) -> None:
        trouble, rng = self._trouble, self._world.rng
        if trouble.is_away or self._node in trouble.cut_off:
            self._again(asks)
            return
        requests: list[Request] = [request for ask in asks for request in ask.requests]
        if trouble.reply_loss and rng.random() < trouble.reply_loss:
            applied_count = len(requests) if rng.random() < 0.5 else rng.randrange(len(requests))
            self._world.store.perform(requests[:applied_count])
            self._again(asks)
            return
        try:
            answers = self._world.store.perform(requests)
        except StoreUnavailable:
            self._again(asks)
            return
        self._after(0.25, lambda: self._life.do(lambda: self._tell(asks, answers)))

    def _tell(self, asks: list[Ask], answers: list[object]) -> None:
        self._is_busy = False
        start = 0
        for ask in asks:
            end = start + len(ask.requests)
            if ask.token in self._replies:
                self._replies[ask.token](answers[start:end])
            else:
                self._answered(ask, answers[start:end])
            start = end
        self._begin()

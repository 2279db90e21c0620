"""What is around the core of one simulated node: it performs effects as the real loop does, in virtual time.

Each input is followed by a flush, and the node is woken at its deadline, a little late.
"""

import math
from collections.abc import Callable, Sequence
from typing import assert_never

from meshflow.core.effects import (
    AnswerTask,
    Ask,
    Effect,
    Emit,
    Forget,
    Kill,
    Recall,
    Resize,
    Send,
    SendTo,
    Start,
    TellStopping,
)
from meshflow.core.messages import Message
from meshflow.core.node import Node
from meshflow.ids import NodeId
from meshflow.sim.commits import Commits, StoreTrouble
from meshflow.sim.tasks import Tasks
from meshflow.sim.world import Life, World

_TICK_SLACK_S = 0.0005
"""A real loop wakes up a little after its deadline."""

_LATE_S = 0.05
"""A node that wakes up this much after its deadline tells its core so, as the real loop does."""


class Shell:
    """One simulated node, started at once. `seeds` are addresses to join through."""

    def __init__(self, world: World, trouble: StoreTrouble, core: Node, seeds: Sequence[str]) -> None:
        self.core = core
        self.life = Life()
        self._world = world
        self._wake_at = math.inf
        self._commits = Commits(world, trouble, core.id, self.life, self._answered)
        self._tasks = Tasks(world, self.life, core, self._commits, self._flush)
        world.listen(core.id, self.address, self)
        self._perform(core.start(seeds, world.clock.now))
        self._flush()

    @property
    def id(self) -> NodeId:
        """The node's id."""
        return self.core.id

    @property
    def address(self) -> str:
        """Where others reach it."""
        return self.core.membership.me.address

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs here, nothing is driven from here, and nothing is left to tell."""
        return not self._tasks and not self.core.status.owned and self._commits.is_idle

    @property
    def running_count(self) -> int:
        """How many task processes there are."""
        return len(self._tasks)

    def receive(self, sender: NodeId, message: Message) -> bool:
        """Take a message, after a pause if there is one; False: the node is dead."""
        self.input(lambda core: core.handle(sender, message, self._world.clock.now))
        return self.life.is_alive

    def disconnected(self, peer: NodeId) -> None:
        """The connection to `peer` is gone."""
        self.input(lambda core: core.disconnected(peer, self._world.clock.now))

    def input(self, action: Callable[[Node], list[Effect]]) -> None:
        """Let something happen to the core, after a pause if there is one."""

        def act() -> None:
            self._perform(self.core.perform(action(self.core)))
            self._flush()

        self.life.do(act)

    def kill(self) -> None:
        """The node and its tasks are gone."""
        self.life.is_alive = False
        self._tasks.end_all()

    def pause(self) -> None:
        """SIGSTOP: it keeps its state and does nothing; its task processes go on."""
        self.life.is_paused = True

    def resume(self) -> None:
        """SIGCONT: it reads what has come meanwhile."""
        now = self._world.clock.now
        late_s = now - self._wake_at
        if late_s > _LATE_S:
            self.core.membership.loop_was_late(late_s, now)
        self.life.go_on()

    # --- inside ---

    def _answered(self, ask: Ask, answers: Sequence[object]) -> None:
        self.input(lambda core: core.answered(ask.token, answers, self._world.clock.now))

    def _flush(self) -> None:
        now = self._world.clock.now
        self._perform(self.core.flush(now))
        if self.core.is_drained and self._commits.is_idle and self.life.is_alive:
            self._perform(self.core.leave(now))
            self.life.is_alive = False
            return
        due = max(self.core.deadline(), now)
        if due < self._wake_at:
            self._wake_at = due
            self._world.clock.after(due - now + _TICK_SLACK_S, lambda: self.life.do(lambda: self._wake(due)))

    def _wake(self, at: float) -> None:
        if at == self._wake_at:
            self._wake_at = math.inf
            self._flush()

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to=to, message=message):
                    self._world.send(self.id, to, message)
                case SendTo(address=address, message=message):
                    self._world.send_to(self.id, address, message)
                case Ask():
                    self._commits.ask(effect)
                case Start(job=job, codes=codes):
                    self._tasks.start(job, codes[job.payload])
                case Resize(slots=slots):
                    self._tasks.resize(slots)
                case Recall(attempts=attempts):
                    self._tasks.recall(attempts)
                case Kill(attempt=attempt, reason=reason):
                    self._tasks.kill(attempt, reason)
                case AnswerTask():
                    self._tasks.answer(effect)
                case Emit(event=event):
                    self._world.emit(self.id, event)
                case TellStopping() | Forget():
                    pass
                case _:
                    assert_never(effect)

"""The thread of a program that makes calls on the mesh: a `Caller` of the core, with sockets and a clock.

Threads of the program put calls into its inbox. It speaks to each node directly, takes in all that has arrived, and
settles futures; callbacks of futures run in it.

Invariants:
1. Every future that was handed over is settled, whatever happens: also if the client is closed at that moment, the
   program ends, or this thread fails.
2. Calls that wait for what is not there, a queue that no node serves or a mesh that does not answer, wait on, and are
   told of in the log of the program.
"""

import atexit
import logging
import math
import os
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from typing import Any

from meshflow.alarm import Alarm
from meshflow.core.caller import Caller
from meshflow.core.caller_settings import CallerSettings
from meshflow.core.calling import Call
from meshflow.core.client_messages import AskStatus, NodeStatus
from meshflow.core.dispatch import DispatchSettings
from meshflow.core.effects import Effect, Send
from meshflow.core.ended import Ended
from meshflow.core.leasing import Feed, HangUp
from meshflow.core.member import Member, Status
from meshflow.core.messages import Message
from meshflow.errors import PeerError, UsageError
from meshflow.ids import NodeId
from meshflow.lease_door import LeaseDoor
from meshflow.models.calls import load_results, unpack_flat
from meshflow.runtime.keys import MeshKey
from meshflow.runtime.transport.connections import SWEEPS, Connections, Target
from meshflow.runtime.transport.problems import Problems
from meshflow.runtime.transport.settings import TransportSettings
from meshflow.runtime.transport.sockets import open_context
from meshflow.runtime.transport.wakeups import Wakeups
from meshflow.wire import decode_message, encode_message

_ASK_S = 1.0
"""How often a node is asked who is alive, while calls are out or wait; and how often keys are looked at."""

_WARN_AFTER = 5
"""Looks around, after which the program is told that its calls wait in vain."""

_EXIT_S = 5.0
"""How long the end of the program waits at most for this thread, which may be in a callback of the program."""

_LAST_WORDS_S = 1.0
"""How long a client that leaves waits for the last of what its calls have printed."""

_LAST_LOOK_MS = 20

_RECEIVE_LIMIT = 256

_ANSWER_FRAMES = 2

_LOG = logging.getLogger("meshflow.calls")


class CallFailed(UsageError):
    """A call came to no result: its process died, or its node did too often."""


class CallerThread:
    """Makes calls as the client `me`, until it is closed. `members` is who was alive of late, `seeds` tells addresses
    where nodes may be once none of them answers. `max_out` is that of `CallerSettings`."""

    def __init__(
        self,
        me: NodeId,
        keys: Callable[[], Sequence[MeshKey]],
        seeds: Callable[[], Sequence[str]],
        members: Sequence[Member],
        settings: TransportSettings,
        max_out: int | None = None,
    ) -> None:
        caller_settings = CallerSettings(max_message_bytes=settings.max_message_bytes, max_out=max_out)
        self._poll = select.poll()
        self._door = LeaseDoor(me, self._poll)
        self._caller = Caller(me, caller_settings, DispatchSettings(), self._door.name, self._door)
        self._find_keys = keys
        self._keys = tuple(keys())
        self._seeds = seeds
        self._settings = settings
        self._context = open_context(settings)
        self._wakeups = Wakeups()
        self._problems = Problems()
        self._connections = Connections(
            me, self._keys, settings, self._context, self._wakeups, self._problems, self._on_frames
        )
        self._inbox: deque[Callable[[], Sequence[Effect]]] = deque()
        self._heard: list[tuple[NodeId, Message]] = []
        """What nodes have said in this turn."""
        self._alarm = Alarm()
        self._is_asleep = False
        self._is_closing = False
        self._is_over = False
        self._over_lock = threading.Lock()
        self._pid = os.getpid()
        self._members: list[Member] = []
        """Who is alive."""
        self._addresses: dict[NodeId, str] = {}
        self._asked_at = -math.inf
        self._asked: NodeId | None = None
        self._looked_at = self._swept_at = time.monotonic()
        self._unanswered_count = 0
        """Looks around since a node last said something."""
        self._unserved: dict[str, int] = {}
        """Looks around at which a queue was not served, in sequence."""
        self._learn(members)
        self._thread = threading.Thread(target=self._run, name="meshflow-calls", daemon=True)
        self._thread.start()
        atexit.register(self._leave)

    # --- for the threads of the program ---

    def make(self, calls: Sequence[Call], code: bytes) -> None:
        """Have these calls made, all of one function with this code; each has its future as its `mark`."""

        def add() -> Sequence[Effect]:
            self._caller.add(calls, code)
            return ()

        self._do(add)

    def end(self, calls: Sequence[Call]) -> None:
        """End calls, even if they run; their futures are cancelled."""

        def cancel() -> Sequence[Effect]:
            for call in calls:
                future = call.mark
                call.mark = None
                if isinstance(future, Future) and not future.cancel() and not future.done():
                    future.set_exception(CancelledError())
            return self._caller.cancel(calls)

        self._do(cancel)

    def close(self) -> None:
        """End all calls that are out, and the thread."""
        atexit.unregister(self._leave)
        self._leave(None)

    def _leave(self, patience_s: float | None = _EXIT_S) -> None:
        if os.getpid() != self._pid:
            return  # A fork has no thread, and the calls are not its own.
        self._is_closing = True
        self._do(lambda: ())
        if threading.current_thread() is not self._thread:
            self._thread.join(patience_s)

    def _do(self, act: Callable[[], Sequence[Effect]]) -> None:
        if os.getpid() != self._pid:
            raise UsageError("a client cannot make calls in a process forked from the one that made it; make a new one")
        self._inbox.append(act)
        if self._is_over:
            self._settle_all()
        elif self._is_asleep:
            self._alarm.ring()

    # --- the thread ---

    def _run(self) -> None:
        poll = self._poll
        poll.register(self._alarm, select.POLLIN)
        poll.register(self._wakeups.fileno(), select.POLLIN)
        try:
            while not self._is_closing:
                self._turn()
                self._is_asleep = True
                if not self._is_closing and not self._inbox and not self._wakeups.has_more():
                    poll.poll(self._patience_ms())
                self._is_asleep = False
                self._alarm.quiet()
            self._hear_the_last()
        finally:
            self._is_over = True
            self._perform(self._settle_all())
            self._connections.close_all(self._settings.linger_s)
            self._wakeups.close()
            self._door.close()
            self._context.term()
            self._alarm.close()

    def _hear_the_last(self) -> None:
        """What leased processes have printed comes by way of their nodes, after what they have returned."""
        self._perform(self._caller.leasing.let_go())
        give_up_at = time.monotonic() + _LAST_WORDS_S
        while self._caller.leasing.leases.are_ending and time.monotonic() < give_up_at:
            self._poll.poll(_LAST_LOOK_MS)
            self._turn()

    def _settle_all(self) -> Sequence[Effect]:
        """The end of all calls, also of those that are made after it; what to say to nodes."""
        with self._over_lock:
            while self._inbox:
                self._inbox.popleft()()
            self._deliver()
            goodbyes = self._caller.close()
            self._deliver()
            return goodbyes

    def _turn(self) -> None:
        while self._inbox:
            self._perform(self._inbox.popleft()())
        self._wakeups.run(_RECEIVE_LIMIT)
        self._connections.settle()
        now = time.monotonic()
        # Before a node is heard that tells of the end of a process: so no answer is left behind.
        self._serve_door(now)
        heard, self._heard = self._heard, []
        answers = [effect for sender, message in heard for effect in self._hear(sender, message, now)]
        self._deliver()  # Before all that is to be sent: somebody waits for it.
        if self._connections.disconnected():
            self._asked_at = self._looked_at = -math.inf
        for node in self._connections.broken():
            self._perform(self._caller.broke(node))
        if now - self._looked_at >= _ASK_S:
            self._look_at_keys(now)
        self._perform([*answers, *self._caller.flush(now)])
        self._deliver()
        self._look_around(now)

    def _patience_ms(self) -> int:
        due = min(self._caller.deadline(), self._asked_at + _ASK_S if not self._caller.is_idle else math.inf)
        due = min(due, self._swept_at + self._settings.idle_s / SWEEPS)
        return max(0, math.ceil((due - time.monotonic()) * 1000))

    def _serve_door(self, now: float) -> None:
        """Hear what the processes of leases say."""
        for lease in self._door.welcome():
            if self._caller.lease_opened(lease, now):
                self._door.admit(lease)
            else:
                self._door.close_line(lease)
        answers, gone = self._door.answers()
        for answer in answers:
            self._caller.lease_answered(answer.lease, answer.packet, answer.seconds, answer.results, now)
        for lease in gone:
            self._caller.leasing.broke(lease)
            self._door.close_line(lease)

    def _feed(self, feed: Feed) -> None:
        arguments = [call.data for call in feed.calls]
        try:
            self._door.feed(feed.lease, feed.packet, feed.calls[0].function.digest, feed.code, arguments)
        except OSError:  # It is as if the process had hung up: what it was not fed is made again when its node tells.
            self._caller.leasing.broke(feed.lease)
            self._door.hang_up(feed.lease)

    def _perform(self, effects: Sequence[Effect | Feed | HangUp]) -> None:
        for effect in effects:
            if isinstance(effect, Feed):
                self._feed(effect)
            elif isinstance(effect, HangUp):
                self._door.hang_up(effect.lease)
            elif isinstance(effect, Send) and effect.to in self._addresses:
                data = encode_message(effect.message)
                self._connections.send(Target(self._addresses[effect.to], effect.to), data, is_urgent=False)

    def _on_frames(self, frames: list[bytes]) -> None:
        if len(frames) != _ANSWER_FRAMES:
            return
        try:
            sender, message = NodeId(frames[0].decode()), decode_message(frames[1], self._settings.max_message_bytes)
        except (PeerError, UnicodeDecodeError):
            return
        self._unanswered_count = 0
        self._heard.append((sender, message))

    def _hear(self, sender: NodeId, message: Message, now: float) -> Sequence[Effect]:
        if isinstance(message, NodeStatus):
            self._asked = sender
            self._learn((*message.members, message.member))
            return ()
        return self._caller.handle(sender, message, now)

    def _deliver(self) -> None:
        """Tell the program what there is to tell."""
        caller = self._caller
        for chunk in caller.printed:
            stream = sys.stderr if chunk.stream == "stderr" else sys.stdout
            with suppress(Exception):  # The program may have put anything in their places.
                stream.write(chunk.data.decode("utf-8", "replace"))
        caller.printed.clear()
        ended, caller.ended = caller.ended, []
        for each in ended:
            if each.reason:
                for call in each.calls:
                    _settle(call, False, CallFailed(f"call of {call.function.name!r} failed: {each.reason}"))
                continue
            made_count = _settle_batch(each)
            if made_count < len(each.calls):
                caller.cut_short(each.calls, made_count)

    # --- who is there ---

    def _look_around(self, now: float) -> None:
        if now - self._swept_at >= self._settings.idle_s / SWEEPS:
            self._swept_at = now
            self._connections.close_idle()
        if self._caller.is_idle:
            self._unanswered_count = 0
            self._unserved.clear()
            return
        if now - self._asked_at < _ASK_S:
            return
        self._asked_at = now
        self._warn()
        if not self._addresses or self._unanswered_count > 1:
            seeds: Sequence[str] = ()
            with suppress(UsageError, OSError):  # The folder that tells may be unreadable for now.
                seeds = self._seeds()
            for address in seeds:
                self._connections.send(Target(address, None), encode_message(AskStatus(0)), is_urgent=False)
        self._unanswered_count += 1
        if self._asked not in self._addresses:
            self._asked = next(iter(self._addresses), None)
        if self._asked is not None:
            self._perform([Send(self._asked, AskStatus(0))])
            # Whoever does not answer is asked no more while there are others.
            self._addresses[self._asked] = self._addresses.pop(self._asked)
            self._asked = None

    def _learn(self, members: Sequence[Member]) -> None:
        self._members = [member for member in members if member.status in (Status.ALIVE, Status.SUSPECT)]
        alive = {member.id: member for member in self._members}
        for node in [node for node in self._addresses if node not in alive]:
            self._connections.close(Target(self._addresses.pop(node), node))
        self._addresses.update((node, member.address) for node, member in alive.items())
        host = socket.gethostname()
        self._caller.leasing.set_near([member.id for member in self._members if member.host == host])
        self._caller.set_members(self._members)

    def _look_at_keys(self, now: float) -> None:
        self._looked_at = now
        keys = tuple(self._find_keys())
        if keys != self._keys:
            self._keys = keys
            self._connections.use_keys(keys)

    def _warn(self) -> None:
        """Tell the program, once each time, what its calls wait for in vain."""
        if self._unanswered_count == _WARN_AFTER:
            problems = "".join(f"; {problem.error}" for problem in self._problems.drain()[-1:])
            _LOG.warning("calls wait for the mesh, of which no node answers%s", problems)
        unserved = self._caller.unserved
        self._unserved = {queue: self._unserved.get(queue, 0) + 1 for queue in unserved}
        for queue in [queue for queue, looks in self._unserved.items() if looks == _WARN_AFTER]:
            served = "; ".join(f"{member.name} serves {', '.join(member.queues)}" for member in self._members)
            _LOG.warning(
                "%d calls wait for a node that serves the queue %r; of those that are there, %s",
                unserved[queue],
                queue,
                served or "there is none",
            )


def _settle_batch(ended: Ended) -> int:
    """Settle the calls of a batch; how many of them were made."""
    made = 0
    try:
        for call, (is_result, value) in zip(
            ended.calls, load_results(ended.results or unpack_flat(ended.value)), strict=False
        ):
            _settle(call, is_result, value)
            made += 1
        if not made:
            raise ValueError("there is none")
    except Exception as exc:  # Task processes run other people's code, and may send anything.
        for call in ended.calls:
            _settle(call, False, CallFailed(f"call of {call.function.name!r} failed: its result is damaged: {exc!r}"))
        return len(ended.calls)
    return made


def _settle(call: Call, is_result: bool, value: Any) -> None:
    future: Any = call.mark
    if future is None:
        return
    call.mark = None
    with suppress(InvalidStateError):  # It was cancelled while it was being sent.
        if is_result:
            future.set_result(value)
        else:
            future.set_exception(value)

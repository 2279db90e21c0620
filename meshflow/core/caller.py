"""A client's end of calling functions on the mesh: which calls are out where, and what came of them.

A client is to its calls what an owner is to the tasks of a dag run: nodes grant it credit, it hands out, they report.
There is no log. What a client has asked for is worth as much as the client is; when it ends, so do its calls.

Invariants:
1. Every call that was added ends exactly once in `ended`, unless it was cancelled.
2. A call is out with one node at a time, as far as is known here. It is made again if that node is gone, unless it may
   be made once only.
3. A batch during which a task process died is taken apart, and each of its calls goes by itself: so only the one that
   ends processes fails.
4. No message is larger than `max_message_bytes`: a call that would not fit into one fails at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from meshflow.core.caller_settings import MARGIN_BYTES, CallerSettings
from meshflow.core.calling import Call, Function, Line
from meshflow.core.dispatch import Dispatcher, DispatchSettings
from meshflow.core.effects import Effect, Send
from meshflow.core.handouts import Handouts
from meshflow.core.leases import TakeBack
from meshflow.core.leasing import Feed, HangUp, Leasing
from meshflow.core.member import Member
from meshflow.core.messages import (
    Attempt,
    Cancel,
    Demand,
    Finished,
    Holding,
    Job,
    Message,
    Offer,
    Output,
    Owned,
    Reports,
    ReportsAck,
    Returned,
    Work,
)
from meshflow.core.queue import Waiting
from meshflow.core.records import State
from meshflow.core.requests import WriteOutput
from meshflow.ids import NodeId, RunId, calls_of

NOT_THERE = "NotThere"
"""How the reason begins for which a process has not found the door: the name of the error."""

_NEAR = "of this host"

_EPOCH = 1
"""A client never loses its calls to another."""

_MAX_WORK_BYTES = 8 * 1024 * 1024
"""A message that is larger than this carries one batch."""

_MAX_IDLE_LINES = 1024
"""Functions of which nothing waits and nothing is out, but whose pace is remembered. A program that makes a closure for
each call has as many functions as calls."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of some calls, in the order of their arguments."""

    calls: tuple[Call, ...]
    value: bytes = b""
    """What the task process of another host made of them. It may be of the first few calls only: see
    `Caller.cut_short`."""
    results: tuple[object, ...] = ()
    """What a lease made of them, instead."""
    reason: str = ""
    """Why there is neither."""


class Caller:
    """The calls of the client `me`. `door` is where processes of its host call, `take_back` takes from them what they
    have not begun (`leases.py`)."""

    def __init__(
        self,
        me: NodeId,
        settings: CallerSettings,
        dispatch: DispatchSettings,
        door: str = "",
        take_back: TakeBack = lambda _: (),
    ) -> None:
        self.ended: list[Ended] = []
        """News for the shell, which takes them away."""
        self.printed: list[WriteOutput] = []
        """What calls printed; the same."""
        self._run: RunId = calls_of(me)
        self._settings = settings
        self._dispatcher = Dispatcher(dispatch)
        self._handouts = Handouts(settings.lost_s)
        self._lines: dict[Function, Line] = {}
        self.leasing = Leasing(self._lines, door, take_back, self._again)
        """The shell tells it which nodes are near, and when a process hangs up."""
        self._leases = self.leasing.leases
        self._max_lines = _MAX_IDLE_LINES
        self._places: dict[int, Line] = {}
        """The lines of the batches that are in line for credit."""
        self._batches: dict[int, tuple[Call, ...]] = {}
        self._last_number = 0
        self._touched: dict[Function, None] = {}
        self._slots: dict[str, int] = {}
        """Of the nodes that serve each queue and take work."""
        self._seen: dict[NodeId, int] = {}
        """The last report of each node that we have to do with; 0 before its first."""
        self._asked_at = -math.inf

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is out."""
        return not (self._batches or self._places or self._touched or len(self._leases))

    @property
    def unserved(self) -> dict[str, int]:
        """How many calls wait on queues that no node serves, by queue."""
        counts: dict[str, int] = {}
        for function in dict.fromkeys(line.function for line in self._places.values()):
            queue = _waits_on(function)
            if queue not in self._slots:
                counts[queue] = counts.get(queue, 0) + len(self._lines[function].waiting)
        return counts

    # --- what the client wants ---

    def add(self, calls: Sequence[Call], code: bytes) -> None:
        """Make these calls, which are all of one function. `code` is its pickled code."""
        function = calls[0].function
        room_bytes = self._settings.max_message_bytes - MARGIN_BYTES - len(code)
        fitting = [call for call in calls if len(call.data) <= room_bytes]
        if len(fitting) < len(calls):
            self._add_large([call for call in calls if len(call.data) > room_bytes], code, room_bytes)
        if fitting:
            self._wait(self._line(function, code), fitting)

    def _add_large(self, calls: Sequence[Call], code: bytes, room_bytes: int) -> None:
        """These don't fit into a message. A process of this host can make them all the same."""
        function = replace(calls[0].function, is_near=True)
        if function.is_alone or _waits_on(function) not in self._slots:
            self.ended += [_too_large(call, code, room_bytes) for call in calls]
            return
        for call in calls:
            call.function = function
        self._wait(self._line(function, code), calls)

    def _wait(self, line: Line, calls: Sequence[Call]) -> None:
        line.waiting.extend(calls)
        self._touched[line.function] = None
        self.leasing.note(line.function)

    def cut_short(self, calls: Sequence[Call], made_count: int) -> None:
        """Of a batch that ended, only the first few were made, at least one: the rest is made as if it had waited."""
        self._lines[calls[0].function].was_cut(made_count)
        self._again(calls[made_count:])

    def _again(self, calls: Sequence[Call]) -> None:
        """These go first when there is credit."""
        wanted = [call for call in calls if not call.is_cancelled]
        if not wanted:
            return
        line = self._lines[wanted[0].function]
        for call in wanted:
            call.batch = 0
        line.waiting.extendleft(reversed(wanted))
        self._touched[line.function] = None
        self.leasing.note(line.function)

    def cancel(self, calls: Sequence[Call]) -> list[Effect]:
        """Take those out that wait, and end those that run, if they went by themselves; they do not appear in `ended`.
        One that shares its batch goes on, for nobody. Those that have ended stay as they are."""
        attempts: dict[NodeId, list[Attempt]] = {}
        waited: dict[Function, None] = {}
        for call in calls:
            call.is_cancelled = True
            if not call.batch:
                waited[call.function] = None
            elif call.batch in self._leases:
                ends = self._cancel_leased(call)
                if ends is not None:
                    attempts.setdefault(ends[1], []).append(ends[0])
            elif len(self._batches.get(call.batch, ())) == 1:
                attempt, node = self._handouts.take(call.batch)
                self._forget_batch(call.batch)
                attempts.setdefault(node, []).append(attempt)
        for line in [self._lines[function] for function in waited if function in self._lines]:
            left = [call for call in line.waiting if not call.is_cancelled]
            line.waiting.clear()
            line.waiting.extend(left)
            self._touched[line.function] = None
        return [Send(node, Cancel(tuple(ending))) for node, ending in attempts.items()]

    def _cancel_leased(self, call: Call) -> tuple[Attempt, NodeId] | None:
        """What is to be ended so that a lease does not make this call, or does not go on with it. Others that the
        process has begun with it are made again."""
        lease = call.batch
        self.leasing.take_back(lease)
        return self._handouts.get(lease) if self._leases.has(lease, call) else None

    # --- leases ---

    def lease_opened(self, lease: int, now: float) -> bool:
        """The process of a lease calls at the door. False: it is not wanted (any more)."""
        return self._leases.opened(lease, now)

    def lease_answered(self, lease: int, packet: int, seconds: float, results: Sequence[object], now: float) -> None:
        """A process has made the calls of a packet."""
        calls = self.leasing.answered(lease, packet, seconds, now)
        if calls:
            self.ended.append(Ended(calls, results=tuple(results)))

    def _lease_ended(self, lease: int, report: Finished) -> None:
        _, node = self._handouts.take(lease)
        begun = self.leasing.ended(lease)
        if report.state is State.COMPLETED:
            self._again_each(begun)
        elif not begun and report.reason.startswith(NOT_THERE):
            self.leasing.cannot_call(node)
        elif len(begun) == 1:
            self.ended.append(Ended(tuple(begun), reason=_why(report)))
        else:
            self._suspect(begun)

    def _again_each(self, calls: Sequence[Call]) -> None:
        for call in reversed(calls):
            self._again((call,))

    def _suspect(self, calls: Sequence[Call]) -> None:
        """One of these has ended its process: each goes by itself now."""
        for call in calls:
            call.is_alone = True
        self._again_each(calls)

    # --- what the mesh says ---

    def set_members(self, members: Sequence[Member]) -> None:
        """Take note of who is alive; calls that were with others are made again."""
        alive = {member.id: None for member in members}
        members = [_with_near(member) if self.leasing.is_near(member.id) else member for member in members]
        self._slots = {}
        for member in members:
            for queue in () if member.is_draining else member.queues:
                slots = self._slots.get(queue, 0) + member.slots
                self._slots[queue] = min(slots, self._settings.max_out or slots)
        self._dispatcher.set_members(members)
        for node in self._handouts.nodes:
            if node not in alive:
                for number, _ in self._handouts.at(node):
                    self._lose(number, "its node is gone")
        for node in [node for node in self._seen if node not in alive]:
            del self._seen[node]

    def handle(self, sender: NodeId, message: Message, now: float) -> list[Effect]:
        """A node says something."""
        match message:
            case Demand(granted=granted, received=received):
                self._demand(sender, granted, received, now)
            case Reports(granted=granted, received=received):
                self._demand(sender, granted, received, now)
                return self._reports(sender, message, now)
            case Holding(attempts=attempts, granted=granted, received=received):
                self._demand(sender, granted, received, now)
                return self._held(sender, attempts, now)
            case _:
                pass
        return []

    def _demand(self, sender: NodeId, granted: int, received: int, now: float) -> None:
        self._seen.setdefault(sender, 0)
        self._dispatcher.demand(sender, granted, received, now)

    def _reports(self, sender: NodeId, message: Reports, now: float) -> list[Effect]:
        if message.run != self._run:
            return []
        seen = max(self._seen[sender], message.acknowledged - 1)
        if message.first > seen + 1:
            return []
        for report in message.reports[max(0, seen + 1 - message.first) :]:
            match report:
                case Finished():
                    self._finished(sender, report)
                case Output(chunk=chunk):
                    self.printed.append(chunk)
                case Returned(attempt=attempt, lacks_code=lacks_code):
                    if lacks_code:
                        self._dispatcher.forget_codes(sender)
                    if self._handouts.is_current(attempt, sender):
                        self._again_each(self._take(attempt.task))
        self._seen[sender] = seen = max(seen, message.first + len(message.reports) - 1)
        self._handouts.heard(sender, now)
        return [Send(sender, ReportsAck(self._run, seen + 1))]

    def _finished(self, sender: NodeId, report: Finished) -> None:
        if not self._handouts.is_current(report.attempt, sender):
            return
        if report.attempt.task in self._leases:
            self._lease_ended(report.attempt.task, report)
            return
        calls = self._batch(report.attempt.task)
        if report.state is State.COMPLETED:
            self._lines[calls[0].function].took(max(0.0, report.ended_at - report.started_at), len(calls))
            self.ended.append(Ended(calls, report.value.inline))
        elif len(calls) == 1:
            self.ended.append(Ended(calls, reason=_why(report)))
        else:
            self._suspect(calls)

    def _held(self, sender: NodeId, listed: Sequence[Attempt], now: float) -> list[Effect]:
        mine = [attempt for attempt in listed if attempt.run == self._run]
        self._handouts.heard(sender, now)
        for number in self._handouts.missing(sender, mine, _EPOCH, now):
            self._lose(number, "its node does not know of it")
        stale = tuple(attempt for attempt in mine if not self._handouts.is_current(attempt, sender))
        # Says that this client is there, too; it may have nothing else to say for hours.
        effects: list[Effect] = [Send(sender, ReportsAck(self._run, self._seen[sender] + 1))]
        return [*effects, Send(sender, Cancel(stale))] if stale else effects

    def close(self) -> list[Effect]:
        """The client leaves: nodes end what they have of it, and forget it. What has not ended does so now."""
        left = [call for calls in self._batches.values() for call in calls]
        left += [call for lease in self._leases for call in self._take(lease)]
        left += [call for line in self._lines.values() for call in line.waiting]
        left = [call for call in left if not call.is_cancelled]
        if left:
            self.ended.append(Ended(tuple(left), reason="its client was closed"))
        for number in list(self._batches):
            self._batch(number)
        for line in self._lines.values():
            line.waiting.clear()
            self._touched[line.function] = None
        goodbyes: list[Effect] = [Send(node, Offer({}, is_caller=True)) for node in self._seen]
        self._seen.clear()
        return goodbyes

    # --- moving on ---

    def flush(self, now: float) -> list[Effect | Feed | HangUp]:
        """Hand out what can be. To be called after each batch of input, and at `deadline`."""
        effects: list[Effect | Feed | HangUp] = [*self.leasing.flush(self._slots, now)]
        for effect in effects:
            if isinstance(effect, Feed):
                self._touched[effect.calls[0].function] = None
        while True:
            if self._settings.max_out is not None:  # What has ended makes room for any function.
                self._touched |= {function: None for function, line in self._lines.items() if line.waiting}
            for function in self._touched:
                self._queue_up(self._lines[function])
            self._touched.clear()
            handouts = self._dispatcher.pump(now)
            if not handouts:
                break
            for handout in handouts:
                effects += self._hand_out(handout.to, handout.jobs, handout.backlog, now)
        for to, queues in self._dispatcher.offers(now):
            self._seen.setdefault(to, 0)
            effects.append(Send(to, Offer(queues, is_caller=True)))
        if now >= self._ask_at():
            self._asked_at = now
            silent = self._handouts.silent(now - self._settings.silent_s)
            effects += [Send(node, Owned(self._run, _EPOCH)) for node in silent]
        return effects

    def deadline(self) -> float:
        """When `flush` is next due without any input."""
        return min(self._dispatcher.deadline(), self._ask_at(), self._leases.deadline())

    def _ask_at(self) -> float:
        silent_s = self._settings.silent_s
        return max(self._handouts.earliest_heard_at + silent_s, self._asked_at + silent_s)

    def _line(self, function: Function, code: bytes) -> Line:
        line = self._lines.get(function)
        if line is None:
            if len(self._lines) >= self._max_lines:
                self._lines = {
                    each: line for each, line in self._lines.items() if each in self._touched or not line.is_idle
                }
                self._max_lines = len(self._lines) + _MAX_IDLE_LINES
            line = self._lines[function] = Line(function, code)
        return line

    def _queue_up(self, line: Line) -> None:
        """Have as many places in the dispatcher's queue as there are batches."""
        function = line.function
        wanted = min(line.batch_count(self._slots.get(function.queue, 0)), self._settings.max_batches)
        if not function.is_alone:
            wanted = max(0, wanted - self._leases.idle_count(function.queue))
        if self._settings.max_out is not None:
            taken = len(self._batches) + len(self._leases) + len(self._places) - len(line.places)
            wanted = max(0, min(wanted, self._settings.max_out - taken))
        while len(line.places) < wanted:
            self._last_number += 1
            line.places.append(self._last_number)
            self._places[self._last_number] = line
            self._dispatcher.push(Waiting(self._run, self._last_number), _waits_on(function), function.priority)
        while len(line.places) > wanted:
            number = line.places.pop()
            del self._places[number]
            self._dispatcher.remove(Waiting(self._run, number))

    def _hand_out(self, to: NodeId, places: Sequence[Waiting], backlog: int, now: float) -> list[Effect]:
        jobs: list[Job] = []
        messages: list[Effect] = []
        codes: dict[str, bytes] = {}
        size_bytes = 0
        for place in places:
            number = place.task
            line = self._places.pop(number)
            line.places.remove(number)
            function = line.function
            self._touched[function] = None
            attempt = Attempt(self._run, number, 1, _EPOCH)
            if self.leasing.may_serve(to, function):
                self._leases.ask(number, to, function.queue)
                self._handouts.put(attempt, to, now)
                jobs.append(Job(attempt, function.name, "", function.queue, "", (), None, door=self.leasing.door))
                continue
            calls = tuple(line.take(self._slots.get(function.queue, 0)))
            if not calls:
                self._dispatcher.refund(to)
                continue
            for call in calls:
                call.batch = number
                call.has_begun = True
            self._batches[number] = calls
            line.out_count += 1
            self._handouts.put(attempt, to, now)
            arguments = tuple(call.data if isinstance(call.data, bytes) else call.data.flatten() for call in calls)
            new_codes = dict.fromkeys(self._dispatcher.codes_to_send(to, (function.digest,)), line.code)
            more_bytes = sum(map(len, arguments)) + sum(map(len, new_codes.values()))
            if jobs and size_bytes + more_bytes > _MAX_WORK_BYTES:
                messages.append(Send(to, Work(tuple(jobs), codes, backlog)))
                jobs, codes, size_bytes = [], {}, 0
            size_bytes += more_bytes
            codes |= new_codes
            jobs.append(
                Job(
                    attempt, function.name, "", function.queue, function.digest, (), None, function.timeout_s, arguments
                )
            )
        if jobs:
            messages.append(Send(to, Work(tuple(jobs), codes, backlog)))
        return messages

    # --- inside ---

    def _take(self, number: int) -> Sequence[Call]:
        """A batch that is out no more, or what a lease had begun that is over."""
        if number not in self._leases:
            return self._batch(number)
        self._handouts.take(number)
        return self.leasing.ended(number)

    def _batch(self, number: int) -> tuple[Call, ...]:
        """A batch that is out no more."""
        self._handouts.take(number)
        return self._forget_batch(number)

    def _forget_batch(self, number: int) -> tuple[Call, ...]:
        calls = self._batches.pop(number)
        self._lines[calls[0].function].out_count -= 1
        return calls

    def _lose(self, number: int, why: str) -> None:
        again: list[Call] = []
        for call in self._take(number):
            call.loss_count += 1
            if call.is_cancelled:
                continue
            if call.function.at_most_once:
                self.ended.append(Ended((call,), reason=f"{why}, and it may be made at most once"))
            elif call.loss_count >= self._settings.max_losses:
                self.ended.append(Ended((call,), reason=f"{why}, which has happened to it {call.loss_count} times"))
            else:
                again.append(call)
        self._again_each(again)


def _waits_on(function: Function) -> str:
    """The queue on which calls of the function wait: those for this host only have one of their own."""
    return f"{function.queue} {_NEAR}" if function.is_near else function.queue


def _with_near(member: Member) -> Member:
    return replace(member, queues=(*member.queues, *(f"{queue} {_NEAR}" for queue in member.queues)))


def _why(report: Finished) -> str:
    return report.reason or f"it ended {report.state.value}"


def _too_large(call: Call, code: bytes, room_bytes: int) -> Ended:
    return Ended(
        (call,),
        reason=f"its arguments take {len(call.data)} bytes and its code {len(code)}; together they may take "
        f"{room_bytes + len(code)} (limits.max_message_bytes is {MARGIN_BYTES} more); hand over the path of a file, or "
        "raise the limit on all nodes and here",
    )

"""A client's end of calling functions on the mesh: which calls are out where, and what came of them.

A client is to its calls what an owner is to the tasks of a dag run: nodes grant it credit, it hands out, they report.
There is no log. What a client has asked for is worth as much as the client is; when it ends, so do its calls.

Invariants:
1. Every call that was added ends exactly once in `ended`, unless it was cancelled.
2. A call is out with one node at a time, as far as is known here. It is made again if that node is gone, unless it may
   be made once only.
3. A batch during which a task process died is taken apart, and each of its calls goes by itself: so only the one that
   ends processes fails.
4. No message exceeds `max_message_bytes`: a call that does not fit is for processes of this host, or fails.
"""

import math
from collections.abc import Sequence

from meshflow.core.attempts import Attempt
from meshflow.core.caller_settings import MARGIN_BYTES, CallerSettings
from meshflow.core.calling import Call, Function
from meshflow.core.dispatch import Dispatcher, DispatchSettings
from meshflow.core.effects import Effect, Send
from meshflow.core.ended import Ended, stranded, too_large
from meshflow.core.handouts import Handouts
from meshflow.core.leases import NoReach, Reach
from meshflow.core.leasing import Feed, HangUp, Leasing
from meshflow.core.member import Member
from meshflow.core.messages import (
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
from meshflow.core.waiting_calls import WaitingCalls
from meshflow.ids import NodeId, RunId, calls_of

NOT_THERE = "NotThere"
"""How the reason begins for which a process has not found the door: the name of the error."""

_EPOCH = 1
"""A client never loses its calls to another."""

_MAX_WORK_BYTES = 8 * 1024 * 1024
"""A message that is larger than this carries one batch."""


class Caller:
    """The calls of the client `me`. `door` is where processes of its host call, and `reach` is what can be done about
    what they were fed; None: there is no door."""

    def __init__(
        self,
        me: NodeId,
        settings: CallerSettings,
        dispatch: DispatchSettings,
        door: str = "",
        reach: Reach | None = None,
    ) -> None:
        self.ended: list[Ended] = []
        """News for the shell, which takes them away."""
        self.printed: list[WriteOutput] = []
        """What calls printed; the same."""
        self._run: RunId = calls_of(me)
        self._settings = settings
        self._dispatcher = Dispatcher(dispatch, me)
        self._handouts = Handouts(settings.lost_s)
        self._waiting = WaitingCalls(self._run, self._dispatcher, settings)
        self.leasing = Leasing(self._waiting, door, reach or NoReach())
        """The shell tells it which nodes are near, and when a process hangs up."""
        self._leases = self.leasing.leases
        self._batches: dict[int, tuple[Call, ...]] = {}
        self._seen: dict[NodeId, int] = {}
        """The last report of each node that we have to do with; 0 before its first."""
        self._asked_at = -math.inf
        self._members: Sequence[Member] = ()

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is out."""
        return self._waiting.is_empty and not self._batches and not len(self._leases)

    @property
    def unserved(self) -> dict[str, int]:
        """How many calls wait on queues that no node serves, by queue."""
        return self._waiting.unserved

    # --- what the client wants ---

    def add(self, calls: Sequence[Call], code: bytes) -> None:
        """Make these calls, which are all of one function. `code` is its pickled code."""
        function = calls[0].function
        room_bytes = self._settings.max_message_bytes - MARGIN_BYTES - len(code)
        large = [call for call in calls if len(call.data) > room_bytes]
        if large and self._waiting.may_be_large(function):
            self._waiting.add(large, code, are_large=True)
        else:
            self.ended += [too_large(call, code, room_bytes) for call in large]
        fitting = [call for call in calls if len(call.data) <= room_bytes] if large else calls
        if fitting:
            self._waiting.add(fitting, code)

    def cut_short(self, calls: Sequence[Call], made_count: int) -> None:
        """Of a batch that ended, only the first few were made, at least one: the rest is made as if it had waited."""
        self._waiting.line(calls[0].function).was_cut(made_count)
        self._waiting.again(calls[made_count:])

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
                lease = call.batch
                self.leasing.take_back(lease)
                if self._leases.has_only(lease, call):
                    attempt, node = self._handouts.get(lease)
                    attempts.setdefault(node, []).append(attempt)
                    self._take(lease)
            elif len(self._batches.get(call.batch, ())) == 1:
                attempt, node = self._handouts.take(call.batch)
                self._forget_batch(call.batch)
                attempts.setdefault(node, []).append(attempt)
        self._waiting.drop_cancelled(waited)
        return [Send(node, Cancel(tuple(ending))) for node, ending in attempts.items()]

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
            self._waiting.again(begun)
        elif not begun and report.reason.startswith(NOT_THERE):
            self.leasing.cannot_call(node)
            self.set_members(self._members)
        elif len(begun) == 1:
            self.ended.append(Ended(tuple(begun), reason=report.reason or f"it ended {report.state.value}"))
        else:
            self._suspect(begun)

    def _suspect(self, calls: Sequence[Call]) -> None:
        """One of these has ended its process: each goes by itself now."""
        for call in calls:
            call.is_alone = True
        self._waiting.again(calls)

    # --- what the mesh says ---

    def set_members(self, members: Sequence[Member]) -> None:
        """Take note of who is alive; calls that were with others are made again."""
        alive = {member.id: None for member in members}
        self._members = members
        self._waiting.set_members(members, self.leasing.is_near)
        for node in self._handouts.nodes:
            if node not in alive:
                for number, _ in self._handouts.at(node):
                    self._lose(number, "its node is gone")
        self.ended += [stranded(call) for call in self._waiting.take_stranded()]
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
                        self._waiting.again(self._take(attempt.task))
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
            self._waiting.line(calls[0].function).took(max(0.0, report.ended_at - report.started_at), len(calls))
            self.ended.append(Ended(calls, report.value.inline))
        elif len(calls) == 1:
            self.ended.append(Ended(calls, reason=report.reason or f"it ended {report.state.value}"))
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

    def broke(self, node: NodeId) -> list[Effect]:
        """The connection to a node broke. What is said now is the first that it hears when it is back, so that it does
        not take this client for gone."""
        return [Send(node, Owned(self._run, _EPOCH))] if node in self._seen else []

    def close(self) -> list[Effect]:
        """The client leaves: nodes end what they have of it, and forget it. What has not ended does so now."""
        left = [call for calls in self._batches.values() for call in calls]
        left += [call for lease in self._leases for call in self._take(lease)]
        left += self._waiting.take_all()
        left = [call for call in left if not call.is_cancelled]
        if left:
            self.ended.append(Ended(tuple(left), reason="its client was closed"))
        for number in list(self._batches):
            self._batch(number)
        goodbyes: list[Effect] = [Send(node, Offer({}, is_caller=True)) for node in self._seen]
        self._seen.clear()
        return goodbyes

    # --- moving on ---

    def flush(self, now: float) -> list[Effect | Feed | HangUp]:
        """Hand out what can be. To be called after each batch of input, and at `deadline`."""
        effects: list[Effect | Feed | HangUp] = [*self.leasing.flush(now)]
        while True:
            self._waiting.queue_up(len(self._batches) + len(self._leases), self._leases.idle_counts())
            handouts = self._dispatcher.pump(now)
            if not handouts:
                break
            for handout in handouts:
                effects += self._hand_out(handout.to, handout.jobs, handout.backlog, now)
        for to, queues in self._dispatcher.offers(now):
            if to in self._seen or any(queues.values()):  # who was told goodbye is not told that nothing waits
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
        return max(self._handouts.earliest_heard_at, self._asked_at) + self._settings.silent_s

    def _hand_out(self, to: NodeId, places: Sequence[Waiting], backlog: int, now: float) -> list[Effect]:
        jobs: list[Job] = []
        messages: list[Effect] = []
        codes: dict[str, bytes] = {}
        size_bytes = 0
        for place in places:
            number = place.task
            line = self._waiting.redeem(number)
            function = line.function
            attempt = Attempt(self._run, number, 1, _EPOCH)
            if self.leasing.may_serve(to, function):
                self._leases.ask(number, to, function.queue)
                self._handouts.put(attempt, to, now)
                jobs.append(Job(attempt, function.name, "", function.queue, "", (), None, door=self.leasing.door))
                continue
            calls = tuple(line.take(self._waiting.slots.get(function.queue, 0)))
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
        self._waiting.line(calls[0].function).out_count -= 1
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
        self._waiting.again(again)

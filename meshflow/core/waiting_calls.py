"""The calls that wait at a client, by function, and the places in line for credit that they have.

A place stands for a batch whose size is decided when its turn has come. Calls whose arguments are too large for a
message wait apart from others, on a queue that only nodes of this host serve, as far as this client is concerned.

Invariants:
1. A function has as many places as its calls make batches, less what leases are about to take, within the bounds of
   the settings; as of the last `queue_up`.
2. Calls that wait again go first, in the order that they had.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from meshflow.core.caller_settings import CallerSettings
from meshflow.core.calling import Call, Function, Line
from meshflow.core.dispatch import Dispatcher
from meshflow.core.member import Member
from meshflow.core.queue import Waiting
from meshflow.core.turns import Turns
from meshflow.ids import RunId

_MAX_IDLE_LINES = 1024
"""Functions of which nothing waits and nothing is out, but whose pace is remembered. A program that makes a closure for
each call has as many functions as calls."""

_NEAR = " of this host"


class WaitingCalls:
    """The calls of a client that wait. `run` names the client in the dispatcher's queue."""

    def __init__(self, run: RunId, dispatcher: Dispatcher, settings: CallerSettings) -> None:
        self.slots: Mapping[str, int] = {}
        """Of the nodes that serve each queue and take work."""
        self._run = run
        self._dispatcher = dispatcher
        self._settings = settings
        self._lines: dict[Function, Line] = {}
        self._max_lines = _MAX_IDLE_LINES
        self._touched: dict[Function, None] = {}
        """Functions of which something has changed since the last `queue_up`."""
        self._turns = Turns()
        """Functions of which calls may wait that a lease could make."""
        self._in_line = Turns(has_one_queue=True)
        """Functions of which calls may wait, if only so many may be out."""
        self._places: dict[int, Line] = {}
        self._idle_counts: Mapping[str, int] = {}
        """Leases that had nothing to do at the last `queue_up`, by queue."""
        self._last_number = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._places and not self._touched

    @property
    def unserved(self) -> dict[str, int]:
        """How many calls wait on queues that no node serves, by queue."""
        counts: dict[str, int] = {}
        for function in dict.fromkeys(line.function for line in self._places.values()):
            if _waits_on(function) not in self.slots:
                counts[function.queue] = counts.get(function.queue, 0) + len(self._lines[function].waiting)
        return counts

    def line(self, function: Function) -> Line:
        """That of a function of which something waits or is out."""
        return self._lines[function]

    def may_be_large(self, function: Function) -> bool:
        """Whether a node of this host would make calls that are too large for a message."""
        return not function.is_alone and function.queue + _NEAR in self.slots

    # --- what waits ---

    def add(self, calls: Sequence[Call], code: bytes, *, are_large: bool = False) -> None:
        """Calls of one function wait. `are_large`: they don't fit into a message."""
        function = calls[0].function
        if are_large:
            function = replace(function, is_near=True)
            for call in calls:
                call.function = function
        self._open(function, code).waiting.extend(calls)
        self._touch(function)

    def again(self, calls: Sequence[Call]) -> None:
        """These wait once more, first of all, unless they were cancelled."""
        for call in reversed(calls):
            call.batch = 0
            if not call.is_cancelled:
                self._lines[call.function].waiting.appendleft(call)
                self._touch(call.function)

    def drop_cancelled(self, functions: Mapping[Function, None]) -> None:
        """Calls of these functions were cancelled."""
        for line in [self._lines[function] for function in functions if function in self._lines]:
            left = [call for call in line.waiting if not call.is_cancelled]
            line.waiting.clear()
            line.waiting.extend(left)
            self._touch(line.function)

    def take_all(self) -> list[Call]:
        """All that waits; then nothing does."""
        taken = [call for line in self._lines.values() for call in line.waiting]
        for line in self._lines.values():
            line.waiting.clear()
            self._touch(line.function)
        return taken

    def take_stranded(self) -> list[Call]:
        """The calls that only a node of this host could make, and none does any more."""
        stranded: list[Call] = []
        for line in self._lines.values():
            if line.function.is_near and _waits_on(line.function) not in self.slots and line.waiting:
                stranded += line.waiting
                line.waiting.clear()
                self._touch(line.function)
        return stranded

    def queues(self) -> dict[str, None]:
        """Those on which calls wait that a lease may make."""
        return {queue: None for queue in self._turns.queues if self.next_line(queue) is not None}

    def next_line(self, queue: str) -> Line | None:
        """The calls of a queue that a lease is to take from next; None if there are none."""
        while queue in self._turns.queues:
            line = self._lines[self._turns.first(queue)]
            if line.waiting:
                return line
            self._turns.leave(line.function)
        return None

    def took_some(self, function: Function) -> None:
        """A lease has taken calls of a function: others have their turn first."""
        self._touched[function] = None
        self._turns.had_turn(function)

    # --- places ---

    def set_members(self, members: Sequence[Member], is_near: Callable[[Member], bool]) -> None:
        """Take note of who is alive, and who of them is on this host."""
        members = [_with_near_queues(member) if is_near(member) else member for member in members]
        slots: dict[str, int] = {}
        for member in members:
            for queue in () if member.is_draining else member.queues:
                count = slots.get(queue, 0) + member.slots
                slots[queue] = min(count, self._settings.max_out or count)
        self.slots = slots
        self._dispatcher.set_members(members)

    def queue_up(self, out_count: int, idle_counts: Mapping[str, int]) -> None:
        """Have as many places as there are batches. `out_count`: jobs that are out; `idle_counts`: leases that have
        nothing to do, by queue."""
        before, self._idle_counts = self._idle_counts, idle_counts
        if idle_counts != before:  # What waited for a lease that has other work now, or is gone, wants places.
            for queue in self._turns.queues:
                if idle_counts.get(queue) != before.get(queue):
                    self._touched |= self._turns.all_of(queue)
        if self._settings.max_out is not None:
            self._share_out(self._settings.max_out - out_count)
        for function in self._touched:
            self._have_places(self._lines[function], self._wanted(self._lines[function]))
        self._touched.clear()

    def _share_out(self, room: int) -> None:
        """Have so many places at most: for calls with the largest priority, and of these for the functions first that
        had none for the longest time. Who has no chance is not looked at."""
        wanted: dict[Function, int] = {line.function: 0 for line in self._places.values()}
        gone: list[Function] = []
        for function in self._in_line.in_order():
            if room <= 0:
                break
            line = self._lines[function]
            if not line.waiting:
                gone.append(function)
                continue
            wanted[function] = min(self._wanted(line), room)
            room -= wanted[function]
        for function in gone:
            self._in_line.leave(function)
        for function, count in wanted.items():
            self._have_places(self._lines[function], count)
        self._touched.clear()

    def _wanted(self, line: Line) -> int:
        wanted = min(line.batch_count(self.slots.get(line.function.queue, 0)), self._settings.max_batches)
        return wanted if line.function.is_alone else max(0, wanted - self._idle_counts.get(line.function.queue, 0))

    def redeem(self, number: int) -> Line:
        """A place has its turn: whose it was. It is gone."""
        line = self._places.pop(number)
        line.places.remove(number)
        if self._settings.max_out is not None:
            self._in_line.had_turn(line.function)
        self._touched[line.function] = None
        return line

    def _have_places(self, line: Line, count: int) -> None:
        function = line.function
        while len(line.places) < count:
            self._last_number += 1
            line.places.append(self._last_number)
            self._places[self._last_number] = line
            self._dispatcher.push(Waiting(self._run, self._last_number), _waits_on(function), function.priority)
        while len(line.places) > count:
            number = line.places.pop()
            del self._places[number]
            self._dispatcher.remove(Waiting(self._run, number))

    def _open(self, function: Function, code: bytes) -> Line:
        line = self._lines.get(function)
        if line is None:
            if len(self._lines) >= self._max_lines:
                for each in [each for each, line in self._lines.items() if line.is_idle and each not in self._touched]:
                    del self._lines[each]
                    self._turns.leave(each)
                    self._in_line.leave(each)
                self._max_lines = len(self._lines) + _MAX_IDLE_LINES
            line = self._lines[function] = Line(function, code)
        return line

    def _touch(self, function: Function) -> None:
        self._touched[function] = None
        if not function.is_alone:
            self._turns.join(function)
        if self._settings.max_out is not None:
            self._in_line.join(function)


def _waits_on(function: Function) -> str:
    return function.queue + _NEAR if function.is_near else function.queue


def _with_near_queues(member: Member) -> Member:
    return replace(member, queues=(*member.queues, *(queue + _NEAR for queue in member.queues)))

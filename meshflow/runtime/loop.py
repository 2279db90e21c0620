"""The one shell: receives, calls the core, performs what it returns. Everything a node does to the world is done here.

A turn is: take all input that has arrived, hand it to the core, flush the core once, perform the effects. Input that
arrives together leaves together, so that batches form by themselves under load and nothing waits for them without it.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from meshflow.core.attempts import Attempt
from meshflow.core.caller_settings import MARGIN_BYTES
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
from meshflow.core.events import MemberJoined, MemberUpdated
from meshflow.core.key_messages import AskKeys, UseKeys
from meshflow.core.messages import Finished, Job
from meshflow.core.node import Node
from meshflow.core.records import State, Value
from meshflow.core.requests import (
    Answer,
    ExtendField,
    GetBlob,
    GetField,
    PutBlob,
    Refused,
    Request,
    SetFields,
    WriteOutput,
)
from meshflow.ids import is_calls, workflow_of
from meshflow.runtime.event_log import log_event, log_problem
from meshflow.runtime.executor import Executor
from meshflow.runtime.fleet import ExecutorSettings
from meshflow.runtime.key_keeper import KeyKeeper
from meshflow.runtime.key_ring import KeyRing
from meshflow.runtime.large_rows import keep_rows, largest_of
from meshflow.runtime.large_values import LargeValues, resolved
from meshflow.runtime.result_cache import ResultCache
from meshflow.runtime.storage import Storage
from meshflow.runtime.transport.node import Transport

INLINE_BYTES = 64 * 1024
"""Values up to this size travel with the job and go into the log; larger ones are kept as blobs (design.md 7)."""

_RECEIVE_LIMIT = 256
"""Messages taken in one turn, so that timers and task processes get theirs."""

_LATE_S = 0.05
"""A timer that fires this much later than it should says that this node is starved; Lifeguard wants to know."""

_WALL_CHECK_S = 1.0
"""How often the wall clock is looked at, in seconds."""


class NodeLoop:
    """One running node."""

    def __init__(
        self,
        node: Node,
        transport: Transport,
        storage: Callable[[Callable[[str], None]], Storage],
        executor_settings: ExecutorSettings,
        loop: asyncio.AbstractEventLoop,
        keys: KeyRing,
    ) -> None:
        self.node = node
        self.transport = transport
        self.keys = KeyKeeper(keys, transport, loop, self._wake)
        """Changes the keys of `transport`; its `watch` is to run beside the loop."""
        self.stopped = asyncio.Event()
        """Set when the node has drained and left."""
        self._loop = loop
        self._max_value_bytes = executor_settings.max_value_bytes
        self._max_sent_bytes = transport.max_message_bytes - MARGIN_BYTES
        self._storage = storage(self._store_state)
        self._large = LargeValues(self._storage, node.kept, loop)
        self._executor = Executor(executor_settings, node.membership.me.name, loop, self)
        self._cache = ResultCache(self._storage, self._executor)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._is_turn_due = False
        self._is_closing = False
        self._wall_checked_at = -_WALL_CHECK_S
        self._reads_after_flush: dict[tuple[Attempt, int], GetField] = {}
        self._fetching: dict[Attempt, None] = {}
        """Attempts whose large inputs are on their way from the store."""

    def start(self, seeds: Sequence[str], slots: int) -> None:
        """Join through `seeds`, keep `slots` task processes warm, and work."""
        self._loop.add_reader(self.transport.fileno(), self._receive)
        now = self._now()
        self._perform(self.node.start(seeds, now))
        self._executor.resize(slots)
        self._executor.warm(slots)
        self._turn()

    def drain(self) -> None:
        """Finish or give back everything, then leave; `stopped` is set when that is done."""
        self._perform(self.node.drain(self._now()))
        self._wake()

    async def close(self, grace_s: float) -> None:
        """Stop at once: kill what runs, say goodbye, let go of everything."""
        self._is_closing = True
        if self._timer is not None:
            self._timer.cancel()
        self._perform(self.node.leave(self._now()))
        await self._executor.close(grace_s)
        self._loop.remove_reader(self.transport.fileno())
        self._storage.close(grace_s)
        self.keys.close()
        self.transport.close()

    # --- turns ---

    def _now(self) -> float:
        return self._loop.time()

    def _wake(self) -> None:
        """Have a turn soon; input that comes before it is part of it."""
        if not self._is_turn_due:
            self._is_turn_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._is_turn_due = False
        now = self._now()
        if self._timer is not None and now - self._timer_at > _LATE_S:
            # A turn that was asked for before the loop was held up is run before the timer that would notice it.
            self._timer.cancel()
            self._timer_fired()
            return
        if now - self._wall_checked_at >= _WALL_CHECK_S:
            self._wall_checked_at = now
            self.node.wall_offset_s = time.time() - now
            self.node.children = self._executor.process_ids
        self._perform(self.node.flush(now))
        if self.node.is_drained and not self.stopped.is_set() and self._storage.is_idle:
            self.stopped.set()
        self._set_timer(now)
        if self.transport.has_more():
            self._loop.call_soon(self._receive)

    def _set_timer(self, now: float) -> None:
        due = min(max(self.node.deadline(), now), now + 3600.0, self.transport.deadline())
        if self._timer is not None:
            if not self._timer.cancelled() and self._timer_at == due:
                return
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_at(due, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        late_s = self._now() - self._timer_at
        # What has arrived goes first: it may be the very answer whose absence a late tick would complain of.
        self._receive()
        now = self._now()
        if late_s > _LATE_S:
            self.node.membership.loop_was_late(late_s, now)
        self.transport.tick(now)
        self._turn()

    # --- messages ---

    def _receive(self) -> None:
        now = self._now()
        for sender, message in self.transport.receive(_RECEIVE_LIMIT):
            if isinstance(message, AskKeys | UseKeys):
                self.keys.handle(sender, message)
            else:
                self._perform(self.node.handle(sender, message, now))
        for peer in self.transport.disconnected():
            self._perform(self.node.disconnected(peer, now))
        if self.transport.lost_any():
            self.node.somebody_left(now)
        for problem in self.transport.problems():
            log_problem(f"{problem.where}: {problem.error}")
        self._wake()

    # --- effects ---

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in self.node.perform(effects):
            match effect:
                case Send(to=to, message=message):
                    if not self.transport.send(to, message) and not self.transport.has_way_to(to):
                        self.node.unreached(to)
                case SendTo(address=address, message=message):
                    self.transport.send_to(address, message)
                case Ask(token=token, requests=requests):
                    self._ask(token, requests)
                case Start(job=job, codes=codes):
                    self._start(job, codes)
                case Resize(slots=slots):
                    self._executor.resize(slots)
                case Recall(attempts=attempts):
                    self._recall(attempts)
                case Kill():
                    self._kill(effect)
                case TellStopping(attempt=attempt):
                    self._executor.tell_stopping(attempt)
                case AnswerTask():
                    self._answer_task(effect)
                case Emit(event=event):
                    if isinstance(event, MemberJoined | MemberUpdated):
                        self.transport.introduce(event.member.id, event.member.address)
                    log_event(event)
                case Forget(peer=peer):
                    self.transport.forget(peer)

    # --- the store ---

    def _ask(self, token: int, requests: Sequence[Request]) -> None:
        def reply(answers: list[Answer]) -> None:
            self._perform(self.node.answered(token, answers, self._now()))
            self._wake()

        def refuse(problem: str) -> None:
            self._perform(self.node.refused(token, problem, self._now()))
            self._wake()

        self._storage.ask(requests, reply, refuse if self.node.is_for_client(token) else None)

    def _store_state(self, problem: str) -> None:
        if problem and not self.node.store_error:
            log_problem(f"the store does not answer, work goes on and waits for it: {problem}")
        self.node.store_error = problem

    # --- tasks: what the executor tells (ExecutorEvents) ---

    def _start(self, job: Job, codes: dict[str, bytes]) -> None:
        """Fetch the values that are not here, then run the job."""
        if not job.inputs and job.initial is None:
            self._executor.start(job, codes)
            return
        values = [item.value for item in job.inputs] + ([job.initial] if job.initial is not None else [])
        keys = list(dict.fromkeys(value.blob for value in values if value.blob))
        if not keys:
            self._executor.start(job, codes)
            return

        def reply(answers: list[Answer]) -> None:
            if job.attempt not in self._fetching:
                return
            del self._fetching[job.attempt]
            blobs = {key: data for key, data in zip(keys, answers, strict=True) if isinstance(data, bytes)}
            missing = [key for key in keys if key not in blobs]
            refusals = [answer.reason for answer in answers if isinstance(answer, Refused)]
            if missing:
                why = refusals[0] if refusals else "it is not in the store any more"
                self._fail(job.attempt, f"its input {missing[0]!r} cannot be read: {why}")
            else:
                self._executor.start(resolved(job, blobs), codes)

        self._fetching[job.attempt] = None
        self._storage.ask([GetBlob(workflow_of(job.attempt.run), key) for key in keys], reply)

    def _recall(self, attempts: Sequence[Attempt]) -> None:
        returned = [attempt for attempt in attempts if attempt in self._fetching]
        for attempt in returned:
            del self._fetching[attempt]
        for attempt in (*returned, *self._executor.recall(attempts)):
            self.node.task_returned(attempt)
        self._wake()

    def _kill(self, effect: Kill) -> None:
        if effect.attempt in self._fetching:
            del self._fetching[effect.attempt]
            self._fail(effect.attempt, effect.reason)
        else:
            self._executor.kill(effect.attempt, effect.reason, effect.grace_s)

    def _fail(self, attempt: Attempt, reason: str) -> None:
        now = time.time()
        self.finished(Finished(attempt, State.FAILED, Value(), None, reason, now, now))

    def output(self, attempt: Attempt, chunk: WriteOutput) -> None:
        """A task printed something."""
        self.node.task_output(attempt, chunk, self._now())
        self._wake()

    def finished(self, finished: Finished) -> None:
        """An attempt ended; large results and rows go into the store before anyone is told."""
        if self._is_closing and finished.state is State.FAILED:
            return  # Killed because this node stops. It is lost like by `kill -9`, so that it runs again elsewhere.
        if too_large := self._too_large(largest_of(finished), is_sent=is_calls(finished.attempt.run)):
            self._fail(finished.attempt, f"its result {too_large}")
            return
        if len(finished.value.inline) <= INLINE_BYTES or is_calls(finished.attempt.run):
            if finished.rows:
                keep_rows(self._large, finished, INLINE_BYTES, self._tell_finished)
            else:
                self._tell_finished(finished)
            return
        attempt, bare = finished.attempt, replace(finished, value=Value())
        key = f"value/{attempt.run}/{attempt.task}/{attempt.attempt}.{attempt.epoch}"

        def put(value: Value | Refused) -> None:
            if isinstance(value, Refused):
                self._fail(attempt, f"its result cannot be kept: {value.reason}")
                return
            self._tell_finished(replace(bare, value=value))

        self._large.put(attempt.run, key, finished.value.inline, put)

    def _tell_finished(self, finished: Finished) -> None:
        self.node.task_finished(finished, self._now())
        self._wake()

    def _too_large(self, data: bytes, *, is_sent: bool = False) -> str:
        """What is wrong with a value that a task hands on, if it is larger than it may be. `is_sent`: it must fit into
        a message."""
        if is_sent and len(data) > self._max_sent_bytes:
            return (
                f"has {len(data)} bytes, more than {self._max_sent_bytes} (limits.max_message_bytes is {MARGIN_BYTES} "
                "more); write it to a file and return the path, or raise the limit on all nodes and clients"
            )
        if len(data) <= self._max_value_bytes:
            return ""
        return (
            f"has {len(data)} bytes, more than {self._max_value_bytes} (limits.max_value_bytes); write it to a file "
            "and hand on the path, or raise the limit"
        )

    def signal(
        self, attempt: Attempt, call: int, action: str, arguments: dict[str, object], data: bytes | None
    ) -> None:
        """A task asks something of its run."""
        if too_large := self._too_large(data or b""):
            self._executor.answer(attempt, call, None, f"the data {too_large}")
            return

        def tell(value: Value | Refused | None) -> None:
            if isinstance(value, Refused):
                self._executor.answer(attempt, call, None, f"the data cannot be kept: {value.reason}")
                return
            self.node.task_signal(attempt, call, action, arguments, value, self._now())
            self._wake()

        if data is None or len(data) <= INLINE_BYTES:
            tell(None if data is None else Value(data, "", len(data)))
        else:
            key = f"value/{attempt.run}/{attempt.task}/signal/{attempt.attempt}.{call}"
            self._large.put(attempt.run, key, data, tell)

    def store_request(self, attempt: Attempt, call: int, request: Request) -> None:
        """A task asks something of its run's document, of others it may not; or of the cache of results."""
        if isinstance(request, GetBlob | PutBlob):
            self._cache.perform(attempt, call, request)
            return
        if not isinstance(request, GetField | SetFields | ExtendField):
            self._executor.answer(attempt, call, None, "a task may only use the document of its run")
            return
        request = replace(request, run=workflow_of(attempt.run))
        if isinstance(request, GetField) and request.section == "meta":
            # Timings are logged behind; reading them waits until they are written.
            self._reads_after_flush[(attempt, call)] = request
            self.signal(attempt, call, "flush", {}, None)
            return
        self._read(attempt, call, request)

    def _read(self, attempt: Attempt, call: int, request: Request) -> None:
        def reply(answers: list[Answer]) -> None:
            self._executor.answer(attempt, call, answers[0])

        def refuse(problem: str) -> None:
            self._executor.answer(attempt, call, None, problem)

        # Writes wait for the store to come back, reads say why they cannot be had.
        self._storage.ask([request], reply, refuse if isinstance(request, GetField) else None)

    def _answer_task(self, effect: AnswerTask) -> None:
        request = self._reads_after_flush.pop((effect.attempt, effect.call), None)
        if request is not None:
            self._read(effect.attempt, effect.call, request)
        else:
            self._executor.answer(effect.attempt, effect.call, effect.result, effect.error)

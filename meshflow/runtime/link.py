"""A task process's line to its node: the tasks it is given, what it reports, and what its tasks ask.

Between tasks the process reads the job queue itself. What concerns a running task comes over the talk socket, which a
thread reads; it is started by the first task that asks for something or wants to be told of a stop, so that a plain
task runs in a process with one thread, and may fork.

Invariants:
1. A caller sleeps until its own answer comes; several threads of a task may ask at once.
2. The stop notice of a task is seen by that task only.
3. What a task left behind, a thread or a forked process, can't speak for it, nor for the task after it.
"""

import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from meshflow import wire
from meshflow.core.caching import ANSWER_S
from meshflow.core.client_messages import StoreAnswers
from meshflow.core.requests import Answer, GetBlob, PutBlob
from meshflow.core.requests import Request as StoreRequest
from meshflow.errors import RequestFailed, StoreUnavailable
from meshflow.ids import RunId
from meshflow.models import payload
from meshflow.models.signal import Request, Response
from meshflow.runtime import job_queue
from meshflow.runtime.pipes import (
    READ_BYTES,
    Answered,
    Frame,
    FrameReader,
    RunTask,
    Signalled,
    StopAsked,
    StoreAsked,
    TaskEnded,
    pack,
    unpack_job,
)

_MAX_FRAME_BYTES = 2**32 - 1
"""All that msgpack can do: the node, which makes the frames, has set its limits before."""

_CACHE = RunId("")
"""Stands for the generation of the cache that the node knows."""

_REFUSAL_KINDS = {"start_dag": "DagNameUnknown"}
"""What a refusal of an action means, where it can only mean one thing."""


@dataclass(slots=True)
class _Call:
    """A question, from when it is asked until it is answered."""

    is_answered: threading.Event = field(default_factory=threading.Event)
    answers: StoreAnswers | None = None
    """None once answered: the question died with its task or its node."""


class NodeLink:
    """Both sockets of a task process."""

    def __init__(self, jobs: socket.socket, talk: socket.socket) -> None:
        self._jobs = jobs
        self._talk = talk
        self._pid = os.getpid()
        self._lock = threading.Lock()
        """Guards all below: what a task's threads and the reader share."""
        self._number = 0
        self._calls: dict[int, _Call] = {}
        self._call_count = 0
        self._reader: threading.Thread | None = None
        self._frames = FrameReader(_MAX_FRAME_BYTES)
        self._stop_reader = -1
        self._stop_writer = -1
        self._is_stopping = False
        """Whether the running task was told to stop."""
        self._stops: dict[int, None] = {}
        """Numbers of tasks that are to stop and have not begun."""

    def tasks(self) -> Iterator[RunTask]:
        """What the node gives to run, one after the other; ends when the node has nothing more for this process."""
        while (packet := job_queue.take(self._jobs)) is not None:
            frame = unpack_job(packet)
            self._begin(frame.number)
            yield frame

    def end(self, ended: TaskEnded) -> None:
        """Tell the node how the task ended, after which nothing can be asked for it."""
        with self._lock:
            self._number = 0
            self._talk.sendall(pack(ended))

    def wait_for_hang_up(self) -> None:
        """Take no more tasks; returns when the node has closed the connection."""
        poll = select.poll()
        poll.register(self._talk, 0)  # A hang-up is always told.
        poll.poll()

    def ask(self, number: int, make: type[Signalled] | type[StoreAsked], *fields: object) -> StoreAnswers:
        """Ask on behalf of task `number`, and wait for the answer.

        Raises:
            RequestFailed: the task has ended, the process is not the task's own, or the node is gone.
        """
        with self._asking(number):
            self._start_reader()
            self._call_count += 1
            number_of_call = self._call_count
            call = self._calls[number_of_call] = _Call()
            self._talk.sendall(pack(make(number, number_of_call, *fields)))  # type: ignore[arg-type]
        call.is_answered.wait()
        if call.answers is None:
            raise RequestFailed("there will be no answer: the task or its node ended in the meantime")
        return call.answers

    def ask_for_cached(self, number: int, request: StoreRequest, timeout_s: float) -> Answer:
        """Ask as `ask`, before the task begins, so that it may still run in a process of one thread. None if there is
        no answer in time.

        Raises:
            RequestFailed: as `ask`.
        """
        with self._asking(number):
            self._call_count += 1
            number_of_call = self._call_count
            call = self._calls[number_of_call] = _Call()
            self._talk.sendall(pack(StoreAsked(number, number_of_call, wire.encode(request))))
        until = time.monotonic() + timeout_s
        if self._reader is not None:
            call.is_answered.wait(timeout_s)
        while self._reader is None and call.answers is None and (rest_s := until - time.monotonic()) > 0:
            if not select.select([self._talk], [], [], rest_s)[0] or not (data := self._talk.recv(READ_BYTES)):
                break
            self._take(data)
        with self._lock:
            self._calls.pop(number_of_call, None)
        return None if call.answers is None or call.answers.error else call.answers.answers[0]

    def tell(self, number: int, request: StoreRequest) -> None:
        """Have the store perform a request, of which nothing more is heard.

        Raises:
            RequestFailed: as `ask`.
        """
        with self._asking(number):
            self._call_count += 1
            self._talk.sendall(pack(StoreAsked(number, self._call_count, wire.encode(request))))

    @property
    def is_stopping(self) -> bool:
        """Whether the running task has been told to stop."""
        with self._lock:
            return self._is_stopping

    def stop_fileno(self, number: int) -> int:
        """A descriptor that is readable from when task `number` is asked to stop until it ends.

        Raises:
            RequestFailed: as `ask`.
        """
        with self._asking(number):
            self._start_reader()
            return self._stop_reader

    @contextmanager
    def _asking(self, number: int) -> Iterator[None]:
        # Before the lock, which a fork may have copied while it was held.
        if os.getpid() != self._pid:
            raise RequestFailed("a process forked by a task cannot use the task's signal and store; let the task do it")
        with self._lock:
            if number != self._number:
                raise RequestFailed("the task has ended, so its signal and store can't be used any more")
            yield

    def _begin(self, number: int) -> None:
        with self._lock:
            self._number = number
            for call in self._calls.values():
                call.is_answered.set()
            self._calls.clear()
            if self._is_stopping:
                os.read(self._stop_reader, 1)
                self._is_stopping = False
            if self._stops:
                if number in self._stops:
                    self._stop()
                self._stops = {each: None for each in self._stops if each > number}

    def _stop(self) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            self._open_stop_pipe()
            os.write(self._stop_writer, b"!")

    def _open_stop_pipe(self) -> None:
        if self._stop_writer == -1:
            self._stop_reader, self._stop_writer = os.pipe()

    def _start_reader(self) -> None:
        if self._reader is None:
            self._open_stop_pipe()
            self._reader = threading.Thread(target=self._read_answers, name="meshflow-answers", daemon=True)
            self._reader.start()

    def _read_answers(self) -> None:
        with suppress(OSError):
            while data := self._talk.recv(READ_BYTES):
                self._take(data)
        with self._lock:
            for call in self._calls.values():
                call.is_answered.set()

    def _take(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            with self._lock:
                self._hear(frame)

    def _hear(self, frame: Frame) -> None:
        match frame:
            case Answered(call=number, answers=answers):
                call = self._calls.pop(number, None)
                if call is not None:
                    call.answers = wire.decode(StoreAnswers, answers)
                    call.is_answered.set()
            case StopAsked(number=number):
                if number == self._number:
                    self._stop()
                elif number > self._number:
                    self._stops[number] = None
            case _:
                raise AssertionError(f"a node does not say {frame!r} here")


class TaskClient:
    """What a task's signal and store use to speak to its run."""

    def __init__(self, link: NodeLink, number: int) -> None:
        self._link = link
        self._number = number
        self._has_asked = False

    def send(self, request: Request) -> Response:
        """Ask the run something; see `meshflow.models.signal`."""
        self._has_asked = True
        arguments = dict(request.payload)
        data = arguments.pop("data", None)
        pickled = None if data is None else payload.dump_data(data)
        answered = self._link.ask(self._number, Signalled, request.action, wire.encode_value(arguments), pickled)
        if answered.error:
            refusal = {"error": answered.error, "kind": _REFUSAL_KINDS.get(request.action)}
            return Response(False, request.uid, payload=refusal)
        result = answered.answers[0]
        return Response(True, request.uid, payload=result if isinstance(result, dict) else None)

    def stop_fileno(self) -> int:
        """Readable once the run has asked the task to stop; see `meshflow.models.signal`."""
        return self._link.stop_fileno(self._number)

    @property
    def has_heard(self) -> bool:
        """Whether the task has asked its run or the store for anything, or was told to stop: then its result is made of
        more than its inputs."""
        return self._has_asked or self._link.is_stopping

    def cached(self, key: str) -> bytes | None:
        """The result that is kept under a key; None if there is none, or none to be had at once.

        Raises:
            RequestFailed: the task has ended, or the node is gone.
        """
        answer = self._link.ask_for_cached(self._number, GetBlob(_CACHE, key), ANSWER_S)
        return answer if isinstance(answer, bytes) else None

    def keep(self, key: str, data: bytes) -> None:
        """Have a result kept, if that is possible now.

        Raises:
            RequestFailed: the task has ended, the process is not the task's own, or the node is gone.
        """
        self._link.tell(self._number, PutBlob(_CACHE, key, data))

    def perform(self, request: StoreRequest) -> Answer:
        """Have the store perform one request.

        Raises:
            StoreUnavailable: it did not answer.
        """
        self._has_asked = True
        answered = self._link.ask(self._number, StoreAsked, wire.encode(request))
        if answered.error:
            raise StoreUnavailable(answered.error)
        return answered.answers[0]

"""The store of another node, reached through the mesh; for nodes and clients that have none of their own.

Invariants:
1. An answer counts for the ask of its number only, and numbers are not used twice.
2. Whoever holds the store may answer: when one holder is silent, the same requests go to the next. The first may have
   performed them too, which requests are built for.
3. What no store could keep, and so could not travel either, is refused here, in the words that every store has for it.
4. A batch that does not fit into a message, there or back, goes in two halves, and so on. A single request, or a single
   answer, that does not fit is an error: on this way nothing larger than `max_message_bytes` can be stored or read.
"""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Protocol

from meshflow.core.client_messages import StoreAnswers, StoreAsk
from meshflow.core.requests import Answer, CreateRun, ExtendField, Refused, Request, SetFields
from meshflow.errors import StoreError, StoreUnavailable
from meshflow.store.document import items_to_set, new_section, sections_to_create, values_to_add
from meshflow.store.values import Refusal

ANSWERS_TOO_LARGE = "the answers are larger than a message may be"
"""The `StoreAnswers.error` of a node whose answers do not fit."""


class AskTooLarge(StoreError):
    """An ask was not sent because it is larger than a message may be."""

    def __init__(self, size_bytes: int, max_bytes: int) -> None:
        super().__init__(f"a request of {size_bytes} bytes to the store of another node; at most {max_bytes} fit")
        self.size_bytes = size_bytes
        self.max_bytes = max_bytes


class AnswersTooLarge(StoreError):
    """The requests were performed, and their answers are larger than a message may be."""


class TooLargeForMesh(StoreError):
    """A single value is larger than can go through the mesh. Nothing was changed by it."""

    def __init__(self, request: Request, reason: str) -> None:
        super().__init__(
            f"cannot perform {type(request).__name__} in the store of another node: {reason}; raise max_message_bytes "
            "on all nodes, or give this node the store directly (store.url: mongodb://...)"
        )
        self.request = request


class Call(Protocol):
    """Asks one node. `runtime.transport.calls` has the real one."""

    def __call__(self, holder: str, ask: StoreAsk, /) -> StoreAnswers:
        """What the node at the address `holder` answers.

        Raises:
            StoreUnavailable: no answer came.
            AskTooLarge: it was not sent.
        """

    def close(self) -> None:
        """Let go of connections."""


class RemoteStore:
    """Performs requests in the store of one of the nodes that `holders` lists by address, best first. It is called for
    each batch."""

    def __init__(self, call: Call, holders: Callable[[], Sequence[str]]) -> None:
        self._call = call
        self._holders = holders
        self._numbers = count(1)
        self._last = ""
        """The holder that answered last; it is asked first."""

    def perform(self, requests: Sequence[Request]) -> list[Answer]:
        """Perform `requests` in order and answer each.

        Raises:
            StoreUnavailable: no holder answered; what was applied is unknown.
            TooLargeForMesh: a request, or its answer, does not fit into a message; those before it were performed.
        """
        refused = {index: reason for index, request in enumerate(requests) if (reason := _refusal(request))}
        answers = iter(self._perform([request for index, request in enumerate(requests) if index not in refused]))
        return [refused[index] if index in refused else next(answers) for index in range(len(requests))]

    def _perform(self, requests: Sequence[Request]) -> list[Answer]:
        if not requests:
            return []
        try:
            return self._ask(requests)
        except (AskTooLarge, AnswersTooLarge) as problem:
            if len(requests) == 1:
                raise TooLargeForMesh(requests[0], str(problem)) from problem
        middle = len(requests) // 2
        return self._perform(requests[:middle]) + self._perform(requests[middle:])

    def _ask(self, requests: Sequence[Request]) -> list[Answer]:
        reasons = []
        for holder in sorted(self._holders(), key=lambda each: each != self._last):
            try:
                answered = self._call(holder, StoreAsk(next(self._numbers), tuple(requests)))
            except StoreUnavailable as problem:
                reasons.append(str(problem))
                continue
            if answered.error == ANSWERS_TOO_LARGE:
                raise AnswersTooLarge(ANSWERS_TOO_LARGE)
            if not answered.error and len(answered.answers) == len(requests):
                self._last = holder
                return list(answered.answers)
            reasons.append(f"the node at '{holder}': {answered.error or 'the number of its answers is wrong'}")
        detail = "; ".join(reasons) or "no node of this mesh says that it has the store"
        raise StoreUnavailable(f"the store cannot be reached through the mesh: {detail}")

    def close(self) -> None:
        """Let go of connections."""
        self._call.close()


def _refusal(request: Request) -> Refused | None:
    try:
        match request:
            case SetFields():
                items_to_set(request)
            case ExtendField():
                values_to_add(request)
            case CreateRun(record):
                new_section(record.arguments, "arguments")
                sections_to_create(request)
    except Refusal as problem:
        return Refused(str(problem))
    return None

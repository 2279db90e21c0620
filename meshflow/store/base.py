"""What every store promises. One contract test-suite (`tests/store/`) holds all of them to it."""

from collections.abc import Generator, Sequence
from typing import Protocol, TypeVar

from meshflow.core.requests import Answer, Request

T = TypeVar("T")


class Store(Protocol):
    """A store performs batches of requests. It is called from one thread at a time.

    Promises:
    1. Requests of a batch are performed in order; each is atomic; each gets one answer.
    2. When `perform` returns, the whole batch is durable (survives power loss).
    3. Sending a batch again after `StoreUnavailable` leaves what sending it once would have left.
    4. Of two appends at one `(run, seq)`, exactly one is answered True, by whatever store handles they came.
    """

    def perform(self, requests: Sequence[Request]) -> list[Answer]:
        """Perform `requests` in order and answer each.

        Raises:
            StoreUnavailable: the store cannot be reached or a write failed; what was applied is unknown.
        """

    def close(self) -> None:
        """Let go of files and connections."""


def perform_steps(store: Store, steps: Generator[Sequence[Request], Sequence[Answer], T]) -> T:
    """Perform what a generator asks for, send it the answers, and give what it returns.

    Raises:
        StoreUnavailable: as `perform`; and whatever the generator raises.
    """
    try:
        requests = next(steps)
        while True:
            requests = steps.send(store.perform(requests))
    except StopIteration as end:
        result: T = end.value
        return result

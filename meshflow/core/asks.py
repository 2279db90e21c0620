"""What this node has asked its store and not heard yet. Each ask remembers its purpose, a plain value, so that the
answer finds its way to the machine that wanted it."""

from dataclasses import dataclass

from meshflow.core.effects import Ask
from meshflow.core.requests import Request
from meshflow.ids import NodeId, RunId


@dataclass(frozen=True, slots=True)
class Scanning:
    """A look at all open runs."""


@dataclass(frozen=True, slots=True)
class Looking:
    """A look at one run, because somebody hinted at it."""

    run: RunId


@dataclass(frozen=True, slots=True)
class Loading:
    """Reading what is needed to drive a run."""

    run: RunId


@dataclass(frozen=True, slots=True)
class Claiming:
    """The append that makes this node the owner."""

    run: RunId


@dataclass(frozen=True, slots=True)
class Appending:
    """A batch of a run's log, and what is written with it."""

    run: RunId


@dataclass(frozen=True, slots=True)
class Creating:
    """The record of a dag run that the log of `run` calls for."""

    run: RunId
    name: str


@dataclass(frozen=True, slots=True)
class Closing:
    """The last words about a run that has ended in its log."""

    run: RunId


@dataclass(frozen=True, slots=True)
class Mending:
    """The record of a run whose log has ended, but whose record has not."""

    run: RunId


@dataclass(frozen=True, slots=True)
class Locating:
    """Who owns a run that this node has something to say about."""

    run: RunId


@dataclass(frozen=True, slots=True)
class Relaying:
    """Requests of a peer or client, to be answered under its number."""

    to: NodeId
    number: int


@dataclass(frozen=True, slots=True)
class Registering:
    """This node's own entry among the nodes of the store."""


@dataclass(frozen=True, slots=True)
class Removing:
    """A step of cleaning the store."""


Purpose = (
    Scanning
    | Looking
    | Loading
    | Claiming
    | Appending
    | Creating
    | Closing
    | Mending
    | Locating
    | Relaying
    | Registering
    | Removing
)


class Asks:
    """Hands out tokens and remembers purposes."""

    def __init__(self) -> None:
        self._purposes: dict[int, Purpose] = {}
        self._counts: dict[Purpose, int] = {}
        self._last = 0

    def ask(self, purpose: Purpose, *requests: Request) -> Ask:
        """An Ask effect whose answer will be taken for `purpose`."""
        self._last += 1
        self._purposes[self._last] = purpose
        self._counts[purpose] = self._counts.get(purpose, 0) + 1
        return Ask(self._last, requests)

    def take(self, token: int) -> Purpose | None:
        """The purpose of a token, once; None for an answer that came before or was never asked for."""
        purpose = self._purposes.pop(token, None)
        if purpose is not None:
            left = self._counts.pop(purpose) - 1
            if left:
                self._counts[purpose] = left
        return purpose

    def is_asking(self, purpose: Purpose) -> bool:
        """Whether an answer for `purpose` is awaited. What is asked now and then asks this first, or it would ask again
        and again while the store is away."""
        return purpose in self._counts

    def purpose(self, token: int) -> Purpose | None:
        """The purpose of a token that was not taken yet."""
        return self._purposes.get(token)

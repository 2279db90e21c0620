"""What happened, as a list of events; kept as JSON lines, so that a history can be judged again, by this or another
program.

Instants (`at`) are seconds of one monotonic clock that all processes of the machine share. What comes from a log has
none: its order is `seq`, the place in the log, and within an entry the order of the lines.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from meshflow.chaos.plans import Plan


@dataclass(frozen=True, slots=True)
class Submitted:
    """A client was told to submit a run; `mark` is the number it is known by until it has an id."""

    at: float
    mark: int
    round: int
    workflow: str
    plan: Plan


@dataclass(frozen=True, slots=True)
class Accepted:
    """`submit` gave an id: from here on the run is promised."""

    at: float
    mark: int
    run: str


@dataclass(frozen=True, slots=True)
class Refused:
    """`submit` failed, or its process died before it gave an id. The run may exist, or not."""

    at: float
    mark: int
    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """The store has a run of that mark."""

    mark: int
    run: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """The log says: from here on the node of that name drives the run. `run` may be a dag run, here and below."""

    run: str
    seq: int
    epoch: int
    node: str


@dataclass(frozen=True, slots=True)
class LoggedStart:
    """The log says: an attempt was handed out. `task` has its dag run before it: `main:1/total`."""

    run: str
    seq: int
    task: str
    attempt: int


@dataclass(frozen=True, slots=True)
class LoggedEnd:
    """The log says: an attempt, or the task, has ended."""

    run: str
    seq: int
    task: str
    attempt: int
    state: str
    is_last: bool
    """Whether the task has ended with it."""
    node: str
    """The name of the node that had it; empty: it never had one."""


@dataclass(frozen=True, slots=True)
class LoggedRunEnd:
    """The log says: the run has ended."""

    run: str
    seq: int
    state: str


@dataclass(frozen=True, slots=True)
class Started:
    """A task began, by its own note."""

    at: float
    run: str
    task: str
    execution: str
    """Names this execution."""
    node: str


@dataclass(frozen=True, slots=True)
class Completed:
    """A task had done its work, by its own note."""

    at: float
    run: str
    task: str
    execution: str
    node: str


@dataclass(frozen=True, slots=True)
class Observed:
    """Someone looked at a run."""

    at: float
    run: str
    by: str
    """How: in the store's file, or through the mesh."""
    state: str
    is_final: bool
    reason: str
    answer: str
    """Empty: there is none."""
    delay_s: float
    """From submission to end; of a run that has not ended, to now."""


@dataclass(frozen=True, slots=True)
class Applied:
    """A fault was applied to these nodes."""

    at: float
    round: int
    fault: str
    victim: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Proved:
    """What shows that the fault was there, or that it was not."""

    at: float
    round: int
    is_applied: bool
    text: str


@dataclass(frozen=True, slots=True)
class Healed:
    """The fault was taken back."""

    at: float
    round: int


@dataclass(frozen=True, slots=True)
class BrokenOff:
    """The game could not go on, which says nothing about the mesh."""

    at: float
    round: int
    """The one that was not played to its end: what the history lacks of its runs proves nothing."""
    reason: str
    unread: tuple[str, ...]
    """Runs of rounds before whose logs were not read."""


Event = (
    Submitted
    | Accepted
    | Refused
    | Found
    | Claimed
    | LoggedStart
    | LoggedEnd
    | LoggedRunEnd
    | Started
    | Completed
    | Observed
    | Applied
    | Proved
    | Healed
    | BrokenOff
)

_KINDS: dict[str, type[Event]] = {
    "submit": Submitted,
    "accept": Accepted,
    "refuse": Refused,
    "found": Found,
    "claim": Claimed,
    "logged-start": LoggedStart,
    "logged-end": LoggedEnd,
    "logged-run-end": LoggedRunEnd,
    "start": Started,
    "complete": Completed,
    "observe": Observed,
    "fault": Applied,
    "proof": Proved,
    "heal": Healed,
    "broken-off": BrokenOff,
}
_NAMES = {cls: kind for kind, cls in _KINDS.items()}


def to_line(event: Event) -> str:
    """An event as a line of JSON, without its end."""
    return json.dumps({"kind": _NAMES[type(event)], **asdict(event)})


def from_line(line: str) -> Event:
    """The event that a line is.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    content = json.loads(line)
    kind = _KINDS[content.pop("kind")]
    if kind is Submitted:
        plan = content["plan"]
        orders = {name: {task: tuple(others) for task, others in plan[name].items()} for name in ("after", "joins")}
        content["plan"] = Plan(plan["answer"], orders["after"], orders["joins"], tuple(plan["once"]))
    if kind is Applied:
        content["nodes"] = tuple(content["nodes"])
    if kind is BrokenOff:
        content["unread"] = tuple(content["unread"])
    event: Event = kind(**content)
    return event


def write(path: Path, events: Iterable[Event]) -> None:
    """Keep a history."""
    path.write_text("".join(f"{to_line(event)}\n" for event in events), encoding="utf-8")


def read(path: Path) -> list[Event]:
    """A history that was kept.

    Raises:
        OSError: the file cannot be read.
        KeyError, TypeError, ValueError: a line of it is no event.
    """
    return [from_line(line) for line in path.read_text(encoding="utf-8").splitlines()]

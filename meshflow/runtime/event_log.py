"""What a node writes to its log: one line per event, at the level that this table gives.

INFO is what an operator would write in a diary, WARNING is something that was lost and repaired, ERROR needs a person.
"""

import logging
from dataclasses import fields

from meshflow.core.events import (
    Event,
    JobRequeued,
    MemberDied,
    MemberJoined,
    MemberLeft,
    MemberSuspected,
    MemberUpdated,
    Refuted,
    ResultDiscarded,
    RunClaimed,
    RunFinished,
    RunLost,
    StoreCleaned,
    StoreProblem,
)
from meshflow.core.member import Member

_LOG = logging.getLogger("meshflow.node")

_LEVELS: dict[type, tuple[int, str]] = {
    MemberJoined: (logging.INFO, "a node has joined"),
    MemberUpdated: (logging.DEBUG, "a node has changed what it says of itself"),
    MemberSuspected: (logging.INFO, "a node does not answer"),
    MemberDied: (logging.WARNING, "a node is dead; its tasks and runs go elsewhere"),
    MemberLeft: (logging.INFO, "a node has left"),
    Refuted: (
        logging.WARNING,
        "others took this node for dead; it was too slow or cut off, and has said that it lives",
    ),
    RunClaimed: (logging.INFO, "this node drives a run"),
    RunLost: (logging.WARNING, "another node has taken a run over"),
    RunFinished: (logging.INFO, "a run has ended"),
    JobRequeued: (logging.WARNING, "an attempt was lost"),
    ResultDiscarded: (logging.INFO, "a result of an attempt that does not count any more was discarded"),
    StoreCleaned: (logging.INFO, "old runs, or what belonged to none, were removed from the store"),
    StoreProblem: (logging.ERROR, "the store has refused what it should not"),
}


def log_event(event: Event) -> None:
    """Write an event of the core to the log."""
    level, text = _LEVELS[type(event)]
    if _LOG.isEnabledFor(level):
        _LOG.log(level, "%s %s", text, " ".join(_details(event)))


def log_problem(text: str) -> None:
    """Write what went wrong outside the core, once."""
    _LOG.warning("%s", text)


def _details(event: Event) -> list[str]:
    details = []
    for item in fields(event):
        value = getattr(event, item.name)
        if isinstance(value, Member):
            details += [f"node={value.name or value.id}", f"address={value.address}"]
        elif value != "":
            details.append(f"{item.name}={value}")
    return details

"""What came of calls."""

from dataclasses import dataclass

from meshflow.core.caller_settings import MARGIN_BYTES
from meshflow.core.calling import Call


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


def too_large(call: Call, code: bytes, room_bytes: int) -> Ended:
    """That of a call which fits into no message; `room_bytes` is what its arguments may take."""
    return Ended(
        (call,),
        reason=f"its arguments take {len(call.data)} bytes and its code {len(code)}; together they may take "
        f"{room_bytes + len(code)} (limits.max_message_bytes is {MARGIN_BYTES} more); hand over the path of a file, or "
        "raise the limit on all nodes and here",
    )


def stranded(call: Call) -> Ended:
    """That of a call which only nodes of this host could make, of which there is none any more."""
    return Ended(
        (call,),
        reason=f"its arguments take {len(call.data)} bytes, too much for a message to another host "
        "(limits.max_message_bytes), and no node of this host is left that could make it",
    )

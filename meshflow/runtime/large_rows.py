"""The rows of a mapped task on their way to the owner: small ones travel with the report, the others through the store.

Invariant: what stays with the report is at most `_INLINE_BYTES` in all, and no row of more than `max_row_bytes`.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from meshflow.core.messages import Finished
from meshflow.core.records import State, Value
from meshflow.core.requests import Refused
from meshflow.runtime.large_values import LargeValues

_INLINE_BYTES = 4 * 1024 * 1024
"""Rows go into one entry of the log, and a MongoDB document holds 16 MB."""


def largest_of(finished: Finished) -> bytes:
    """The largest of what an attempt has to hand on: its value, or a row."""
    if not finished.rows:
        return finished.value.inline
    return max((row.inline for row in finished.rows), key=len)


def keep_rows(large: LargeValues, finished: Finished, max_row_bytes: int, then: Callable[[Finished], None]) -> None:
    """Put into the store what does not fit into the report. `then` gets the report as it may travel, at once if nothing
    had to be put; or that of a failure, if a row cannot be kept."""
    rows, attempt = list(finished.rows or ()), finished.attempt
    inline_bytes = sum(len(row.inline) for row in rows)
    to_put: list[int] = []
    for place in sorted(range(len(rows)), key=lambda each: -len(rows[each].inline)):
        size_bytes = len(rows[place].inline)
        if inline_bytes <= _INLINE_BYTES and size_bytes <= max_row_bytes:
            break
        inline_bytes -= size_bytes
        to_put.append(place)
    if not to_put:
        then(finished)
        return
    bare, left, refusal = replace(finished, rows=None), len(to_put), ""

    def put(place: int, value: Value | Refused) -> None:
        nonlocal left, refusal
        left -= 1
        if isinstance(value, Refused):
            refusal = f"a row of its list cannot be kept: {value.reason}"
        else:
            rows[place] = value
        if not left and refusal:
            then(replace(bare, state=State.FAILED, value=Value(), reason=refusal))
        elif not left:
            then(replace(bare, rows=tuple(rows)))

    prefix = f"value/{attempt.run}/{attempt.task}/{attempt.attempt}.{attempt.epoch}"
    for place in to_put:
        data, rows[place] = rows[place].inline, Value()
        large.put(attempt.run, f"{prefix}/{place}", data, partial(put, place))

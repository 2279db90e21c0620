"""What all stores must agree on, beside the layout of documents (`document.py`)."""

from meshflow.core.records import State, Stop
from meshflow.core.requests import WriteOutput
from meshflow.ids import RunId, workflow_of

OPEN_STATES = tuple(state.value for state in State if not state.is_final)
"""States of a run that something may follow, as they are stored."""

LARGE_BYTES = 64 * 1024
"""A pickled or bytes value above this is kept apart from its document, which stays small enough to be read and
rewritten often."""

MAX_BYTES = 512 * 1024 * 1024
"""No single value or blob may be larger: half of what SQLite can hold in one row, and more than fits a task's memory
several times over."""

TOKENS_KEPT = 1024
"""How many tokens of the latest extensions a document remembers. A batch is sent again within seconds, and one document
sees some hundred extensions in a second at most."""


VALUE_BLOBS = ("value/", "value0")
"""The range of the keys of those blobs that go with a document ("0" is what follows "/")."""

SWEEP_ROWS, SWEEP_BYTES = 2000, 16 * 1024 * 1024
"""About what one Sweep removes: some 50 ms of work, for which other writers wait. At least one row, however large."""

PROGRESS = ("state", "reason", "stop", "stop_reason", "owner", "epoch", "started_at", "ended_at", "total", "done")
"""The fields of a run record that change after it was created."""


def dag_runs_of(run: RunId) -> tuple[str, str]:
    """The range `low <= id < high` of the ids of all dag runs of a workflow run, in the order of code points. A dag run
    has none."""
    return (f"{run}/", f"{run}0") if run == workflow_of(run) else (run, run)


def outranked_by(stop: Stop) -> tuple[str, ...]:
    """What a run may have been asked before, if asking for `stop` is to make a difference."""
    ranks = list(Stop)
    return tuple(lower.value for lower in ranks[: ranks.index(stop)])


def order_of_output(chunk: WriteOutput) -> tuple[object, ...]:
    """Sort key of ReadOutput: by time, then offset; what follows only makes the order the same in every store."""
    return (chunk.at, chunk.offset, chunk.run, chunk.task, chunk.attempt, chunk.stream)


def spelled_out(text: str) -> str:
    """Text that every store can hold: UTF-8 has no place for lone surrogates (they stem from file names and output in
    another encoding), so they are spelled out, as `wire.py` does."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")

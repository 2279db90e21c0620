"""Where results are kept beyond their run, by what they were made of: tasks and calls with `cache=True`.

They are blobs of *generations*, each of which is all that was kept or used in one period. What is found in the
generation before is put into the current one, so that what is used stays. Generations have a record, like runs that
have ended, and leave the store like these (`cleaning.py`): results that were not used for one to two periods go, and
nothing has to be noted when one is used.

Invariants:
1. A result is found under the key of exactly what it was made of (`models/cache_keys.py`), or not at all. To lose one
   costs time and nothing else, so nobody waits for the cache, and nothing fails for it.
2. No list of runs shows a generation: it is neither a workflow run nor of one, and never open.
"""

from collections.abc import Sequence

from meshflow.core.records import RunRecord, State
from meshflow.core.requests import CreateRun, GetBlob, PutBlob
from meshflow.ids import RunId

PERIOD_S = 15 * 86400.0
"""How long one generation takes new results: those that were not used for 15 to 30 days go."""

MAX_RESULT_BYTES = 64 * 1024 * 1024
"""Larger results are not kept: to read them takes about as long as many a task does."""

ANSWER_S = 1.0
"""Who has not got an answer by then goes on without."""

_PREFIX = "cac4e00000000000"
"""So no id of a run begins, which are drawn at random."""

GENERATIONS = RunId(f"{_PREFIX}{0:08d}")
"""What generations are recorded as parts of; there is no such run."""


def generation(wall_at: float) -> RunId:
    """The one that takes results at that time."""
    return RunId(f"{_PREFIX}{max(1, int(wall_at / PERIOD_S)):08d}")


def is_generation(run: RunId) -> bool:
    """Whether this is no run, but a generation."""
    return run.startswith(_PREFIX)


def look_up(key: str, wall_at: float) -> tuple[GetBlob, GetBlob]:
    """How to look for the result under a key: the second is that of the generation before."""
    return GetBlob(generation(wall_at), key), GetBlob(generation(wall_at - PERIOD_S), key)


def keep(key: str, data: bytes, wall_at: float) -> tuple[CreateRun, PutBlob]:
    """How to keep a result, which may be sent again."""
    run = generation(wall_at)
    ended = RunRecord(run, "cache", "", "", GENERATIONS, State.COMPLETED, created_at=wall_at, ended_at=wall_at)
    return CreateRun(ended, {}), PutBlob(run, key, data)


def outdated(records: Sequence[object], wall_at: float, *, is_all: bool) -> list[RunId]:
    """Which of the generations are to be removed. `is_all`: all of them are."""
    current = generation(wall_at - PERIOD_S)
    runs = [record.run for record in records if isinstance(record, RunRecord)]
    return [run for run in runs if is_all or run < current]

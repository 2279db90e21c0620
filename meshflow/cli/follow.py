"""Following a run in the terminal until it ends."""

import sys
import time
from typing import IO, TYPE_CHECKING

from meshflow.core.records import State
from meshflow.references import WaitTimeout

from .output import print_json, run_document
from .progress import JsonLines, Progress

if TYPE_CHECKING:
    from meshflow.run_handle import RunHandle

_REDRAW_S = 0.2


def follow_run(
    run: "RunHandle",
    output: str = "text",
    timeout_s: float | None = None,
    *,
    out: IO[str] | None = None,
    err: IO[str] | None = None,
) -> State:
    """Show the run until it ends, and give its final state: what tasks print on `out` (None: stdout), progress on `err`
    (None: stderr); or, with `output` being "json", all of it as JSON lines. `timeout_s` None: for as long as it takes.

    Raises:
        WaitTimeout: the time is over; the run goes on.
        NotFound: the run was removed.
    """
    started_at = time.monotonic()
    following = run.follow()
    shown: Progress | JsonLines
    if output == "json":
        shown = JsonLines(run.id)
    else:
        shown = Progress(following.view, out or sys.stdout, err or sys.stderr, started_at=started_at)
    problem = ""
    while not following.is_done:
        for news in following.step(_REDRAW_S):
            shown.tell(news, time.monotonic())
        if bool(following.problem) != bool(problem):
            problem = following.problem
            shown.trouble(problem, time.monotonic())
        if not following.is_done:
            shown.tick(time.monotonic())
        if timeout_s is not None and time.monotonic() - started_at > timeout_s:
            raise WaitTimeout(f"run {run.id} did not end within {timeout_s:g} s; it goes on")
    run.ended_as(following.view)
    if output == "json":
        print_json(run_document(run.record), is_stream=True)
    else:
        shown.finish(time.monotonic())
    return following.view.state

"""Following a run in the terminal until it ends."""

import sys
import time
from typing import TYPE_CHECKING


from meshflow.core.records import State
from meshflow.printed import Line
from meshflow.references import WaitTimeout

from .base import hint
from .output import event_document, line_document, print_json, run_document
from .progress import Progress

if TYPE_CHECKING:
    from meshflow.client import RunHandle
    from meshflow.follow import News

_REDRAW_S = 0.2


def follow_run(run: "RunHandle", *, is_json: bool = False, timeout_s: float | None = None) -> State:
    """Show the run until it ends: progress on stderr, what tasks print on stdout; or all of it as JSON lines. Its state.

    Raises:
        WaitTimeout: the time is over; the run goes on.
        NotFound: the run was removed.
    """
    following = run.follow()
    started_at = time.monotonic()
    is_live = sys.stderr.isatty() and not is_json
    progress = Progress(following.view, sys.stdout, sys.stderr, is_live=is_live, started_at=started_at)
    told = ""
    while not following.is_done:
        for news in following.step(_REDRAW_S):
            if is_json:
                print_json(_news_document(run.id, news), is_stream=True)
            else:
                progress.tell(news, time.monotonic())
        if following.problem != told and not is_json:
            told = following.problem
            hint(f"waiting for the mesh: {told}" if told else "the mesh answers again")
        if not is_json and not following.is_done:
            progress.tick(time.monotonic())
        if timeout_s is not None and time.monotonic() - started_at > timeout_s:
            raise WaitTimeout(f"run {run.id} did not end within {timeout_s:g} s; it goes on")
    run.ended_as(following.view)
    if is_json:
        print_json(run_document(run.record), is_stream=True)
    else:
        progress.finish(time.monotonic())
    return following.view.state


def _news_document(run: str, news: "News") -> dict[str, object]:
    return line_document(run, news) if isinstance(news, Line) else event_document(news)



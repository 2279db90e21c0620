"""Watching a run from a terminal: what its tasks print, which run where, how many are done, and how long it takes.

What tasks print goes to `out`, all else to `err`. On a terminal one line at the bottom tells the state and is redrawn;
elsewhere each event is a line of its own, and a wait is told after `_STILL_S` seconds, then less and less often.
"""

import shutil
from typing import IO

import click

from meshflow.core.records import State
from meshflow.follow import News
from meshflow.printed import Line
from meshflow.queue.const import JobType
from meshflow.queue.models import JobEvent
from meshflow.run_view import RunView

from .output import colored, event_document, line_document, print_json, seconds

_STILL_S = 2.0
"""A wait longer than this is explained; people begin to wonder."""

_REDRAW_S = 0.1
"""The line at the bottom is redrawn no more often: eyes do not follow, and runs with many tasks take time to sum up."""

_MAX_NAMED = 3
"""How many running or waiting tasks are named before the rest is counted."""

_CLEAR_LINE = "\r\x1b[2K"

_TOLD_EVENTS = ("started", "succeeded", "stopped", "aborted", "failed", "skipped", "lost", "cancelled", "noted")
_WORDS = {"succeeded": "completed", "noted": "note:"}


class Progress:
    """Prints the news of one run. `now` is monotonic seconds."""

    def __init__(self, view: RunView, out: IO[str], err: IO[str], *, started_at: float) -> None:
        self._view = view
        self._out = out
        self._err = err
        self._is_live = err.isatty()
        self._started_at = started_at
        self._still_s = _STILL_S
        self._told_at = started_at
        self._is_drawn = False
        self._drawn_at = -_REDRAW_S
        self._told_ends = 0

    def tell(self, news: News, now: float) -> None:
        """Print one event or line."""
        self._clear()
        if isinstance(news, Line):
            click.echo(f"{self._label(news)} | {news.text}", file=self._out)
            return
        if news.type == JobType.Task and news.word in _TOLD_EVENTS and not (self._is_live and news.word == "started"):
            self._say(f"{self._task(news)} {self._outcome(news)}{self._count(news)}", now)
            if traceback := news.reason.partition("\n")[2]:
                click.echo(traceback, file=self._err)
        elif news.word in ("lost", "noted"):
            self._say(f"{news.type} {news.name} {self._outcome(news)}", now)

    def tick(self, now: float) -> None:
        """Redraw the line at the bottom, or tell that it takes long; to be called a few times a second."""
        if self._is_live:
            if now - self._drawn_at < _REDRAW_S:
                return
            self._drawn_at = now
            self._clear()
            columns = shutil.get_terminal_size().columns
            self._err.write(self.summary(now)[: columns - 1])  # a line that wraps could not be cleared
            self._err.flush()
            self._is_drawn = True
        elif now - self._told_at >= self._still_s:
            self._still_s *= 2
            self._say(self.summary(now), now)

    def trouble(self, problem: str, now: float) -> None:
        """Tell that the mesh does not answer, and why; with an empty text, that it answers again."""
        self._clear()
        self._say(f"waiting for the mesh: {problem}" if problem else "the mesh answers again", now)

    def finish(self, now: float) -> None:
        """Print how the run ended."""
        self._clear()
        view = self._view
        reason = f": {_first_line(view.reason)}" if view.reason else ""
        counted = f"{self._done()}/{len(view.tasks)} tasks done" if view.tasks else "no tasks"
        click.echo(
            f"{view.name} {colored(view.state.value)} in {seconds(now - self._started_at)}, {counted}{reason}",
            file=self._err,
        )

    def summary(self, now: float) -> str:
        """The state of the run in one line: how many tasks are done, what runs where, what waits for what."""
        tasks = self._view.tasks
        parts = [f"{self._view.name or 'run'} {self._done()}/{len(tasks)} done", seconds(now - self._started_at)]
        running = [f"{task.name} on {task.node}" for task in tasks if task.state is State.RUNNING]
        if running:
            parts.append("running: " + _some(running))
        waiting = [f"{task.name} (queue {task.queue!r})" for task in tasks if task.state is State.QUEUED]
        if waiting:
            parts.append("waiting for a slot: " + _some(waiting))
        unclaimed = [
            f"{dag.name} (queue {dag.queue!r})" for dag in self._view.dags.values() if dag.state is State.QUEUED
        ]
        if self._view.state is State.QUEUED:
            unclaimed.append(f"{self._view.name} (queue {self._view.queue!r})")
        if unclaimed:
            parts.append("waiting for a node: " + _some(unclaimed))
        return "  ".join(parts)

    def _done(self) -> int:
        return sum(1 for task in self._view.tasks if task.state.is_final)

    def _count(self, event: JobEvent) -> str:
        """How many tasks have ended by this event; the view may be ahead of it."""
        if event.word in ("started", "noted") or event.retry:
            return ""
        self._told_ends += 1
        return f"  [{self._view.reused + self._told_ends}/{self._view.task_count}]"

    def _label(self, line: Line) -> str:
        return line.task if len(self._view.dags) < 2 else f"{line.dag}/{line.task}"

    def _task(self, event: JobEvent) -> str:
        return f"{event.dag}/{event.name}" + (f" (attempt {event.attempt})" if event.attempt > 1 else "")

    def _outcome(self, event: JobEvent) -> str:
        text = colored(_WORDS.get(event.word, event.word))
        if event.hostname and event.word not in ("skipped", "noted"):
            text += f" on {event.hostname}"
        if event.duration is not None:
            text += f" in {seconds(event.duration)}"
        if event.reason:
            reason = _first_line(event.reason)
            text += f": {reason}" if event.word != "noted" else f" {reason}"
        return text + ("; will be tried again" if event.retry else "")

    def _say(self, text: str, now: float) -> None:
        self._told_at = now
        click.echo(f"{now - self._started_at:8.3f} s  {text}", file=self._err)

    def _clear(self) -> None:
        if self._is_drawn:
            self._err.write(_CLEAR_LINE)
            self._is_drawn = False


class JsonLines:
    """Prints the news of one run as JSON lines; progress is in them."""

    def __init__(self, run: str) -> None:
        self._run = run

    def tell(self, news: News, now: float) -> None:
        """Print one event or line."""
        content = line_document(self._run, news) if isinstance(news, Line) else event_document(news)
        print_json(content, is_stream=True)

    def trouble(self, problem: str, now: float) -> None:
        """Print nothing: the mesh is waited for."""

    def tick(self, now: float) -> None:
        """Print nothing: readers of JSON wait for the next line."""

    def finish(self, now: float) -> None:
        """Print nothing: the document of the run is the last line."""


def _some(names: list[str]) -> str:
    more = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _first_line(reason: str) -> str:
    """A reason without the traceback that may follow, which is told once, with the task that failed."""
    return reason.partition("\n")[0]

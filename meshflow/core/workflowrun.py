"""One run of a workflow, as the fold of its log: its dag runs, what its tasks asked of it, when it has ended, and how.

Invariants:
1. The state follows from the blueprint and the log entries alone.
2. A request is named by its key for all time. `start_dag` with a key that is in the log answers with the dag run it
   started then, so a task that is run again starts nothing twice.
3. Dag runs are named `<dag>:<n>`, n from 1 per blueprint, in the order in which they are logged.
4. The run ends when no dag run is open. After a stop no dag run is started.

Source: the behaviour of Lightflow 1.11 (spec/lightflow.md 2.3, 2.4, 2.9), with `join_dags()` mended so that dags which
only wait for each other do not wait for ever.
"""

from collections.abc import Container
from dataclasses import replace
from typing import assert_never

from meshflow.core.graph import WorkflowSpec
from meshflow.core.outcome import is_graver
from meshflow.core.records import (
    Claimed,
    DagEnded,
    DagRefused,
    DagStarted,
    Entry,
    Noted,
    RunEnded,
    State,
    Stop,
    StopAsked,
    TaskEnded,
    TasksQueued,
    TaskStarted,
    Value,
)


class WorkflowRun:
    """The state of one workflow run."""

    def __init__(self, spec: WorkflowSpec) -> None:
        self.spec = spec
        self.dags: dict[str, DagStarted] = {}
        """`{dag run name: how it was started}`, in order of their start; without the data once it has ended."""
        self.ends: dict[str, DagEnded] = {}
        self.stop = Stop.NONE
        self.end_state = State.COMPLETED
        self.reason = ""
        self.ended: State | None = None
        self._open: dict[str, None] = {}
        self._by_key: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    @property
    def open_dags(self) -> tuple[str, ...]:
        """Names of the dag runs that have not ended, in order of their start."""
        return tuple(self._open)

    def is_open(self, name: str) -> bool:
        """Whether there is a dag run of that name that has not ended."""
        return name in self._open

    @property
    def is_done(self) -> bool:
        """Whether no dag run is open, so that the run can be ended."""
        return not self._open

    def outcome(self) -> tuple[State, str]:
        """The final state the run has, or would have if it ended now, and the reason."""
        return self.end_state, self.reason

    def queue_of(self, name: str) -> str:
        """The queue of the dag run `name`."""
        return self.spec.dag_queues[self.spec.dags.index(self.dags[name].dag)]

    def missing_autostart(self) -> tuple[DagStarted, ...]:
        """The dag runs that begin by themselves and are not in the log yet."""
        if self.stop is not Stop.NONE:
            return ()
        wanted = [dag for dag in self.spec.autostart if f"autostart/{dag}" not in self._by_key]
        return tuple(DagStarted(f"{dag}:{self._counts.get(dag, 0) + 1}", dag, f"autostart/{dag}") for dag in wanted)

    def start_dag(self, dag: str, key: str, data: Value | None) -> DagStarted | str:
        """The dag run that a request of this key starts (to be logged and applied), or started before, or an error
        text. An empty text means that none may start any more because the run is stopping."""
        if key in self._by_key:
            return self.dags[self._by_key[key]]
        if dag not in self.spec.dags:
            known = ", ".join(repr(name) for name in self.spec.dags)
            return f"no dag {dag!r} in workflow {self.spec.name!r}; it has {known}"
        if self.stop is not Stop.NONE:
            return ""
        return DagStarted(f"{dag}:{self._counts.get(dag, 0) + 1}", dag, key, data)

    def is_joined(self, caller: str, names: tuple[str, ...] | None, idle: Container[str]) -> bool:
        """Whether a `join_dags(names)` of the dag run `caller` may return: none of `names` is open. None means all but
        the caller and those in `idle`, whose tasks all wait in such a join themselves."""
        if names is not None:
            return not any(name in self._open for name in names)
        return all(name == caller or name in idle for name in self._open)

    def apply(self, entry: Entry) -> None:
        """Fold one entry of the log; the entries that only dag runs have change nothing."""
        match entry:
            case DagStarted(name=name, dag=dag, key=key):
                if key not in self._by_key:
                    self._counts[dag] = self._counts.get(dag, 0) + 1
                    self._by_key[key] = name
                    self.dags[name] = entry
                    self._open[name] = None
            case DagEnded(name=name):
                if name in self._open:
                    del self._open[name]
                    self.ends[name] = entry
                    # Runs that start a dag per event go on for days: what was given to each must not stay.
                    self.dags[name] = replace(self.dags[name], data=None)
            case StopAsked(stop=stop, state=state, reason=reason):
                self._ask_stop(stop, state, reason)
            case RunEnded(state=state, reason=reason):
                self.ended, self.end_state, self.reason = state, state, reason
            case Claimed() | Noted() | DagRefused() | TasksQueued() | TaskStarted() | TaskEnded():
                pass
            case _:
                assert_never(entry)

    def _ask_stop(self, stop: Stop, state: State, reason: str) -> None:
        if self.stop is not Stop.CANCEL:
            self.stop = stop
        if is_graver(state, self.end_state):
            self.end_state, self.reason = state, reason

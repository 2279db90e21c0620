"""Any dag with any outcomes: every task ends once, and a replayed log gives the state that the live run had."""

import random
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from meshflow.core.dagrun import DagRun
from meshflow.core.graph import DagSpec, Edge, TaskSpec
from meshflow.core.records import Entry, State, Stop, StopAsked, TaskEnded, Value
from tests.core.builders import ended, started

STOPS = [StopAsked(Stop.STOP, State.STOPPED, "enough"), StopAsked(Stop.CANCEL, State.CANCELLED, "at once")]


def fold(spec: DagSpec, *entries: Entry) -> DagRun:
    run = DagRun(spec)
    for entry in entries:
        run.apply(entry)
    return run


@st.composite
def dags(draw: st.DrawFn) -> DagSpec:
    count = draw(st.integers(0, 8))
    tasks = tuple(
        TaskSpec(
            f"t{number}",
            "task",
            "",
            force_run=draw(st.booleans()),
            propagate_skip=draw(st.booleans()),
            splits=draw(st.sampled_from([None, None, (), ("t0",), ("t0", "t1")])),
        )
        for number in range(count)
    )
    pairs = [(parent, child) for child in range(count) for parent in range(child)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    return DagSpec("d", True, "dag", tasks, tuple(Edge(parent, child) for parent, child in edges))


class Live:
    """Runs a dag as an owner does, with random outcomes, and keeps the log."""

    def __init__(self, spec: DagSpec, rng: random.Random) -> None:
        self.run = DagRun(spec)
        self.log: list[Entry] = []
        self.ends: list[int] = []
        self.ready = dict.fromkeys(self.run.ready())
        self.attempts: dict[int, int] = {}
        self._rng = rng

    def record(self, entry: Entry) -> None:
        self.log.append(entry)
        step = self.run.apply(entry)
        self.log += step.ended
        self.ends += [end.task for end in step.ended]
        self.ready = {each: None for each in self.ready if not self.run.states[each].is_final}
        for each in step.ready:
            assert each not in self.ends
            self.ready[each] = None

    def play(self) -> None:
        while not self.run.is_done:
            assert self.ready or self.run.started_on, "nothing runs, nothing can, and the run is not done"
            if self._rng.random() < 0.05:
                self.record(self._rng.choice(STOPS))
            elif self.ready and (not self.run.started_on or self._rng.random() < 0.5):
                self._start(self._rng.choice(list(self.ready)))
            elif self.run.started_on:
                self._end(self._rng.choice(list(self.run.started_on)))

    def _start(self, each: int) -> None:
        del self.ready[each]
        self.record(started(each, self.run.attempts[each] + 1))

    def _end(self, each: int) -> None:
        number = self.run.attempts[each]
        if self._rng.random() < 0.3:
            state = self._rng.choice([State.LOST, State.FAILED, State.QUEUED])
            self.record(ended(each, state, attempt=number, retry=True))
            if not self.run.states[each].is_final:
                self.ready[each] = None
            return
        outcomes = [State.COMPLETED] * 8 + [State.STOPPED, State.STOPPED, State.ABORTED, State.FAILED]
        spec = self.run.tasks[each]
        mapped = spec.name.partition("[")[0]
        edges = self.run.spec.edges
        children = [self.run.tasks[edge.child].name for edge in edges if self.run.tasks[edge.parent].name == mapped]
        limit = tuple(name for name in children if self._rng.random() < 0.6) if self._rng.random() < 0.5 else None
        self.ends.append(each)
        if spec.splits is not None:
            rows = tuple(Value(b"row") for _ in range(self._rng.randrange(4)))
            rows_or_none = None if self.run.stop is not Stop.NONE else rows
            self.record(ended(each, attempt=number, rows=rows_or_none))
            self.ready |= {each: None for each in self.run.instances(each) if not self.run.states[each].is_final}
            return
        inputs = self.run.inputs(each)
        assert (spec.name != mapped) == (bool(inputs) and inputs[0].value == Value(b"row"))
        self.record(ended(each, self._rng.choice(outcomes), attempt=number, limit=limit, reason="so"))


def state_of(run: DagRun) -> tuple[object, ...]:
    return (run.states, run.attempts, run.failures, run.losses, run.started_on, run.ends, run.stop, run.outcome())


@given(dags(), st.randoms(use_true_random=False))
def test_every_task_of_any_dag_ends_once_whatever_happens(spec: DagSpec, rng: random.Random) -> None:
    live = Live(spec, rng)
    live.play()
    assert sorted(live.ends) == list(range(live.run.total_count))
    assert all(state.is_final for state in live.run.states)


@given(dags(), st.randoms(use_true_random=False), st.integers(0, 60))
def test_the_fold_of_any_part_of_a_log_is_the_state_of_the_live_run(
    spec: DagSpec, rng: random.Random, length: int
) -> None:
    live = Live(spec, rng)
    live.play()
    log = live.log[:length]
    once = fold(spec, *log)
    assert state_of(fold(spec, *live.log)) == state_of(live.run)
    # Skips and stops are consequences: a log that was cut off before they were written gives them all the same.
    assert state_of(fold(spec, *without_consequences(log))) == state_of(once)
    assert state_of(fold(spec, *log, *(entry for entry in log if isinstance(entry, TaskEnded) and not entry.retry)))


def without_consequences(log: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in log if not (isinstance(entry, TaskEnded) and entry.attempt == 0)]

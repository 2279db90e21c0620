"""Which tasks of a dag run keep their end when it is retried."""

import random

import pytest

from meshflow.core.dagrun import DagRun
from meshflow.core.graph import DagSpec
from meshflow.core.records import Entry, State, Stop, StopAsked, TaskEnded, Value
from meshflow.core.reuse import PastDag
from tests.core.builders import dag, ended, started, task

FAILED, STOPPED, SKIPPED = State.FAILED, State.STOPPED, State.SKIPPED


def past(spec: DagSpec, *entries: Entry) -> PastDag:
    """A dag run whose log was read."""
    found = PastDag(spec)
    for entry in entries:
        found.read(entry)
    return found


def kept(found: PastDag) -> str:
    """Names of the tasks that keep their end."""
    return " ".join(each.name for index, each in enumerate(found.spec.tasks) if index in found.kept)


def blob(index: int, state: State = State.COMPLETED) -> TaskEnded:
    """The end of a task with a large value."""
    return ended(index, state, value=Value(b"", f"value/{index}", 1000))


def not_started(index: int, state: State = STOPPED) -> TaskEnded:
    """The end of a task that never ran."""
    return TaskEnded(index, 0, state)


FAN = dag("a b c z", "a>b a>c b>z c>z")


def test_what_failed_and_what_hangs_on_it_is_open() -> None:
    found = past(FAN, ended(0), ended(1, FAILED), not_started(3), ended(2))
    found.open()
    assert kept(found) == "a c"
    assert len(found.kept) == 2


@pytest.mark.parametrize("state", [State.ABORTED, State.CANCELLED, State.LOST, FAILED])
def test_no_other_end_is_kept(state: State) -> None:
    found = past(FAN, ended(0, state))
    found.open()
    assert kept(found) == ""


def test_an_attempt_that_was_tried_again_is_no_end() -> None:
    found = past(FAN, ended(0, FAILED, retry=True), ended(0, attempt=2))
    found.open()
    assert kept(found) == "a"


def test_a_task_that_ended_itself_early_keeps_its_end_unless_the_run_was_stopping() -> None:
    by_itself = past(FAN, ended(0, STOPPED))
    assert kept(by_itself) == "a"
    asked = past(FAN, StopAsked(Stop.STOP, STOPPED, "enough"), ended(0, STOPPED))
    assert kept(asked) == ""
    after_failure = past(FAN, ended(0), ended(1, FAILED), ended(2, STOPPED))
    assert kept(after_failure) == "a"


def test_a_skipped_task_is_judged_anew_if_one_of_its_parents_runs_again() -> None:
    spec = dag("a b x y", "a>x b>x x>y")
    found = past(spec, ended(0, limit=()), ended(1, limit=()), not_started(2, SKIPPED), not_started(3, SKIPPED))
    found.open()
    assert kept(found) == "a b x y"
    found.open([1])
    assert kept(found) == "a"


def test_only_values_that_open_tasks_need_are_asked_for_and_each_once() -> None:
    found = past(FAN, blob(0), blob(1), ended(2, FAILED))
    assert found.open() == {"value/0": (0, blob(0).value), "value/1": (1, blob(1).value)}
    assert found.open([]) == {}
    assert found.other_blobs == ()


def test_values_that_nothing_needs_are_the_others() -> None:
    spec = dag("a b c", "a>b")
    found = past(spec, blob(0), blob(1), ended(2, FAILED))
    assert found.open() == {}
    assert [value.blob for value in found.other_blobs] == ["value/0", "value/1"]


def test_a_task_whose_value_is_gone_runs_again_and_what_it_needs_is_asked_for() -> None:
    spec = dag("a b c side", "a>b b>c b>side")
    found = past(spec, blob(0), blob(1), blob(3), ended(2, FAILED))
    assert list(found.open()) == ["value/1"]
    assert list(found.open([1])) == ["value/0"]
    assert found.open([0]) == {}
    assert kept(found) == "side"


def test_a_task_that_was_refused_a_dag_run_runs_again() -> None:
    found = past(FAN, ended(0), ended(1), ended(2, FAILED))
    found.refuse(1)
    found.open()
    assert kept(found) == "a"


ONCE = dag("a b", "", task("a", at_most_once=True))


@pytest.mark.parametrize(
    ("entries", "may_have_run"),
    [
        ([], ()),
        ([not_started(0)], ()),
        ([started(0)], ("a",)),
        ([started(0), ended(0, FAILED)], ("a",)),
        ([started(0), ended(0)], ()),
        ([started(0), ended(0, State.QUEUED, retry=True), not_started(0)], ()),
        (
            [started(0), ended(0, FAILED, retry=True), started(0, 2), ended(0, State.QUEUED, attempt=2, retry=True)],
            ("a",),
        ),
        ([started(1), ended(1, FAILED)], ()),
    ],
)
def test_what_may_run_at_most_once_is_named_if_it_may_have_run(
    entries: list[Entry], may_have_run: tuple[str, ...]
) -> None:
    found = past(ONCE, *entries)
    found.open()
    assert found.ran_at_most_once == may_have_run


def test_whether_a_root_is_open_is_told() -> None:
    found = past(FAN, ended(0), ended(1, FAILED))
    found.open()
    assert not found.has_open_root
    found = past(FAN)
    found.open()
    assert found.has_open_root


def random_spec(rng: random.Random, count: int) -> DagSpec:
    """A dag of tasks with edges from earlier to later ones."""
    names = [f"t{index}" for index in range(count)]
    edges = [f"{names[up]}>{names[down]}" for down in range(count) for up in range(down) if rng.random() < 0.4]
    special = [task(name, force_run=rng.random() < 0.1, propagate_skip=rng.random() < 0.8) for name in names]
    return dag(" ".join(names), " ".join(edges), *special)


def played(rng: random.Random, spec: DagSpec) -> list[Entry]:
    """The log of a run of the dag in which some tasks fail, and all that is ready ends in any order."""
    fold, log = DagRun(spec), list[Entry]()
    while fold.ready():
        index = rng.choice(fold.ready())
        state = rng.choices([State.COMPLETED, STOPPED, FAILED], [8, 1, 1])[0]
        names = tuple(each.name for each in spec.tasks if rng.random() < 0.5)
        limit = names if rng.random() < 0.3 else None
        end = ended(index, state, limit=limit if state is not FAILED else None, value=blob(index).value)
        log += [end, *fold.apply(end).ended]
    return log


@pytest.mark.parametrize("seed", range(300))
def test_a_log_of_the_ends_that_are_kept_folds_to_a_run_in_which_the_open_tasks_are_ready_in_turn(seed: int) -> None:
    rng = random.Random(seed)
    spec = random_spec(rng, rng.randint(1, 9))
    log = played(rng, spec)
    found = past(spec, *log)
    gone = [index for index in range(len(spec.tasks)) if rng.random() < 0.3]
    needed = found.open()
    readable: dict[int, Value] = {}
    while needed:
        readable |= {index: value for index, value in needed.values() if index not in gone}
        needed = found.open([index for index, _ in needed.values() if index in gone])
    fold = DagRun(spec)
    for entry in log:
        if isinstance(entry, TaskEnded) and entry.task in found.kept:
            fold.apply(entry)
    assert fold.done_count == len(found.kept)
    while ready := fold.ready():
        for index in ready:
            assert index not in found.kept
            given = {each.task: each.value for each in fold.inputs(index)}
            for edge in spec.edges:
                if edge.child == index and edge.parent in found.kept and fold.states[edge.parent] is not SKIPPED:
                    assert given[spec.tasks[edge.parent].name] == readable[edge.parent]
        fold.apply(ended(ready[0]))
    assert fold.is_done


MAPPED = dag("list fit sum other", "list>fit fit>sum other>fit", task("fit", splits=("list",), at_most_once=True))
LIST, FIT, SUM, OTHER, FIRST, SECOND = range(6)


def row(index: int) -> Value:
    """A large row."""
    return Value(b"", f"row/{index}", 1000)


def split(*rows: Value) -> TaskEnded:
    """The end of the mapped task, with what its instances get."""
    return ended(FIT, rows=rows)


def test_instances_of_a_mapped_task_keep_their_ends_one_by_one() -> None:
    log: list[Entry] = [
        blob(LIST),
        blob(OTHER),
        split(row(0), row(1)),
        started(FIRST),
        blob(FIRST),
        ended(SECOND, FAILED),
    ]
    found = past(MAPPED, *log)
    assert sorted(found.open()) == ["row/1", "value/3", "value/4"]
    assert (found.total_count, len(found.kept)) == (6, 4)
    assert [each in found.kept for each in (LIST, FIT, SUM, OTHER, FIRST, SECOND)] == [1, 1, 0, 1, 1, 0]
    assert (found.place(SECOND), found.place(SUM)) == ((FIT, 1), (SUM, None))
    assert found.ran_at_most_once == ("fit[1]",)


def test_a_mapped_task_whose_rows_are_gone_is_split_again_and_none_of_its_instances_is_kept() -> None:
    found = past(MAPPED, blob(LIST), ended(OTHER), split(row(0), row(1)), ended(FIRST), ended(SECOND, FAILED))
    assert found.open() == {"row/1": (FIT, row(1))}
    assert list(found.open([FIT])) == ["value/0"]
    assert [each in found.kept for each in (LIST, FIT, OTHER, FIRST)] == [True, False, True, False]
    assert found.ran_at_most_once == ("fit[0]", "fit[1]")


def test_a_mapped_task_that_was_not_split_as_the_run_was_stopping_runs_again() -> None:
    found = past(MAPPED, ended(LIST), ended(OTHER, FAILED), ended(FIT))
    found.open()
    assert len(found.kept) == 1
    assert found.ran_at_most_once == ()


def test_a_list_without_elements_was_split_all_the_same() -> None:
    found = past(MAPPED, ended(LIST), ended(OTHER), split(), ended(SUM, FAILED))
    found.open()
    assert len(found.kept) == 3

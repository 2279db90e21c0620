"""Retries of runs with mapped tasks: instances keep their ends, and their numbers if they can."""

from collections.abc import Sequence
from dataclasses import replace

from meshflow import wire
from meshflow.core.records import DagEnded, DagStarted, RunEnded, State, Value
from meshflow.core.requests import PutBlob
from meshflow.ids import dag_run_id
from tests.core.builders import WF, dag, definition, ended, task
from tests.core.test_retrying import FAILED, NEW, Old

MAPPED = dag("a m b n z", "a>m m>z b>n n>z", task("m", splits=("a",)), task("n", splits=("b",)))
A, M, B, N, Z, M0, M1, N0, N1 = range(9)


def mapped_run(rows: Sequence[Value]) -> Old:
    """A run in which `m` and then `n` were mapped over two rows each; `m[1]` and `n[1]` failed, and each instance had
    started a sub-dag."""
    small = (Value(b"0"), Value(b"1"))
    log = [ended(A), ended(B), ended(M, rows=tuple(rows)), ended(N, rows=small)]
    log += [ended(M0), ended(N0), ended(M1, FAILED), ended(N1, FAILED)]
    old = Old(ends=log)
    old.perform(PutBlob(WF, "dag/d", wire.encode(definition(MAPPED))))
    for number, instance in enumerate((M0, M1, N0, N1), 2):
        started = DagStarted(f"sub:{number}", "sub", f"{WF}/d:1/{instance}/start/1")
        old.log(WF, started, DagEnded(f"sub:{number}", State.COMPLETED, "", 2, 2))
        ends = (ended(0), ended(1), RunEnded(State.COMPLETED))
        old.log(dag_run_id(WF, f"sub:{number}"), *ends)
    return old


def keys(old: Old) -> list[str]:
    """The keys of the dag runs that instances had started, in the new run."""
    started = [entry for entry in old.entries() if isinstance(entry, DagStarted)]
    return [entry.key.removeprefix(f"{NEW}/") for entry in started[2:]]


def test_instances_keep_their_ends_and_their_numbers() -> None:
    small = (Value(b"0"), Value(b"1"))
    old = mapped_run(small)
    assert old.retry().reused == 6 + 10
    assert old.entries("d:1") == [
        *(ended(A), ended(B), ended(M, rows=small), ended(N, rows=small), ended(M0), ended(N0)),
    ]
    assert keys(old) == [f"d:1/{instance}/start/1" for instance in (M0, M1, N0, N1)]


def test_instances_behind_those_of_a_list_that_is_split_again_get_other_numbers_and_so_do_their_keys() -> None:
    old = mapped_run([Value(b"0"), Value(b"", "value/row", 70_000)])
    assert old.retry().reused == 4 + 10
    small = (Value(b"0"), Value(b"1"))
    assert old.entries("d:1") == [ended(A), ended(B), ended(N, rows=small), replace(ended(N0), task=M0)]
    assert keys(old) == [f"d:1/{M0}.gone/start/1", f"d:1/{M1}.gone/start/1", f"d:1/{M0}/start/1", f"d:1/{M1}/start/1"]

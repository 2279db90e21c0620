"""The store applied a write, and its reply was lost: at every write of a whole run, one after the other.

One workflow has everything that writes: sub-dags and joins, retries, a task that may run at most once, limits, pushes
and sets in the document, blobs and output; another one is stopped. For each n the run is played with the reply to the
n-th commit lost, twice (so that the repeated one is lost as well), on a store that says that the outcome is unknown.
Whatever n is, the run ends as it does without trouble, and nothing is doubled.

`MESHFLOW_LONG=1` plays every n on the slower stores too.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, assert_never

from meshflow.core.records import State, Stop
from meshflow.core.requests import (
    Answer,
    Append,
    AskStop,
    CopyBlob,
    CopyDocument,
    CreateRun,
    ExtendField,
    ForgetNode,
    GetBlob,
    GetField,
    ListNodes,
    ListRuns,
    LoadRun,
    PutBlob,
    ReadLog,
    ReadOutput,
    RegisterNode,
    RemoveDocument,
    RemoveNodes,
    RemoveOrphans,
    RemoveRun,
    Request,
    SetFields,
    Sweep,
    UpdateRun,
    WriteOutput,
)
from meshflow.errors import StoreUnavailable
from meshflow.ids import RunId
from meshflow.sim.checks import check_all, check_quiet
from meshflow.sim.cluster import Cluster
from meshflow.sim.programs import Program, define, workflow
from meshflow.store.base import Store
from meshflow.store.memory import MemoryStore
from meshflow.store.mongo import MongoStore
from meshflow.store.sqlite import SqliteStore

IS_LONG = os.environ.get("MESHFLOW_LONG") == "1"
LOST_IN_A_ROW = 2


def writes(request: Request) -> bool:
    """Whether a request changes anything. The match fails for a kind that is new and not judged yet."""
    match request:
        case CreateRun() | UpdateRun() | AskStop() | Append() | PutBlob() | SetFields() | ExtendField():
            return True
        case RemoveDocument() | WriteOutput() | RegisterNode() | ForgetNode() | RemoveRun():
            return True
        case CopyBlob() | CopyDocument() | RemoveOrphans() | RemoveNodes() | Sweep():
            return True
        case LoadRun() | ListRuns() | ReadLog() | GetBlob() | GetField() | ReadOutput() | ListNodes():
            return False
        case _:
            assert_never(request)


class LossyStore:
    """Applies every batch, but raises instead of answering the `lost`-th and the next commits that write."""

    def __init__(self, inner: Store, lost: int) -> None:
        self.inner = inner
        self.commit_count = 0
        self.kinds: Counter[str] = Counter()
        self._lost = lost
        self.is_lossy = True

    def perform(self, requests: Sequence[Request]) -> list[Answer]:
        """Perform `requests`, and perhaps do not say so.

        Raises:
            StoreUnavailable: they were performed.
        """
        answers = self.inner.perform(requests)
        kinds = [type(request).__name__ for request in requests if writes(request)]
        if kinds and self.is_lossy:
            self.commit_count += 1
            self.kinds.update(kinds)
            if self._lost <= self.commit_count < self._lost + LOST_IN_A_ROW:
                raise StoreUnavailable("the reply was lost")
        return answers

    def close(self) -> None:
        """Let go of the store."""
        self.inner.close()


@dataclass(frozen=True)
class Outcome:
    """What users see when all is over."""

    document: dict[str, object]
    printed: list[tuple[str, int, bytes]]
    blobs: list[bytes]
    states: list[tuple[str, str, str]]


class Play:
    """The two runs on a cluster of two nodes, from the first commit to silence."""

    def __init__(self, inner: Store, lost: int) -> None:
        self.store = LossyStore(inner, lost)
        self.cluster = Cluster(11, store=self.store)
        for _ in range(2):
            self.cluster.add_node()
        self.cluster.run(3.0)
        with self.client():
            self.run = self.submit(*everything(), keep_data=True)
            self.stopped = self.submit("stopped", {"s": Program(5.0), "after": Program()}, [("s", "after")])
            self.submit("brief", {"t": Program()}, [])  # its document goes, as it completes and none keeps it
        self.cluster.run(0.3)
        with self.client():
            self.cluster.ask_stop(self.stopped, Stop.CANCEL)
        assert self.cluster.run_until_final(60.0), "the runs do not end"
        check_all(self.cluster)
        check_quiet(self.cluster)
        self.store.is_lossy = False

    @contextmanager
    def client(self) -> Iterator[None]:
        """What a client asks is answered: who loses its answers is the nodes."""
        self.store.is_lossy = False
        yield
        self.store.is_lossy = True

    def submit(
        self, name: str, tasks: dict[str, Program], edges: list[tuple[str, str]], *, keep_data: bool = False
    ) -> RunId:
        """Submit a workflow of one dag and of those that it starts."""
        dags = [define(name, tasks, edges, {"flaky": {"retries": 2}, "once": {"at_most_once": True}})]
        if name == "main":
            dags.append(define("sub", {"x": Program(0.01, (("push", "subs"),))}, autostart=False))
        return self.cluster.submit(workflow(name, dags, clear_data_store=not keep_data), dags)

    def outcome(self) -> "Outcome":
        """What a user can see of it in the end."""
        read: list[Request] = [GetField(self.run, "data", ""), ReadOutput(self.run), ListRuns()]
        found: list[Any] = self.store.perform(read + [GetBlob(self.run, f"kept/b/{name}") for name in "ab"])
        (_, data), output, records, *blobs = found
        return Outcome(
            {key: sorted(value) if isinstance(value, list) else value for key, value in data.items()},
            sorted((chunk.task, chunk.offset, chunk.data) for chunk in output),
            blobs,
            sorted((record.workflow, record.name, record.state.value) for record in records),
        )


def everything() -> tuple[str, dict[str, Program], list[tuple[str, str]]]:
    """A dag with all that writes."""
    tasks = {
        "a": Program(0.01, (("push", "names"), ("set", "sets"), ("keep", "b"), ("print", "hello"))),
        "b": Program(0.01, (("start_dag", "sub"), ("start_dag", "sub"), ("join_dags", "mine"), ("keep", "b"))),
        "flaky": Program(0.01, failures=1),
        "once": Program(0.01, (("push", "names"), ("print", "once"))),
        "limiting": Program(0.01, limit=("taken",)),
        "taken": Program(0.01, (("push", "names"),)),
        "skipped": Program(0.01),
        "last": Program(0.01, (("push", "names"), ("print", "bye!!"))),
    }
    edges = [("a", name) for name in ("b", "flaky", "once", "limiting")]
    edges += [("limiting", "taken"), ("limiting", "skipped")]
    edges += [(name, "last") for name in ("b", "flaky", "once", "taken")]
    return "main", tasks, edges


def undisturbed(inner: Store) -> Play:
    """The play without a loss; it has every kind of write that there is outside of clients."""
    play = Play(inner, 10**9)
    assert play.cluster.record(play.run).state is State.COMPLETED
    assert play.cluster.record(play.stopped).state is State.CANCELLED
    outcome = play.outcome()
    assert outcome.document == {"names": ["a", "last", "once", "taken"], "subs": ["x", "x"], "sets": {"a": 1}}
    assert [task for task, *_ in outcome.printed] == ["a", "last", "once"]
    assert outcome.blobs == [b"a", b"b"]
    return play


def assert_same_whatever_is_lost(make: Callable[[], Store], step: int) -> None:
    """Play it with every `step`-th commit lost."""
    reference = undisturbed(make())
    expected = reference.outcome()
    for lost in range(1, reference.store.commit_count + 1, step):
        play = Play(make(), lost)
        assert play.outcome() == expected, f"the reply to commit {lost} was lost"
        assert play.cluster.refused_append_count() == 0, f"the reply to commit {lost} was lost"
        play.store.close()
    reference.store.close()


def test_every_kind_of_write_of_a_node_is_in_the_play() -> None:
    kinds = undisturbed(MemoryStore()).store.kinds
    assert set(kinds) == {
        "Append",
        "AskStop",
        "CreateRun",
        "ExtendField",
        "PutBlob",
        "RegisterNode",
        "RemoveDocument",
        "SetFields",
        "UpdateRun",
        "WriteOutput",
    }, kinds  # and ForgetNode, which is a node's last word; RemoveRun, which no node asks for


def test_a_lost_reply_changes_nothing_whichever_it_was() -> None:
    assert_same_whatever_is_lost(MemoryStore, 1)


def test_nor_with_the_embedded_store(tmp_path: Path) -> None:
    numbers = count()
    assert_same_whatever_is_lost(lambda: SqliteStore(tmp_path / f"{next(numbers)}.sqlite"), 1 if IS_LONG else 5)


def test_nor_with_mongodb(mongo_url: str) -> None:
    numbers, name = count(), mongo_url.rpartition("/")[2]
    assert_same_whatever_is_lost(lambda: MongoStore(mongo_url, database=f"{name}-{next(numbers)}"), 1 if IS_LONG else 5)

"""What the parts of the contract share: a store to ask, and runs to ask it about."""

from collections.abc import Callable, Iterator

import pytest

from meshflow.core.records import RunRecord, State
from meshflow.core.requests import Answer, CreateRun, LoadRun, Request, Sweep, Swept, UpdateRun
from meshflow.ids import RunId, dag_run_id
from meshflow.store.base import Store

StoreFactory = Callable[[], Store]

RUN = RunId("5f" * 12)
OTHER = RunId("60" * 12)
DAG = dag_run_id(RUN, "main_dag:1")
SECOND_DAG = dag_run_id(RUN, "sub_dag:2")


def record(run: RunId = RUN, **changes: object) -> RunRecord:
    """A fresh run record; of a dag run if `run` is one."""
    parent, _, name = run.partition("/")
    fields: dict[str, object] = {"name": name or "simple", "workflow": "simple", "queue": "workflow"}
    if name:
        fields |= {"parent": RunId(parent), "queue": "dag"}
    return RunRecord(run, **(fields | changes))  # type: ignore[arg-type]


def create(run: RunId = RUN, data: dict[str, object] | None = None, **changes: object) -> CreateRun:
    """Creates a run; a workflow run has a document, whose data section starts with `data`."""
    document: dict[str, object] | None = None if "/" in run else {"meta": {"name": "simple"}, "data": data or {}}
    return CreateRun(record(run, **changes), {}, document)


def ask(store: Store, request: Request) -> Answer:
    """The answer to one request."""
    (answer,) = store.perform([request])
    return answer


def end(run: RunId = RUN) -> UpdateRun:
    """Ends a run."""
    return UpdateRun(run, 99, State.COMPLETED, ended_at=100.0)


def sweep(store: Store) -> tuple[int, int]:
    """Sweep until it is done; how many rows and bytes were removed, and that in how many sweeps does not matter."""
    row_count = size_bytes = 0
    for _ in range(1000):
        swept = ask(store, Sweep())
        assert isinstance(swept, Swept), swept
        row_count += swept.row_count
        size_bytes += swept.size_bytes
        if swept.is_done:
            return row_count, size_bytes
    raise AssertionError("the sweeps do not end")


def load(store: Store, run: RunId = RUN) -> RunRecord:
    """The record of a run that must exist."""
    found = ask(store, LoadRun(run))
    assert isinstance(found, RunRecord), found
    return found


def handles(open_handle: Callable[[], Store]) -> Iterator[StoreFactory]:
    """A factory of handles, which are closed in the end."""
    given: list[Store] = []

    def give() -> Store:
        given.append(open_handle())
        return given[-1]

    yield give
    for handle in given:
        handle.close()


class ContractPart:
    """Gives each test a store."""

    @pytest.fixture
    def store(self, store_factory: StoreFactory) -> Store:
        """A handle to the store."""
        return store_factory()


FINAL_STATES = [state for state in State if state.is_final]

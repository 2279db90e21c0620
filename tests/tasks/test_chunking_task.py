"""ChunkingTask: what makes a group, and what becomes of it."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from meshflow.errors import WorkflowError
from meshflow.models.action import Action
from meshflow.models.task import BaseTask
from meshflow.models.task_data import MultiTaskData
from meshflow.tasks import ChunkingTask
from tests.tasks.task_fakes import FakeDocument, FakeRun

Run = Callable[[BaseTask], Action | None]
Chunks = Callable[..., list[list[str]]]

LETTER = "[a-z]"


@pytest.fixture
def chunks(run: Run, data: MultiTaskData, owner: FakeRun) -> Chunks:
    """The groups that a list of space-separated items makes."""

    def run_on(items: str, pattern: str = LETTER, **options: Any) -> list[list[str]]:
        owner.started.clear()
        data["items"] = items.split()
        assert run(ChunkingTask("chunk", "sub_dag", pattern, "items", **options)) is None
        assert all(name == "sub_dag" for name, _ in owner.started)
        return [given[options.get("out_key") or "items"] for _, given in owner.started]

    return run_on


def test_neighbours_of_one_name_make_a_group(chunks: Chunks) -> None:
    assert chunks("a1 a2 b1 a3") == [["a1", "a2"], ["b1"], ["a3"]]


def test_an_empty_list_makes_no_group(chunks: Chunks) -> None:
    assert chunks("") == []


def test_items_that_do_not_match_belong_to_no_group_and_end_none(chunks: Chunks) -> None:
    assert chunks("1 a1 2 a2 3") == [["a1", "a2"]]
    assert chunks("1 a1 2 a2 3", force_consecutive=False) == [["a1", "a2"]]


def test_all_of_one_name_make_a_group_if_they_need_not_be_neighbours(chunks: Chunks) -> None:
    assert chunks("b1 a1 b2 a2", force_consecutive=False) == [["b1", "b2"], ["a1", "a2"]]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("[a-z]_[0-9]", [["a_1x"], ["a_2x"]]),
        ("([a-z])_[0-9]", [["a_1x", "a_2x"]]),
        ("([0-9])(?P<match>x)", [["a_1x", "a_2x"]]),
        ("(?P<other>[0-9])(x)", [["a_1x"], ["a_2x"]]),
        ("(b)?_", []),
    ],
    ids=["whole match", "first group", "group called match", "first group though named", "group that took no part"],
)
def test_the_name_of_a_group_is_what_the_pattern_finds(chunks: Chunks, pattern: str, expected: list[list[str]]) -> None:
    assert chunks("a_1x a_2x", pattern) == expected


def test_a_flush_string_ends_a_group_and_belongs_to_none(chunks: Chunks) -> None:
    assert chunks("| a1 | | a2 b1 |") == [["a1"], ["a2"], ["b1"]]
    assert chunks("a1 STOP a2 | a3", flush_string="STOP") == [["a1"], ["a2", "a3"]]


def test_a_flush_string_is_an_item_like_any_other_if_groups_need_not_be_consecutive(chunks: Chunks) -> None:
    assert chunks("a1 | a2", force_consecutive=False) == [["a1", "a2"]]
    assert chunks("a1 | a2", pattern="[a|]", force_consecutive=False) == [["a1", "a2"], ["|"]]


def test_an_unfinished_group_goes_on_with_the_next_list(chunks: Chunks, store: FakeDocument) -> None:
    assert chunks("a1 b1", flush_on_end=False) == [["a1"]]
    assert store.fields == {"chunking_list": ["b1"]}
    assert chunks("b2 c1", flush_on_end=False) == [["b1", "b2"]]
    assert chunks("c2", flush_on_end=True) == [["c1", "c2"]]
    assert store.fields == {"chunking_list": []}


def test_a_group_that_was_flushed_is_not_kept(chunks: Chunks, store: FakeDocument) -> None:
    assert chunks("a1 |", flush_on_end=False) == [["a1"]]
    assert store.fields == {}


def test_without_force_consecutive_nothing_is_kept(chunks: Chunks, store: FakeDocument) -> None:
    assert chunks("a1", flush_on_end=False, force_consecutive=False) == [["a1"]]
    assert store.fields == {}


def test_decimation_keeps_every_nth_item_of_each_group(chunks: Chunks) -> None:
    assert chunks("a1 a2 a3 b1 b2", decimate=2) == [["a1", "a3"], ["b1"]]


def test_the_started_dag_gets_a_copy_and_the_task_keeps_its_data(
    chunks: Chunks, data: MultiTaskData, owner: FakeRun
) -> None:
    assert chunks("a1 b1", out_key="group") == [["a1"], ["b1"]]
    assert all(given["items"] == ["a1", "b1"] and given["value"] == 5 for _, given in owner.started)
    assert data["items"] == ["a1", "b1"]
    assert "group" not in data


def test_every_option_may_be_computed(run: Run, data: MultiTaskData, owner: FakeRun) -> None:
    data["files"] = ("a1", "b1", "b2")
    task = ChunkingTask(
        "chunk",
        dag_name=lambda data, store: f"dag_{data['value']}",
        match_pattern=lambda data, store: LETTER,
        in_key=lambda data, store: "files",
        decimate=lambda data, store: 2,
    )
    run(task)
    assert [(name, given["files"]) for name, given in owner.started] == [("dag_5", ["a1"]), ("dag_5", ["b1"])]


def test_the_options_of_a_task_are_accepted() -> None:
    assert ChunkingTask("chunk", "sub_dag", LETTER, "items", queue="gpu", retries=1).queue == "gpu"


@pytest.mark.parametrize("key", ["value", "nothing"])
def test_data_without_a_list_is_refused(run: Run, key: str, owner: FakeRun) -> None:
    with pytest.raises(WorkflowError, match=re.escape(f"task 'chunk' expects a list in data[{key!r}]")):
        run(ChunkingTask("chunk", "sub_dag", LETTER, key))
    assert owner.started == []


def test_a_decimation_below_one_is_refused(run: Run) -> None:
    with pytest.raises(WorkflowError, match="decimate of task 'chunk' is 0, expected at least 1"):
        run(ChunkingTask("chunk", "sub_dag", LETTER, "items", decimate=0))

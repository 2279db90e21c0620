"""The store beside the loop: in order, patient, and never silent."""

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest

from meshflow.core.requests import Answer, GetBlob, LoadRun, PutBlob, Refused, Request
from meshflow.errors import StoreRefusal, StoreUnavailable, UsageError
from meshflow.ids import RunId
from meshflow.runtime import storage as module
from meshflow.runtime.storage import Storage
from meshflow.store.remote import TooLargeForMesh

PATIENCE_S = 10.0


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(module, "_LONGEST_PAUSE_S", 0.001)


def load(name: str) -> Request:
    """A request that is known again."""
    return LoadRun(RunId(name))


class ScriptedStore:
    """Answers each request with its run, unless `trouble` of the batch raises. The first batch waits for `is_open`, so
    that what is asked after `is_asked` becomes one group."""

    def __init__(self, trouble: Callable[[list[str]], None]) -> None:
        self.batches: list[list[str]] = []
        self.is_asked = threading.Event()
        self.is_open = threading.Event()
        self._trouble = trouble

    def perform(self, requests: Sequence[Request]) -> list[Answer]:
        """Note and answer."""
        names = [str(getattr(request, "run", "")) for request in requests]
        self.is_asked.set()
        self.is_open.wait(PATIENCE_S)
        self.batches.append(names)
        self._trouble(names)
        return list(names)

    def close(self) -> None:
        """Nothing is open."""


class Asked:
    """A Storage on a scripted store, and what it said."""

    def __init__(self, trouble: Callable[[list[str]], None]) -> None:
        self.store = ScriptedStore(trouble)
        self.answers: list[tuple[str, object]] = []
        self.states: list[str] = []
        self._news = asyncio.Event()
        self.storage = Storage(lambda: self.store, asyncio.get_running_loop(), self.states.append)

    def ask(self, *names: str, refusable: bool = False) -> None:
        """Ask for these in one ask, known by the first name."""

        def refuse(reason: str) -> None:
            self.note(names[0], f"refused: {reason}")

        self.storage.ask(
            [load(name) for name in names],
            lambda answers: self.note(names[0], answers),
            refuse if refusable else None,
        )

    async def occupy(self, name: str) -> None:
        """Ask for this alone, and wait until the store is busy with it."""
        self.ask(name)
        assert await asyncio.to_thread(self.store.is_asked.wait, PATIENCE_S)

    def note(self, name: str, answer: object) -> None:
        """The ask of that name was answered."""
        self.answers.append((name, answer))
        self._news.set()

    async def done(self, count: int) -> list[tuple[str, object]]:
        """What was answered, when it is so many."""
        self.store.is_open.set()
        async with asyncio.timeout(PATIENCE_S):
            while len(self.answers) < count:
                self._news.clear()
                await self._news.wait()
        self.storage.close(PATIENCE_S)
        await asyncio.sleep(0)  # For what the thread has said since.
        return self.answers


def once(problem: Exception, *, of: str = "") -> Callable[[list[str]], None]:
    """Trouble with the first batch (that has a request `of`), and with no other."""
    left = [problem]

    def trouble(names: list[str]) -> None:
        if left and (not of or of in names):
            raise left.pop()

    return trouble


def always(problem: Exception, *, of: str) -> Callable[[list[str]], None]:
    """Trouble with every batch that has a request `of`."""

    def trouble(names: list[str]) -> None:
        if of in names:
            raise problem

    return trouble


def test_what_gathers_goes_together_and_in_order() -> None:
    async def play() -> Asked:
        asked = Asked(lambda names: None)
        await asked.occupy("first")
        for name in "abc":
            asked.ask(name, name.upper())
        await asked.done(4)
        return asked

    asked = asyncio.run(play())
    assert asked.store.batches == [["first"], ["a", "A", "b", "B", "c", "C"]]
    assert asked.answers == [("first", ["first"]), ("a", ["a", "A"]), ("b", ["b", "B"]), ("c", ["c", "C"])]


@pytest.mark.parametrize("problem", [StoreUnavailable("away"), RuntimeError("can't start new thread"), OSError(24, "")])
def test_whatever_goes_wrong_is_told_and_tried_again(problem: Exception) -> None:
    """A thread that ended with an error would leave the node waiting for ever, without a word."""

    async def play() -> Asked:
        asked = Asked(once(problem))
        asked.ask("a")
        await asked.done(1)
        return asked

    asked = asyncio.run(play())
    assert asked.answers == [("a", ["a"])]
    assert asked.store.batches == [["a"], ["a"]]
    assert asked.states[-1] == ""
    assert asked.states[0]


def test_a_store_that_cannot_be_opened_is_opened_again() -> None:
    async def play() -> list[Answer]:
        store, problems = ScriptedStore(lambda names: None), [StoreUnavailable("no file"), OSError(24, "no descriptor")]
        store.is_open.set()

        def open_store() -> ScriptedStore:
            if problems:
                raise problems.pop()
            return store

        answered: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        storage = Storage(open_store, asyncio.get_running_loop(), lambda state: None)
        storage.ask([load("a")], answered.set_result)
        answers = await asyncio.wait_for(answered, PATIENCE_S)
        storage.close(PATIENCE_S)
        return answers

    assert asyncio.run(play()) == ["a"]


def test_who_waits_for_an_answer_is_told_that_there_is_none() -> None:
    async def play() -> Asked:
        asked = Asked(once(StoreUnavailable("away")))
        await asked.occupy("first")
        asked.ask("client", refusable=True)
        asked.ask("core")
        await asked.done(3)
        return asked

    assert sorted(asyncio.run(play()).answers) == [
        ("client", "refused: away"),
        ("core", ["core"]),
        ("first", ["first"]),
    ]


@pytest.mark.parametrize(
    "problem",
    [
        UsageError("no such type"),
        TooLargeForMesh(GetBlob(RunId("bad"), "k"), "100 bytes"),
        StoreRefusal("a row is damaged"),
    ],
    ids=type,
)
def test_what_can_never_be_performed_is_refused_and_holds_nobody_up(problem: Exception) -> None:
    async def play() -> Asked:
        asked = Asked(always(problem, of="bad"))
        await asked.occupy("first")
        for name in ("a", "bad", "b"):
            asked.ask(name)
        await asked.done(4)
        return asked

    asked = asyncio.run(play())
    assert asked.answers == [("first", ["first"]), ("a", ["a"]), ("bad", [Refused(str(problem))]), ("b", ["b"])]


def test_an_answer_is_given_once_though_a_later_ask_of_its_group_has_to_wait() -> None:
    """Of a group that is performed one by one, only what was not answered is asked again."""

    async def play() -> Asked:
        refuse, wait = always(UsageError("never"), of="bad"), once(StoreUnavailable("away"), of="b")

        def trouble(names: list[str]) -> None:
            refuse(names)
            wait(names)

        asked = Asked(trouble)
        await asked.occupy("first")
        for name in ("a", "bad", "b"):
            asked.ask(name)
        await asked.done(4)
        return asked

    asked = asyncio.run(play())
    assert [name for name, _ in asked.answers] == ["first", "a", "bad", "b"]
    assert [batch for batch in asked.store.batches if "a" in batch] == [["a", "bad", "b"], ["a"]]


def test_put_blob_is_a_request_like_any_other() -> None:
    """What the shell itself asks for (large results, tasks' documents) is repeated like what the core asks."""

    async def play() -> Asked:
        asked = Asked(once(StoreUnavailable("the reply was lost")))
        asked.storage.ask([PutBlob(RunId("r"), "k", b"v")], lambda answers: asked.note("put", answers))
        await asked.done(1)
        return asked

    asked = asyncio.run(play())
    assert (asked.answers, asked.store.batches) == ([("put", ["r"])], [["r"], ["r"]])

"""What a node does when its keys change: in which order, and that it takes its time over it."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import pytest

from meshflow.core.key_messages import KeysHeld, UseKeys
from meshflow.core.messages import Message
from meshflow.ids import NodeId
from meshflow.runtime.folder import runtime_folder
from meshflow.runtime.key_files import keep_keys, replace_keys
from meshflow.runtime.key_keeper import KeyKeeper
from meshflow.runtime.key_ring import KeyRing
from meshflow.runtime.keys import MeshKey, make_key
from meshflow.runtime.transport.node import Transport

OLD, NEW = make_key(), make_key()
CLIENT = NodeId("c" * 16)


class Stage:
    """A transport and a loop that write down what they are told; time passes with `pass_time`."""

    def __init__(self, path: Path) -> None:
        self.said: list[object] = []
        self.is_out_of_descriptors = False
        self._due: list[Callable[[], None]] = []
        keep_keys(path, (OLD,))
        ring = KeyRing(runtime_folder("default", {}), path.parent, str(path))
        loop = cast(asyncio.AbstractEventLoop, self)
        self.keeper = KeyKeeper(ring, cast(Transport, self), loop, lambda: self.said.append("wake"))

    def send(self, to: NodeId, message: Message) -> bool:
        assert to == CLIENT
        assert isinstance(message, KeysHeld)
        self.said.append("answer" + message.problem)
        return True

    def hold(self) -> None:
        self.said.append("hold")

    def release(self) -> None:
        self.said.append("release")

    def use_keys(self, keys: Sequence[MeshKey]) -> None:
        if self.is_out_of_descriptors:
            raise OSError(24, "Too many open files")
        self.said.append(tuple(keys))

    def call_later(self, seconds: float, what: Callable[[], None]) -> object:
        assert 0 < seconds < 1
        self._due.append(what)
        return self

    def cancel(self) -> None:
        self._due.clear()

    def pass_time(self) -> None:
        due, self._due = self._due, []
        for what in due:
            what()

    def told(self) -> list[object]:
        """What was said since the last call, in order."""
        told, self.said = self.said, []
        return [each for each in told if each != "wake"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mesh.key"


@pytest.fixture
def stage(path: Path) -> Stage:
    return Stage(path)


def order(held: Sequence[MeshKey], keys: Sequence[MeshKey]) -> UseKeys:
    return UseKeys(1, tuple(key.fingerprint for key in held), tuple(key.text() for key in keys))


def test_a_second_key_is_tried_at_once(stage: Stage) -> None:
    stage.keeper.handle(CLIENT, order([OLD], [OLD, NEW]))
    assert stage.told() == ["answer", (OLD, NEW)]


def test_another_key_to_listen_with_is_used_after_the_answer_with_a_pause_on_both_sides(stage: Stage) -> None:
    stage.keeper.handle(CLIENT, order([OLD], [NEW, OLD]))
    assert stage.told() == ["answer", "hold"]
    stage.pass_time()
    assert stage.told() == [(NEW, OLD)]
    stage.pass_time()
    assert stage.told() == ["release"]


def test_what_is_told_during_the_pause_is_done_too(stage: Stage) -> None:
    stage.keeper.handle(CLIENT, order([OLD], [NEW, OLD]))
    stage.pass_time()
    stage.keeper.handle(CLIENT, order([NEW, OLD], [NEW]))
    stage.pass_time()
    assert stage.told() == ["answer", "hold", (NEW, OLD), "answer", "release", (NEW,)]


def test_a_file_that_was_changed_by_hand_is_followed(stage: Stage, path: Path) -> None:
    stage.keeper.look()
    assert stage.told() == []
    replace_keys(path, (NEW,))
    stage.keeper.look()
    stage.pass_time()
    stage.pass_time()
    assert stage.told() == ["hold", (NEW,), "release"]


def test_a_file_that_cannot_be_used_is_logged_and_changes_nothing(
    stage: Stage, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text("nonsense")
    stage.keeper.look()
    stage.keeper.look()
    assert stage.told() == []
    assert caplog.text.count("stay as they were") == 1


def test_without_a_descriptor_the_old_key_stays_until_there_is_one(stage: Stage) -> None:
    stage.is_out_of_descriptors = True
    stage.keeper.handle(CLIENT, order([OLD], [NEW]))
    stage.pass_time()
    stage.pass_time()
    assert "release" in stage.told()
    stage.is_out_of_descriptors = False
    stage.keeper.look()
    stage.pass_time()
    assert (NEW,) in stage.told()


def test_nothing_is_changed_once_the_node_has_ended(stage: Stage) -> None:
    stage.keeper.handle(CLIENT, order([OLD], [NEW]))
    stage.keeper.close()
    stage.pass_time()
    assert stage.told() == ["answer", "hold"]


def test_the_log_tells_of_the_change_without_secrets(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        stage.keeper.handle(CLIENT, order([OLD], [OLD, NEW]))
    assert f"{OLD.fingerprint} is in use, {NEW.fingerprint} tried too" in caplog.text
    assert not [key for key in (OLD, NEW) if key.secret in caplog.text or key.text() in caplog.text]

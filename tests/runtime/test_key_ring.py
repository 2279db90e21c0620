"""The keys of a process follow their file, and are replaced only by who knows what is there."""

from pathlib import Path

import pytest

from meshflow.core.key_messages import AskKeys, UseKeys
from meshflow.runtime.folder import RuntimeFolder, runtime_folder, share_key, state_folder
from meshflow.runtime.key_files import keep_keys, read_keys, replace_keys
from meshflow.runtime.key_keeper import answer
from meshflow.runtime.key_ring import KeyRing
from meshflow.runtime.keys import BadKey, MeshKey, make_key

ONE, TWO, THREE = make_key(), make_key(), make_key()


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"MESHFLOW_RUNTIME_DIR": str(tmp_path / "run"), "MESHFLOW_STATE_DIR": str(tmp_path / "state")}


@pytest.fixture
def runtime(environ: dict[str, str]) -> RuntimeFolder:
    return runtime_folder("default", environ)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    keep_keys(tmp_path / "given.key", (ONE,))
    return tmp_path / "given.key"


@pytest.fixture
def ring(runtime: RuntimeFolder, tmp_path: Path, path: Path) -> KeyRing:
    return KeyRing(runtime, tmp_path / "state", str(path))


def use(ring: KeyRing, held: tuple[MeshKey, ...], keys: tuple[MeshKey, ...]) -> str:
    message = UseKeys(7, tuple(key.fingerprint for key in held), tuple(key.text() for key in keys))
    answered = answer(ring, message)
    assert answered.number == 7
    assert answered.held == ring.fingerprints
    return answered.problem


def test_a_changed_file_is_seen_once(ring: KeyRing, path: Path) -> None:
    assert list(ring.keys) == [ONE]
    assert not ring.look()
    replace_keys(path, (ONE, TWO))
    assert ring.look()
    assert list(ring.keys) == [ONE, TWO]
    assert not ring.look()


def test_a_file_that_cannot_be_used_changes_nothing_and_is_told_of_once(ring: KeyRing, path: Path) -> None:
    path.write_text("nonsense")
    with pytest.raises(BadKey):
        ring.look()
    assert not ring.look()
    assert ring.keys == (ONE,)
    path.unlink()
    assert not ring.look()
    assert ring.keys == (ONE,)


def test_a_key_made_to_share_while_nodes_run_is_followed_to_its_new_place(
    runtime: RuntimeFolder, environ: dict[str, str]
) -> None:
    state = state_folder("default", environ)
    ring = KeyRing(runtime, state)
    share_key(runtime_folder("default", environ), state)
    assert not ring.look(), "it is the same key"
    assert ring.found.path == state / "mesh.key"
    ring.replace((ONE,))
    assert read_keys(state / "mesh.key") == read_keys(runtime.key_path) == (ONE,), "the old key is in neither place"


def test_a_vanished_file_does_not_bring_back_an_older_key(runtime: RuntimeFolder, environ: dict[str, str]) -> None:
    state = state_folder("default", environ)
    ring = KeyRing(runtime, state)
    share_key(runtime_folder("default", environ), state)
    ring.look()
    runtime.key_path.unlink()
    ring.replace((ONE,))
    runtime.register("1" * 16, "", "tcp://127.0.0.1:1", 0.0)  # type: ignore[arg-type]
    assert not runtime.key_path.exists()


def test_a_node_says_what_it_holds_and_replaces_it_when_told(ring: KeyRing, path: Path) -> None:
    asked = answer(ring, AskKeys(3))
    assert (asked.number, asked.held, asked.problem) == (3, (ONE.fingerprint,), "")
    assert use(ring, (ONE,), (ONE, TWO)) == ""
    assert read_keys(path) == ring.keys == (ONE, TWO)
    assert use(ring, (ONE,), (ONE, TWO)) == "", "twice is as good as once"


def test_of_two_who_change_the_keys_at_once_one_is_told_no(ring: KeyRing, path: Path) -> None:
    assert use(ring, (ONE,), (ONE, TWO)) == ""
    assert "changed meanwhile" in use(ring, (ONE,), (ONE, THREE))
    assert read_keys(path) == (ONE, TWO)


def test_what_another_node_of_the_host_has_written_counts(ring: KeyRing, path: Path) -> None:
    replace_keys(path, (ONE, TWO))
    assert use(ring, (ONE,), (ONE, TWO)) == ""


def test_nonsense_is_refused_without_repeating_it(ring: KeyRing) -> None:
    assert "0 keys" in use(ring, (ONE,), ())
    assert "9 keys" in use(ring, (ONE,), (TWO,) * 9)
    answered = answer(ring, UseKeys(1, (ONE.fingerprint,), ("secret nonsense",)))
    assert "not a mesh key" in answered.problem
    assert "secret nonsense" not in answered.problem
    assert ring.keys == (ONE,)


def test_a_file_that_cannot_be_written_is_said_before_and_when_it_is_tried(
    ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    assert "Read-only" in answer(ring, AskKeys(1)).problem
    assert "Read-only" in use(ring, (ONE,), (ONE, TWO))
    assert ring.keys == (ONE,)


def test_the_keys_in_a_message_are_not_shown() -> None:
    assert TWO.text() not in repr(UseKeys(1, (ONE.fingerprint,), (TWO.text(),)))

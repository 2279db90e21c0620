"""The runtime folder: nodes of one host find each other, and which key they use."""

import errno
import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from meshflow.ids import NodeId
from meshflow.runtime.address import Address
from meshflow.runtime.folder import RuntimeFolder, find_key, runtime_folder, share_key, state_folder, state_path
from meshflow.runtime.key_files import keep_keys
from meshflow.runtime.keys import BadKey, KeyRequired, UnsafeKeyFile, make_key
from meshflow.runtime.private import BadFolder
from meshflow.wire import PROTOCOL_VERSION

_ADDRESS = "tcp://127.0.0.1:7400"
_ONE, _TWO = NodeId("1" * 16), NodeId("2" * 16)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"MESHFLOW_RUNTIME_DIR": str(tmp_path / "run"), "MESHFLOW_STATE_DIR": str(tmp_path / "state")}


@pytest.fixture
def folder(environ: dict[str, str]) -> RuntimeFolder:
    return runtime_folder("default", environ)


def entries(environ: dict[str, str]) -> list[Path]:
    """The files of the nodes."""
    return sorted(Path(environ["MESHFLOW_RUNTIME_DIR"], "default", "nodes").iterdir())


# --- nodes ---


def test_a_registered_node_is_found_until_it_unregisters(folder: RuntimeFolder) -> None:
    assert folder.peers() == []
    folder.register(_ONE, "lab-1", _ADDRESS, 1000.5)
    (entry,) = folder.peers()
    assert (entry.id, entry.name, entry.address, entry.started_at) == (_ONE, "lab-1", _ADDRESS, 1000.5)
    assert (entry.pid, entry.host, entry.protocol) == (os.getpid(), socket.gethostname(), PROTOCOL_VERSION)
    folder.unregister(_ONE)
    folder.unregister(_ONE)
    assert folder.peers() == []


def test_the_longest_lived_node_comes_first(folder: RuntimeFolder) -> None:
    folder.register(_ONE, "young", _ADDRESS, 2000.0)
    folder.register(_TWO, "old", _ADDRESS, 1000.0)
    assert [entry.name for entry in folder.peers()] == ["old", "young"]


def test_meshes_of_other_names_and_users_do_not_see_each_other(environ: dict[str, str], tmp_path: Path) -> None:
    here = runtime_folder("default", environ)
    here.register(_ONE, "lab-1", _ADDRESS, 1.0)
    other = runtime_folder("beam", environ)
    assert other.peers() == []
    assert other.keys() != here.keys()


def test_registering_again_changes_the_entry_and_leaves_no_other_files(
    folder: RuntimeFolder, environ: dict[str, str]
) -> None:
    for address in ("tcp://127.0.0.1:1", "tcp://127.0.0.1:2"):
        folder.register(_ONE, "lab-1", address, 1.0)
    assert [entry.address for entry in folder.peers()] == ["tcp://127.0.0.1:2"]
    assert [path.name for path in entries(environ)] == [f"{_ONE}.json"]


def test_the_entry_of_a_process_that_is_gone_is_removed(folder: RuntimeFolder, environ: dict[str, str]) -> None:
    code = "import os; from meshflow.runtime.folder import *; runtime_folder('default', os.environ).register(*{!r})"
    arguments = (_TWO, "killed", _ADDRESS, 1.0)
    subprocess.run([sys.executable, "-c", code.format(arguments)], env={**os.environ, **environ}, check=True)
    assert [path.name for path in entries(environ)] == [f"{_TWO}.json"]
    assert folder.peers() == []
    assert entries(environ) == []


def test_a_process_that_took_over_the_pid_of_a_dead_node_is_not_that_node(
    folder: RuntimeFolder, environ: dict[str, str]
) -> None:
    folder.register(_ONE, "lab-1", _ADDRESS, 1.0)
    (path,) = entries(environ)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"born": "12"}))
    assert folder.peers() == []
    assert entries(environ) == []


def test_a_killed_node_whose_parent_has_not_noticed_is_gone(folder: RuntimeFolder, environ: dict[str, str]) -> None:
    code = (
        "import os, signal; from meshflow.runtime.folder import *\n"
        f"runtime_folder('default', os.environ).register({_TWO!r}, 'killed', {_ADDRESS!r}, 1.0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **environ})
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the process table
    assert folder.peers() == []
    process.wait()


def test_entries_of_other_hosts_and_of_other_releases_are_left_alone(
    folder: RuntimeFolder, environ: dict[str, str]
) -> None:
    folder.register(_ONE, "lab-1", _ADDRESS, 1.0)
    (path,) = entries(environ)
    known = json.loads(path.read_text())
    path.with_name("a.json").write_text(json.dumps(known | {"host": "elsewhere", "pid": 999_999_999}))
    path.with_name("b.json").write_text(json.dumps(known | {"colour": "blue"}))
    path.with_name("c.json").write_text('{"id": ')
    path.with_name("d.json").write_text("[]")
    path.with_name("e.json").write_bytes(b"\xff")
    assert [entry.name for entry in folder.peers()] == ["lab-1"]
    assert len(entries(environ)) == 6


def test_what_has_vanished_is_restored_by_registering_again(folder: RuntimeFolder, environ: dict[str, str]) -> None:
    """A user who logs out may lose the folder; nodes that go on must be found after the next login."""
    key = folder.keys()
    folder.register(_ONE, "lab-1", _ADDRESS, 1.0)
    for path in entries(environ):
        path.unlink()
    folder_path = Path(environ["MESHFLOW_RUNTIME_DIR"], "default")
    (folder_path / "nodes").rmdir()
    (folder_path / "mesh.key").unlink()
    folder_path.rmdir()
    folder.register(_ONE, "lab-1", _ADDRESS, 1.0)
    newcomer = runtime_folder("default", environ)
    assert newcomer.keys() == key
    assert [entry.id for entry in newcomer.peers()] == [_ONE]


def test_a_folder_that_cannot_be_used_is_said_so(environ: dict[str, str]) -> None:
    Path(environ["MESHFLOW_RUNTIME_DIR"]).touch()
    folder = runtime_folder("default", environ)
    for use in (folder.keys, folder.peers, lambda: folder.register(_ONE, "", "", 0.0)):
        with pytest.raises(BadFolder, match="MESHFLOW_RUNTIME_DIR"):
            use()


def test_a_folder_that_cannot_be_written_is_said_so(
    folder: RuntimeFolder, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        with pytest.raises(BadFolder, match="no hard links here"):
            folder.keys()
        state = state_folder("default", environ)
    folder.keys()
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        with pytest.raises(BadFolder, match=r"no hard links here.*MESHFLOW_STATE_DIR"):
            share_key(folder, state)
    Path(environ["MESHFLOW_RUNTIME_DIR"], "default", "nodes").touch()
    with pytest.raises(BadFolder, match="File exists"):
        folder.register(_ONE, "lab-1", _ADDRESS, 1.0)


def test_a_process_that_may_not_be_signalled_is_there_all_the_same(
    folder: RuntimeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    folder.register(_ONE, "lab-1", _ADDRESS, 1.0)
    monkeypatch.setattr(os, "kill", refuse)
    assert [entry.id for entry in folder.peers()] == [_ONE]


def test_a_process_that_ends_while_it_is_looked_at_is_gone(
    folder: RuntimeFolder, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.register(_ONE, "lab-1", _ADDRESS, 1.0)
    (path,) = entries(environ)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": 999_999_999}))
    monkeypatch.setattr(os, "kill", lambda *_: None)
    assert folder.peers() == []


# --- keys ---


def test_nodes_that_start_at_once_share_one_key(environ: dict[str, str]) -> None:
    with ThreadPoolExecutor(16) as pool:
        keys = list(pool.map(lambda _: runtime_folder("default", environ).keys(), range(32)))
    assert len(set(keys)) == 1


def test_the_key_of_this_host_serves_where_nothing_else_is_given(
    folder: RuntimeFolder, environ: dict[str, str]
) -> None:
    found = find_key(folder, state_path("default", environ))
    assert found.keys == folder.keys()
    assert found.path.is_file()
    assert not found.is_shared
    assert not state_path("default", environ).exists()


def test_sharing_the_key_keeps_it_and_marks_it_as_shared(folder: RuntimeFolder, environ: dict[str, str]) -> None:
    state = state_folder("default", environ)
    before = find_key(folder, state).key
    assert share_key(folder, state) == share_key(folder, state)
    found = find_key(folder, state)
    assert found.is_shared
    assert found.key == before
    assert found.path == state / "mesh.key"


def test_a_named_key_file_goes_before_all_and_must_be_sound(
    folder: RuntimeFolder, environ: dict[str, str], tmp_path: Path
) -> None:
    state = state_folder("default", environ)
    share_key(folder, state)
    key = keep_keys(tmp_path / "other.key", (make_key(),))
    found = find_key(folder, state, str(tmp_path / "other.key"))
    assert (found.keys, found.is_shared) == (key, True)
    with pytest.raises(BadKey, match="missing"):
        find_key(folder, state, str(tmp_path / "missing"))
    (tmp_path / "other.key").chmod(0o644)
    with pytest.raises(UnsafeKeyFile):
        find_key(folder, state, str(tmp_path / "other.key"))


def test_listening_beyond_loopback_takes_a_shared_key(folder: RuntimeFolder, environ: dict[str, str]) -> None:
    state = state_folder("default", environ)
    found = find_key(folder, state)
    found.check_bind(Address("127.0.0.1", 7400))
    for host in ("0.0.0.0", "192.0.2.7", "::"):
        with pytest.raises(KeyRequired, match=r"no key to share.*'meshflow key make'.*MESHFLOW_KEY_FILE"):
            found.check_bind(Address(host, 7400))
        share_key(folder, state)
        find_key(folder, state).check_bind(Address(host, 7400))

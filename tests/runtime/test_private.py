"""The folders of a user: which they are, and that nobody else can get into them."""

import os
import stat
import tempfile
from pathlib import Path

import pytest

from meshflow.runtime.private import BadFolder, BadMeshName, PrivateFolder, runtime_place, state_place


def place(base: Path, mesh: str = "default") -> PrivateFolder:
    return PrivateFolder(base, mesh, "MESHFLOW_RUNTIME_DIR")


# --- which folder ---


def test_the_runtime_folder_is_the_chosen_one_else_that_of_the_system_else_a_temporary_one(tmp_path: Path) -> None:
    environ = {"MESHFLOW_RUNTIME_DIR": "/chosen", "XDG_RUNTIME_DIR": str(tmp_path)}
    assert runtime_place("default", environ).path == Path("/chosen/default")
    del environ["MESHFLOW_RUNTIME_DIR"]
    assert runtime_place("default", environ).path == tmp_path / "meshflow" / "default"
    temporary = Path(tempfile.gettempdir(), f"meshflow-{os.getuid()}", "default")
    assert runtime_place("default", {}).path == temporary
    assert runtime_place("default", {"XDG_RUNTIME_DIR": str(tmp_path / "gone")}).path == temporary


def test_a_runtime_folder_of_another_user_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `su`, the variable still names the folder of who logged in."""
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    place = runtime_place("default", {"XDG_RUNTIME_DIR": str(tmp_path)})
    assert place.path == Path(tempfile.gettempdir(), "meshflow-12345", "default")


def test_the_state_folder_is_the_chosen_one_else_that_of_the_system_else_in_the_home() -> None:
    environ = {"MESHFLOW_STATE_DIR": "/chosen", "XDG_STATE_HOME": "/system", "HOME": "/home/ada"}
    assert state_place("beam", environ).path == Path("/chosen/beam")
    del environ["MESHFLOW_STATE_DIR"]
    assert state_place("beam", environ).path == Path("/system/meshflow/beam")
    del environ["XDG_STATE_HOME"]
    assert state_place("beam", environ).path == Path("/home/ada/.local/state/meshflow/beam")
    with pytest.raises(BadFolder, match=r"HOME is not set.*MESHFLOW_STATE_DIR"):
        state_place("beam", {})


def test_relative_paths_are_ignored() -> None:
    environ = {"MESHFLOW_STATE_DIR": "chosen", "XDG_STATE_HOME": "system", "HOME": "/home/ada"}
    assert state_place("default", environ).path == Path("/home/ada/.local/state/meshflow/default")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../up", ".hidden", "-x", "a b", "ä", "x" * 65])
def test_a_mesh_name_must_be_fit_for_a_folder(name: str) -> None:
    with pytest.raises(BadMeshName, match="cannot name a mesh"):
        runtime_place(name, {})


# --- private ---


def test_it_is_made_with_all_above_it_and_closed_to_others(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = place(tmp_path / "a" / "b" / "meshflow").ready()
    finally:
        os.umask(before)
    assert path == tmp_path / "a" / "b" / "meshflow" / "default"
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert place(tmp_path / "a" / "b" / "meshflow").ready() == path


def test_a_base_that_others_may_read_but_not_change_will_do(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert place(tmp_path).ready() == tmp_path / "default"


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_a_base_that_others_may_change_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(BadFolder, match=f"open to others .mode {mode:04o}., run: chmod 700 '{tmp_path}'"):
        place(tmp_path).ready()


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o770])
def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "default").mkdir()
    (tmp_path / "default").chmod(mode)
    with pytest.raises(BadFolder, match=f"mode {mode:04o}"):
        place(tmp_path).ready()


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    with pytest.raises(BadFolder, match=f"it belongs to user {mine}, not to user {mine + 1}.*MESHFLOW_RUNTIME_DIR"):
        place(tmp_path).ready()


def test_a_link_of_our_own_to_a_private_folder_will_do(tmp_path: Path) -> None:
    """Somebody whose home is small keeps it on a larger disk."""
    (tmp_path / "large").mkdir(0o700)
    (tmp_path / "meshflow").symlink_to(tmp_path / "large")
    assert place(tmp_path / "meshflow").ready().resolve() == tmp_path / "large" / "default"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a link to another user")
def test_a_link_that_another_user_made_is_a_trap(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir(0o700)
    (tmp_path / "meshflow").symlink_to(tmp_path / "ours")
    os.chown(tmp_path / "meshflow", 12345, 12345, follow_symlinks=False)
    with pytest.raises(BadFolder, match="it belongs to user 12345"):
        place(tmp_path / "meshflow").ready()


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "default").touch(0o600)
    with pytest.raises(BadFolder, match="it is not a folder"):
        place(tmp_path).ready()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadFolder, match="No such file"):
        place(tmp_path / "dangling").ready()


def test_a_place_that_cannot_be_made_is_said_so_with_the_variable_that_names_another() -> None:
    with pytest.raises(BadFolder, match=r"cannot use the folder '/proc/none/meshflow/default'.*MESHFLOW_RUNTIME_DIR"):
        place(Path("/proc/none/meshflow")).ready()

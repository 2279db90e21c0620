"""Files with mesh keys: only their owner can read them, and they are replaced whole."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from meshflow.runtime.key_files import MAX_KEYS, keep_keys, read_keys, replace_keys, why_fixed
from meshflow.runtime.keys import BadKey, MeshKey, UnsafeKeyFile, make_key

ONE, TWO = make_key(), make_key()


def test_kept_keys_can_be_read_by_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "mesh.key"
    before = os.umask(0)
    try:
        assert keep_keys(path, (ONE, TWO)) == (ONE, TWO)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_keys(path) == (ONE, TWO)
    assert os.listdir(tmp_path) == ["mesh.key"]


def test_a_key_that_is_there_is_kept(tmp_path: Path) -> None:
    first = keep_keys(tmp_path / "mesh.key", (ONE,))
    assert keep_keys(tmp_path / "mesh.key", (TWO,)) == first == (ONE,)


def test_of_many_that_come_at_once_all_get_the_same_key(tmp_path: Path) -> None:
    def start(_: int) -> tuple[MeshKey, ...]:
        return keep_keys(tmp_path / "mesh.key", (make_key(),))

    with ThreadPoolExecutor(16) as pool:
        keys = list(pool.map(start, range(64)))
    assert len(set(keys)) == 1
    assert os.listdir(tmp_path) == ["mesh.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_key_file_that_is_open_to_others_is_refused_with_the_command_to_mend_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "mesh.key"
    keep_keys(path, (ONE,))
    path.chmod(mode)
    with pytest.raises(UnsafeKeyFile, match=f"mode {mode:04o}.*run: chmod 600 '{path}'"):
        read_keys(path)
    with pytest.raises(UnsafeKeyFile):
        keep_keys(path, (TWO,))


def by_hand(path: Path, text: str | bytes) -> Path:
    path.touch(0o600)
    path.write_bytes(text.encode("ascii") if isinstance(text, str) else text)
    return path


def test_a_key_file_may_be_written_by_hand(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "mesh.key", f"\n# from the other host\n\n  {ONE.text()}  \n")
    assert read_keys(path) == (ONE,)


def test_several_keys_are_read_in_their_order_and_each_once(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "mesh.key", f"{TWO.text()}\n# the old one\n{ONE.text()}\n{TWO.text()}\n")
    assert read_keys(path) == (TWO, ONE)


def test_a_file_without_a_key_is_refused_by_name(tmp_path: Path) -> None:
    missing, folder = tmp_path / "missing", tmp_path / "folder"
    folder.mkdir()
    empty = by_hand(tmp_path / "empty", "")
    damaged = by_hand(tmp_path / "damaged", b"\xff\x00" * 1000)
    half = by_hand(tmp_path / "half", f"{ONE.text()}\n{TWO.text()[:-5]}\n")
    for path in (missing, folder, empty, damaged, half):
        with pytest.raises(BadKey, match=f"'{path}'"):
            read_keys(path)


def test_more_keys_than_a_connection_may_try_are_refused(tmp_path: Path) -> None:
    keys = "".join(f"{make_key().text()}\n" for _ in range(MAX_KEYS + 1))
    with pytest.raises(BadKey, match=f"more than {MAX_KEYS} keys"):
        read_keys(by_hand(tmp_path / "many", keys))
    with pytest.raises(BadKey, match="4096 bytes"):  # and none is cut off unseen
        read_keys(by_hand(tmp_path / "long", f"{ONE.text()}\n" + "#" * 4096 + f"\n{TWO.text()}\n"))


def test_replaced_keys_are_private_and_leave_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "mesh.key"
    keep_keys(path, (ONE,))
    assert why_fixed(path) == ""
    replace_keys(path, (TWO, ONE))
    assert read_keys(path) == (TWO, ONE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["mesh.key"]


def test_a_link_to_a_key_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    path, target = tmp_path / "mesh.key", tmp_path / "real" / "mesh.key"
    keep_keys(target, (ONE,))
    path.symlink_to(target)
    replace_keys(path, (TWO,))
    assert path.is_symlink()
    assert read_keys(target) == (TWO,)


def test_a_file_that_cannot_be_replaced_says_so_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a read-only file system, which root, too, cannot write."""
    path = tmp_path / "mesh.key"
    keep_keys(path, (ONE,))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    assert why_fixed(path) == f"the key file '{path}' cannot be replaced: Read-only file system"
    with pytest.raises(OSError, match="Read-only"):
        replace_keys(path, (TWO,))
    assert read_keys(path) == (ONE,)

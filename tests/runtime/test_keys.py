"""The mesh key: as text, and in files that only their owner can read."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from meshflow.runtime.keys import BadKey, MeshKey, UnsafeKeyFile, keep_key, make_key, parse_key, read_key


def test_every_key_is_another() -> None:
    one, two = make_key(), make_key()
    assert len({one.public, one.secret, two.public, two.secret}) == 4
    assert all(len(each) == 40 for each in (one.public, one.secret))


def test_the_text_of_a_key_is_one_word_that_gives_the_key_back() -> None:
    for _ in range(50):
        key = make_key()
        text = key.text()
        assert text.replace("_", "").replace("-", "").isalnum()
        assert parse_key(f"  {text}\n") == key


def test_the_secret_is_not_shown() -> None:
    key = make_key()
    for shown in (repr(key), str(key), f"{key}"):
        assert key.secret not in shown
        assert key.text() not in shown
        assert key.public in shown


def test_a_badly_copied_key_is_told_from_another_one() -> None:
    text = make_key().text()
    for position in range(len("meshkey1_"), len(text)):
        changed = "A" if text[position] != "A" else "B"
        with pytest.raises(BadKey, match="not copied correctly"):
            parse_key(text[:position] + changed + text[position + 1 :])


@pytest.mark.parametrize("text", ["", "nonsense", "meshkey1_AAAA", "meshkey1_" + "ü" * 48, "A" * 48])
def test_what_is_no_key_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(BadKey, match="one word that begins with 'meshkey1_'") as caught:
        parse_key(text)
    assert not text or text not in str(caught.value)


def test_a_shortened_key_is_refused() -> None:
    text = make_key().text()
    for length in range(len("meshkey1_"), len(text)):
        with pytest.raises(BadKey):
            parse_key(text[:length])


# --- files ---


def test_a_kept_key_can_be_read_by_its_owner_only(tmp_path: Path) -> None:
    key, path = make_key(), tmp_path / "mesh.key"
    before = os.umask(0)
    try:
        assert keep_key(path, key) == key
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_key(path) == key
    assert os.listdir(tmp_path) == ["mesh.key"]


def test_a_key_that_is_there_is_kept(tmp_path: Path) -> None:
    first = keep_key(tmp_path / "mesh.key", make_key())
    assert keep_key(tmp_path / "mesh.key", make_key()) == first


def test_of_many_that_come_at_once_all_get_the_same_key(tmp_path: Path) -> None:
    def start(_: int) -> MeshKey:
        return keep_key(tmp_path / "mesh.key", make_key())

    with ThreadPoolExecutor(16) as pool:
        keys = list(pool.map(start, range(64)))
    assert len(set(keys)) == 1
    assert os.listdir(tmp_path) == ["mesh.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_key_file_that_is_open_to_others_is_refused_with_the_command_to_mend_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "mesh.key"
    keep_key(path, make_key())
    path.chmod(mode)
    with pytest.raises(UnsafeKeyFile, match=f"mode {mode:04o}.*run: chmod 600 '{path}'"):
        read_key(path)
    with pytest.raises(UnsafeKeyFile):
        keep_key(path, make_key())


def test_a_key_file_may_be_written_by_hand(tmp_path: Path) -> None:
    key, path = make_key(), tmp_path / "mesh.key"
    path.touch(0o600)
    path.write_text(f"\n# from the other host\n\n  {key.text()}  \n")
    assert read_key(path) == key


def test_a_file_without_a_key_is_refused_by_name(tmp_path: Path) -> None:
    missing, folder, empty, damaged = (tmp_path / name for name in ("missing", "folder", "empty", "damaged"))
    folder.mkdir()
    empty.touch(0o600)
    damaged.touch(0o600)
    damaged.write_bytes(b"\xff\x00" * 5000)
    for path in (missing, folder, empty, damaged):
        with pytest.raises(BadKey, match=f"'{path}'"):
            read_key(path)

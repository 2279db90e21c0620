"""Files with mesh keys: one per line, the one in use first.

A node listens with the first key, and proves itself with it. When it connects, it tries all of them at once, and the
other side takes the one that it listens with. So a key is changed without a gap in three steps, each done everywhere
before the next begins:

    old          one key
    old, new     everybody could speak with either
    new, old     whoever listens goes over to the new one; connections made with the old one are closed
    new          the old one is not tried any more

Files appear whole or not at all, and only their owner can read them.
"""

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from meshflow.runtime.keys import BadKey, MeshKey, UnsafeKeyFile, parse_key

MAX_KEYS = 8
"""Most keys in a file. A change needs two, and every connection that is made costs one socket per key."""

_COMMENT = """\
# The key of a MeshFlow mesh: who can read this may run code on all of its nodes.
# Of several, the first is in use, and the others are tried as well.
"""
_MAX_FILE_BYTES = 4096
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_keys(path: Path) -> tuple[MeshKey, ...]:
    """The keys in the file, at least one; the one in use first.

    Raises:
        BadKey: there is no such file, it cannot be read, or it holds something else than keys.
        UnsafeKeyFile: others may read or change it.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & _OTHERS:
                raise UnsafeKeyFile(path, mode)
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as problem:
        raise BadKey(f"the key file '{path}' cannot be read: {problem.strerror}") from problem
    lines = [line.strip() for line in data.decode("ascii", "replace").splitlines()]
    words = dict.fromkeys(line for line in lines if line and not line.startswith("#"))
    if len(data) > _MAX_FILE_BYTES or len(words) > MAX_KEYS:
        raise BadKey(
            f"the key file '{path}' holds more than {MAX_KEYS} keys or {_MAX_FILE_BYTES} bytes; expected one key per "
            "line, and comments that begin with '#'"
        )
    try:
        return tuple(parse_key(word) for word in words or [""])
    except BadKey as problem:
        raise BadKey(f"in the key file '{path}': {problem}") from None


def keep_keys(path: Path, keys: tuple[MeshKey, ...]) -> tuple[MeshKey, ...]:
    """Write the keys to a new file; if the file exists, leave it. Returns the keys that the file holds: of several
    processes that do this at once, one wins, and all get the same.

    Raises:
        BadKey, UnsafeKeyFile: the file exists, and is not fit to be used.
        OSError: it cannot be written.
    """
    # Linking a complete file to the name is atomic, and fails if the name is taken; with O_EXCL, others would read a
    # file that is not written yet.
    unfinished = _write_beside(path, keys)
    try:
        with suppress(FileExistsError):
            os.link(unfinished, path)
    finally:
        os.unlink(unfinished)
    return read_keys(path)


def replace_keys(path: Path, keys: tuple[MeshKey, ...]) -> None:
    """Put the keys in the place of those in the file. Its owner stays, and a link to it stays a link.

    Raises:
        OSError: it cannot be written; the file is as it was.
    """
    target = Path(os.path.realpath(path))
    before = target.stat() if target.exists() else None
    unfinished = _write_beside(target, keys)
    try:
        if before is not None and before.st_uid != os.geteuid():
            os.chown(unfinished, before.st_uid, before.st_gid)  # root rotates the key of another user
        os.replace(unfinished, target)
    except OSError:
        os.unlink(unfinished)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def why_fixed(path: Path) -> str:
    """Why the keys in the file cannot be replaced; empty if they can. The file is left as it is."""
    target = Path(os.path.realpath(path))
    try:
        if target.stat().st_dev != target.parent.stat().st_dev:
            return f"the key file '{path}' is mounted by itself, and cannot be replaced from here"
        handle, name = tempfile.mkstemp(prefix=".key-", dir=target.parent)
        os.close(handle)
        os.unlink(name)
    except OSError as problem:
        return f"the key file '{path}' cannot be replaced: {problem.strerror}"
    return ""


def _write_beside(path: Path, keys: tuple[MeshKey, ...]) -> str:
    handle, name = tempfile.mkstemp(prefix=".key-", dir=path.parent)  # with mode 0600
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(_COMMENT + "".join(f"{key.text()}\n" for key in keys))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        os.unlink(name)
        raise
    return name

"""What nodes and clients of one host find in the folders of their mesh (`private.py` says which folders).

In the runtime folder, where they find each other:

    mesh.key          the key of a mesh that is on this host only; made by who comes first
    nodes/<id>.json   one per node; what a killed node leaves is removed by who finds it

In the state folder, beside the embedded store:

    mesh.key          the key of a mesh that other hosts share; made on demand

Files appear whole or not at all, so that several processes may come at once.
"""

import json
import os
import socket
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from meshflow.ids import NodeId
from meshflow.runtime.address import Address
from meshflow.runtime.key_files import keep_keys, read_keys, replace_keys
from meshflow.runtime.keys import KeyRequired, MeshKey, make_key
from meshflow.runtime.private import STATE_VARIABLE, BadFolder, PrivateFolder, runtime_place, state_place
from meshflow.wire import PROTOCOL_VERSION

_KEY_FILE = "mesh.key"
_STATE_INDEX, _START_INDEX = 0, 19
"""In /proc/<pid>/stat, after the name of the program (proc(5): fields 3 and 22)."""


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """What a node tells the others of its host, and the clients there."""

    id: NodeId
    name: str
    address: str
    started_at: float
    """Wall clock."""
    protocol: int
    host: str
    pid: int
    born: str
    """When the process started, in the words of its host, since a pid may be used again; empty: the host can't say."""


class RuntimeFolder:
    """The runtime folder of a mesh. It is made when needed, and again when it vanished."""

    def __init__(self, place: PrivateFolder) -> None:
        self._place = place
        self._keys: tuple[MeshKey, ...] = ()

    def keys(self) -> tuple[MeshKey, ...]:
        """The keys of the mesh on this host, the one in use first; made when there is none.

        Raises:
            BadFolder: the folder cannot be used.
            BadKey, UnsafeKeyFile: there is a key file, and it cannot be used.
        """
        path = self._place.ready() / _KEY_FILE
        try:
            self._keys = read_keys(path) if path.exists() else keep_keys(path, self._keys or (make_key(),))
        except OSError as problem:
            raise self._place.bad(problem) from problem
        return self._keys

    def replace_keys(self, keys: tuple[MeshKey, ...]) -> None:
        """Put other keys in the place of those that are there.

        Raises:
            BadFolder, OSError: they cannot be written; the old ones are still there.
        """
        replace_keys(self._place.ready() / _KEY_FILE, keys)
        self._keys = keys

    def follow(self, keys: tuple[MeshKey, ...]) -> None:
        """The key of this host's mesh, which was made one to share and is kept elsewhere, has changed there: leave no
        revoked key here.

        Raises:
            OSError: it cannot be written.
        """
        self._keys = ()
        if self.key_path.exists():
            self.replace_keys(keys)

    @property
    def key_path(self) -> Path:
        """The file with those keys."""
        return self._place.path / _KEY_FILE

    def register(self, node: NodeId, name: str, address: str, started_at: float) -> None:
        """Tell others of the node of this process. To be repeated every minute: it restores what has vanished, and the
        key too if this object has given it out.

        Raises:
            BadFolder: the folder cannot be used.
            BadKey, UnsafeKeyFile: there is a key file, and it cannot be used.
        """
        if self._keys:
            self.keys()
        pid = os.getpid()
        entry = NodeEntry(node, name, address, started_at, PROTOCOL_VERSION, socket.gethostname(), pid, _birth(pid))
        try:
            _write_whole(self._place.ready() / "nodes" / f"{node}.json", json.dumps(asdict(entry)))
        except OSError as problem:
            raise self._place.bad(problem) from problem

    def unregister(self, node: NodeId) -> None:
        """Take the entry of a node away, if it is still there."""
        with suppress(OSError):
            (self._place.path / "nodes" / f"{node}.json").unlink()

    def peers(self) -> list[NodeEntry]:
        """The nodes of this host, the longest-lived first; the entries of processes that are gone are removed.

        Raises:
            BadFolder: the folder cannot be used.
        """
        found = []
        for path in (self._place.ready() / "nodes").glob("*.json"):
            with suppress(OSError, ValueError, TypeError):  # removed by another reader, or written by another release
                entry = NodeEntry(**json.loads(path.read_text("utf-8")))
                if entry.host != socket.gethostname():
                    continue  # a folder that hosts share: their processes are not ours to judge
                if _is_running(entry):
                    found.append(entry)
                else:
                    path.unlink()
        return sorted(found, key=lambda entry: (entry.started_at, entry.id))


def runtime_folder(mesh: str, environ: Mapping[str, str]) -> RuntimeFolder:
    """The runtime folder of the mesh of that name; nothing is made yet.

    Raises:
        BadMeshName: `mesh` cannot be the name of a folder.
    """
    return RuntimeFolder(runtime_place(mesh, environ))


def state_path(mesh: str, environ: Mapping[str, str]) -> Path:
    """Where the state folder of the mesh is, or would be.

    Raises:
        BadMeshName: `mesh` cannot be the name of a folder.
        BadFolder: the environment names no place.
    """
    return state_place(mesh, environ).path


def state_folder(mesh: str, environ: Mapping[str, str]) -> Path:
    """The state folder of the mesh, made if it was not there. If it cannot be used, no other place is chosen instead:
    what was accepted must not get lost.

    Raises:
        BadMeshName: `mesh` cannot be the name of a folder.
        BadFolder: it cannot be used.
    """
    return state_place(mesh, environ).ready()


# --- the key of a mesh: of this host, or shared ---


@dataclass(frozen=True, slots=True)
class FoundKey:
    """The key to use, and where it is from."""

    keys: tuple[MeshKey, ...]
    """The one in use first, then those that are tried as well."""
    path: Path
    is_shared: bool
    """Whether somebody made or copied it on purpose, for more than one host."""

    @property
    def key(self) -> MeshKey:
        """The key in use."""
        return self.keys[0]

    def check_bind(self, numeric: Address) -> None:
        """Refuse to listen where other hosts can reach us with a key that they can't have.

        Raises:
            KeyRequired: just that.
        """
        if not self.is_shared and not numeric.is_loopback:
            raise KeyRequired(str(numeric))


def shared_key_path(state: Path) -> Path:
    """Where `share_key` puts the key."""
    return state / _KEY_FILE


def find_key(runtime: RuntimeFolder, state: Path, key_file: str = "") -> FoundKey:
    """The key in `key_file`; else the one that `share_key` made; else the one of this host's mesh, made if need be.

    Raises:
        BadFolder: the runtime folder is needed and cannot be used.
        BadKey, UnsafeKeyFile: there is a key file, and it cannot be used.
    """
    shared = Path(key_file) if key_file else shared_key_path(state)
    if key_file or os.path.exists(shared):  # not `Path.exists`, which raises where we may not look
        return FoundKey(read_keys(shared), shared, is_shared=True)
    return FoundKey(runtime.keys(), runtime.key_path, is_shared=False)


def share_key(runtime: RuntimeFolder, state: Path) -> FoundKey:
    """Make the key of this host's mesh one to share with other hosts: from now on `find_key` finds it in the folder
    `state`, which must exist. It stays the same key, so that nodes that run here go on. Called again, it changes
    nothing.

    Raises:
        BadFolder: one of the folders cannot be used.
        BadKey, UnsafeKeyFile: there is a key file, and it cannot be used.
    """
    path = shared_key_path(state)
    try:
        return FoundKey(keep_keys(path, runtime.keys()), path, is_shared=True)
    except OSError as problem:
        raise BadFolder(state, str(problem.strerror), STATE_VARIABLE) from problem


# --- whole files, running processes ---


def _write_whole(path: Path, text: str) -> None:
    path.parent.mkdir(0o700, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(unfinished, path)
    except OSError:
        os.unlink(unfinished)
        raise


def _is_running(entry: NodeEntry) -> bool:
    try:
        os.kill(entry.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _birth(entry.pid) == entry.born


def _birth(pid: int) -> str:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "ended" if fields[_STATE_INDEX] in "ZX" else fields[_START_INDEX]

"""The folders of a user on one host that hold what only they may touch.

    runtime   MESHFLOW_RUNTIME_DIR, else XDG_RUNTIME_DIR/meshflow if that is ours, else <temporary>/meshflow-<uid>
    state     MESHFLOW_STATE_DIR, else XDG_STATE_HOME/meshflow, else ~/.local/state/meshflow

with a folder per mesh name in each. What is in the runtime folder may vanish at any time: at a reboot, when the user
logs out (systemd), or when somebody tidies up temporary files. What is in the state folder stays.

A folder is used only if it is ours and closed to others: anyone may make names in the temporary folder, and who could
change what is in ours would own the mesh.
"""

import os
import re
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from meshflow.errors import UsageError

_MESH_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_RUNTIME_VARIABLE = "MESHFLOW_RUNTIME_DIR"
STATE_VARIABLE = "MESHFLOW_STATE_DIR"


class BadMeshName(UsageError):
    """A mesh name that cannot be the name of a folder."""


class BadFolder(UsageError):
    """A folder cannot be made or written, or is not private to this user."""

    def __init__(self, path: Path, reason: str, variable: str) -> None:
        super().__init__(f"cannot use the folder '{path}': {reason}; mend this, or name another folder in {variable}")


@dataclass(frozen=True, slots=True)
class PrivateFolder:
    """The folder of one mesh; made when it is needed."""

    base: Path
    mesh: str
    variable: str
    """The environment variable that names another base."""

    def __post_init__(self) -> None:
        if not _MESH_NAME.fullmatch(self.mesh):
            raise BadMeshName(f"{self.mesh!r} cannot name a mesh; expected up to 64 letters, digits, '_', '.' and '-'")

    @property
    def path(self) -> Path:
        """Where it is, or would be."""
        return self.base / self.mesh

    def ready(self) -> Path:
        """Its path, once it is there, ours, and closed to others.

        Raises:
            BadFolder: it cannot be brought to that.
        """
        try:
            _make_all(self.base.parent)
            for folder, banned in ((self.base, stat.S_IWGRP | stat.S_IWOTH), (self.path, stat.S_IRWXG | stat.S_IRWXO)):
                with suppress(FileExistsError):
                    folder.mkdir(0o700)
                self._check(folder, banned)
        except OSError as problem:
            raise self.bad(problem) from problem
        return self.path

    def _check(self, folder: Path, banned: int) -> None:
        # The name may be a link that we made, to a larger disk; one that somebody else made is a trap.
        owners = (folder.lstat().st_uid, folder.stat().st_uid)
        mode = stat.S_IMODE(folder.stat().st_mode)
        if owners != (os.getuid(), os.getuid()):
            raise BadFolder(folder, f"it belongs to user {max(owners)}, not to user {os.getuid()}", self.variable)
        if not folder.is_dir():
            raise BadFolder(folder, "it is not a folder", self.variable)
        if mode & banned:
            raise BadFolder(folder, f"it is open to others (mode {mode:04o}), run: chmod 700 '{folder}'", self.variable)

    def bad(self, problem: OSError) -> BadFolder:
        """The error for a file in it that could not be used."""
        return BadFolder(self.path, str(problem.strerror or problem), self.variable)


def _make_all(folder: Path) -> None:
    """Make a folder, and those above it. Whoever may write in one of these could put another in the place of ours."""
    if not folder.is_dir():
        _make_all(folder.parent)
        folder.mkdir(0o700, exist_ok=True)


def runtime_place(mesh: str, environ: Mapping[str, str]) -> PrivateFolder:
    """Where nodes of this host find each other.

    Raises:
        BadMeshName: `mesh` cannot be the name of a folder.
    """
    chosen = _absolute(environ.get(_RUNTIME_VARIABLE))
    if chosen is None:
        system = _absolute(environ.get("XDG_RUNTIME_DIR"))
        if system is not None and os.path.isdir(system) and system.stat().st_uid == os.getuid():
            chosen = system / "meshflow"
        else:
            chosen = Path(tempfile.gettempdir(), f"meshflow-{os.getuid()}")
    return PrivateFolder(chosen, mesh, _RUNTIME_VARIABLE)


def state_place(mesh: str, environ: Mapping[str, str]) -> PrivateFolder:
    """Where the embedded store and a shared key lie.

    Raises:
        BadMeshName: `mesh` cannot be the name of a folder.
        BadFolder: the environment names none.
    """
    chosen = _absolute(environ.get(STATE_VARIABLE))
    if chosen is None:
        system, home = _absolute(environ.get("XDG_STATE_HOME")), _absolute(environ.get("HOME"))
        if system is None and home is None:
            raise BadFolder(Path("~/.local/state/meshflow"), "HOME is not set", STATE_VARIABLE)
        chosen = (system or Path(str(home), ".local", "state")) / "meshflow"
    return PrivateFolder(chosen, mesh, STATE_VARIABLE)


def _absolute(text: str | None) -> Path | None:
    """The XDG specification wants relative paths ignored; our own variables follow it."""
    return Path(text) if text and os.path.isabs(text) else None

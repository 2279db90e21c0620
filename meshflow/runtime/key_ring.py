"""The mesh keys of a process, in step with their file.

Whoever opens connections asks here for the keys each time. The file is the truth: another process, the command line or
a person may change it, and `look` finds out. What cannot be read changes nothing: the keys stay as they were.
"""

import os
from pathlib import Path

from meshflow.runtime.folder import FoundKey, RuntimeFolder, find_key, shared_key_path
from meshflow.runtime.key_files import replace_keys, why_fixed
from meshflow.runtime.keys import MeshKey

_Look = tuple[int, int, int, int] | None


class KeyRing:
    """The keys in `key_file`; without one, those of this host's mesh, made if need be."""

    def __init__(self, runtime: RuntimeFolder, state: Path, key_file: str = "") -> None:
        """
        Raises:
            BadFolder: the runtime folder is needed and cannot be used.
            BadKey, UnsafeKeyFile: there is a key file, and it cannot be used.
        """
        self._runtime = runtime
        self._state = state
        self._key_file = key_file
        self.found: FoundKey = find_key(runtime, state, key_file)
        """The keys as they were seen last, and where."""
        self._seen = self._stamps()

    @property
    def keys(self) -> tuple[MeshKey, ...]:
        """The keys as they were seen last, the one in use first."""
        return self.found.keys

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Their fingerprints, in the same order."""
        return tuple(key.fingerprint for key in self.keys)

    def look(self) -> bool:
        """See whether the file has changed, and say whether the keys have. Costs a stat if nothing has.

        Raises:
            BadFolder, BadKey, UnsafeKeyFile: it has, and cannot be used. Not raised again until it changes again.
        """
        stamps = self._stamps()
        if stamps == self._seen or not any(stamps):
            # A file that vanished is restored by the nodes of this host. To look for another key now would find one
            # that was revoked, or make one that nobody else has.
            return False
        self._seen = stamps
        before = self.keys
        self.found = find_key(self._runtime, self._state, self._key_file)
        return self.keys != before

    def why_fixed(self) -> str:
        """Why the keys cannot be replaced; empty if they can."""
        return why_fixed(self.found.path)

    def replace(self, keys: tuple[MeshKey, ...]) -> None:
        """Put other keys in the place of those in the file.

        Raises:
            BadFolder, OSError: it cannot be written.
        """
        path = self.found.path
        if path == self._runtime.key_path:
            self._runtime.replace_keys(keys)
        else:
            replace_keys(path, keys)
        # `look` reads it once more: another process may have come in between.
        self.found = FoundKey(keys, path, self.found.is_shared)
        if not self._key_file and path != self._runtime.key_path:
            self._runtime.follow(keys)

    def _stamps(self) -> tuple[_Look, ...]:
        if self._key_file:
            return (_stamp(Path(self._key_file)),)
        return _stamp(shared_key_path(self._state)), _stamp(self._runtime.key_path)


def _stamp(path: Path) -> _Look:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size

"""The folders of a user on one host: where nodes find each other, and where the embedded store lies.

    runtime folder   MESHFLOW_RUNTIME_DIR, else XDG_RUNTIME_DIR/meshflow if that is ours, else <temporary>/meshflow-<uid>
    state folder     MESHFLOW_STATE_DIR, else XDG_STATE_HOME/meshflow, else ~/.local/state/meshflow

with a folder per mesh name in each. What is in a runtime folder may go with a reboot; what is in a state folder stays.

    <runtime>/<mesh>/mesh.key          the key of a mesh that is on this host only; made by who comes first
    <runtime>/<mesh>/nodes/<id>.json   one per node; what a node that was killed leaves is removed by who finds it
    <state>/<mesh>/mesh.key            the key of a mesh that others share; made on demand

Invariants:
1. A folder is used only if it is a real folder, ours, and closed to others: the temporary folder is open to all, and who
   could make or change ours would own the mesh.
2. Files appear whole or not at all.
"""

import json
import os
import re
import socket
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from meshflow.errors import UsageError
from meshflow.ids import NodeId
from meshflow.runtime.keys import KeyRequired, MeshKey, keep_key, make_key, read_key

_MESH_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_NODE_FILE = re.compile(r"([0-9a-f]{16})\.json")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_KEY_NAME = "mesh.key"
_START_TIME_FIELD = 19
"""Of /proc/<pid>/stat, counted after the name of the program, which may hold anything (proc(5): field 22)."""


class UnsafeFolder(UsageError):
    """A folder that should be private to this user is not."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot use the folder '{path}': {reason}; remove or mend it, or name another in {{variable}}")



"""From settings to a connection: which nodes there may be, and with which key to speak to them."""

import os
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from meshflow.core.member import Member
from meshflow.errors import UsageError
from meshflow.ids import new_node_id
from meshflow.mesh import Link, Mesh
from meshflow.runtime.address import parse_address
from meshflow.runtime.folder import runtime_folder, state_path
from meshflow.runtime.key_ring import KeyRing
from meshflow.runtime.keys import MeshKey
from meshflow.settings import Settings

if TYPE_CHECKING:
    from meshflow.caller_thread import CallerThread
    from meshflow.runtime.transport.settings import TransportSettings


def open_mesh(settings: Settings, connect: str | None = None, environ: Mapping[str, str] = os.environ) -> Mesh:
    """The mesh that a client of these settings means: that of the node at `connect` (`host:port`) or `mesh.connect`;
    else the one whose nodes run on this host or are named in `mesh.join`. No contact is made yet.

    Raises:
        BadAddress: what was given is no address.
        BadKey, UnsafeKeyFile, BadFolder: the key of the mesh cannot be read.
    """
    mesh = settings.mesh
    runtime = runtime_folder(mesh.name, environ)
    ring = KeyRing(runtime, state_path(mesh.name, environ), mesh.key_file)
    asked = connect or mesh.connect
    given = [str(parse_address(text)) for text in ([asked] if asked else mesh.join)]

    def addresses() -> list[str]:
        return given if asked else [*(peer.address for peer in runtime.peers()), *given]

    def keys() -> tuple[MeshKey, ...]:
        with suppress(UsageError):  # what it was is still the best guess
            ring.look()  # a client that lives for days outlives a key
        return ring.keys

    def limits() -> "TransportSettings":
        from meshflow.runtime.transport.settings import TransportSettings  # ZeroMQ costs 40 ms: "no mesh" need not

        return TransportSettings(max_message_bytes=settings.limits.max_message_bytes)

    def dial(address: str) -> Link:
        from meshflow.runtime.transport.line import Line

        key, *others = keys()
        return Line(new_node_id(random.SystemRandom()), key, address, limits(), others=others)

    def call(members: Sequence[Member], max_out: int | None) -> "CallerThread":
        from meshflow.caller_thread import CallerThread

        return CallerThread(new_node_id(random.SystemRandom()), keys, addresses, members, limits(), max_out)

    return Mesh(dial, addresses, call, timeout_s=mesh.timeout_s)

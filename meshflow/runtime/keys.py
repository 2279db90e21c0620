"""The mesh key: who has it is a member of the mesh, and may run code on every node of it.

One CURVE key pair for all members; each proves to the other that it has the secret half. As text, to be copied to other
hosts, it is one word that shells leave alone:

    meshkey1_ + base64url(secret key of 32 bytes + the first 4 bytes of its SHA-256)

The public half follows from it. The check sum tells a word that was copied badly from the key of another mesh. A
fingerprint names a key without giving it away.

While the key of a mesh is being changed, its members hold several; `key_files.py` has the order.
"""

import base64
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from meshflow.errors import UsageError
from meshflow.runtime.transport import curve

_PREFIX = "meshkey1_"
_SECRET_BYTES = 32
_CHECK_BYTES = 4
_FINGERPRINT_BYTES = 4


class BadKey(UsageError):
    """Text or a file that should hold a mesh key does not."""


class UnsafeKeyFile(UsageError):
    """A key file that others on this host may read or change."""

    def __init__(self, path: Path, mode: int) -> None:
        super().__init__(
            f"the key file '{path}' is open to others on this host (mode {mode:04o}); run: chmod 600 '{path}', "
            "and make a new key if they may have read it"
        )


class KeyRequired(UsageError):
    """A node was asked to listen where other hosts can reach it, with a key that was made for this host only."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"'{address}' can be reached from other hosts, and this mesh has no key to share with them; make one with "
            "'meshflow key make', or name the key file of the mesh to join in mesh.key_file or MESHFLOW_KEY_FILE"
        )


@dataclass(frozen=True, slots=True)
class MeshKey:
    """A CURVE key pair in ZeroMQ's text form (Z85, 40 characters each)."""

    public: str
    secret: str = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """8 hex digits that tell this key from others, and may be shown to anyone."""
        return hashlib.sha256(self.public.encode("ascii")).digest()[:_FINGERPRINT_BYTES].hex()

    def text(self) -> str:
        """The one word that `parse_key` reads. Secret."""
        secret = curve.key_bytes(self.secret)
        return _PREFIX + base64.urlsafe_b64encode(secret + _check_sum(secret)).decode("ascii")


def make_key() -> MeshKey:
    """A new key."""
    public, secret = curve.make_pair()
    return MeshKey(public, secret)


def parse_key(text: str) -> MeshKey:
    """The key that `MeshKey.text` spelled.

    Raises:
        BadKey: it is not the text of a key, or was copied badly.
    """
    word = text.strip()
    try:
        data = base64.b64decode(word.removeprefix(_PREFIX), altchars=b"-_", validate=True)
    except ValueError:
        data = b""
    secret = data[:_SECRET_BYTES]
    if not word.startswith(_PREFIX) or len(data) != _SECRET_BYTES + _CHECK_BYTES:
        raise BadKey(f"this is not a mesh key; expected one word that begins with {_PREFIX!r}")
    if data[_SECRET_BYTES:] != _check_sum(secret):
        raise BadKey("this mesh key was not copied correctly: its check sum is wrong; copy it again")
    secret_text = curve.key_text(secret)
    return MeshKey(curve.public_of(secret_text), secret_text)


def _check_sum(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()[:_CHECK_BYTES]

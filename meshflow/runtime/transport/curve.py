"""CURVE key pairs (curvezmq.org), which only ZeroMQ can make. Keys are text in the alphabet Z85 (ZeroMQ RFC 32)."""

import zmq
from zmq.utils import z85


def make_pair() -> tuple[str, str]:
    """A new public and secret key."""
    public, secret = zmq.curve_keypair()
    return public.decode("ascii"), secret.decode("ascii")


def public_of(secret: str) -> str:
    """The public key that belongs to a secret one."""
    return zmq.curve_public(secret.encode("ascii")).decode("ascii")


def key_bytes(key: str) -> bytes:
    """The 32 bytes of a key."""
    return z85.decode(key)


def key_text(data: bytes) -> str:
    """The text of a key of 32 bytes."""
    return z85.encode(data).decode("ascii")

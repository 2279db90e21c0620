"""What a node does about its keys: answers who asks, replaces them when told, and sees when their file was changed.

Everybody who can ask is a member, and may do so. Keys are replaced only if they are still what the asker thinks: of two
who change the key of a mesh at once, one is told no.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import assert_never

from meshflow.core.key_messages import AskKeys, KeysHeld, UseKeys
from meshflow.errors import UsageError
from meshflow.ids import NodeId
from meshflow.runtime.event_log import log_problem
from meshflow.runtime.key_files import MAX_KEYS
from meshflow.runtime.key_ring import KeyRing
from meshflow.runtime.keys import parse_key
from meshflow.runtime.transport.node import Transport

_LOG = logging.getLogger("meshflow.keys")

_LOOK_S = 0.5
"""Pause between two looks at the key file; each is a stat. A key that is revoked by hand is out within 2 s."""

_HOLD_S = 0.15
"""A node holds back what it sends to others from so long before it listens with another key until so long after. All
nodes are told at about the same time, and what was on its way has arrived by then; so no message is lost by the change,
unless a node is later than this. What is lost then is sent again, as with any broken connection. The answer to who told
the node goes out meanwhile, too."""


class KeyKeeper:
    """Keeps the keys of `transport` in step with `ring`. `wake` is called after a change, to have its sockets read."""

    def __init__(
        self, ring: KeyRing, transport: Transport, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]
    ) -> None:
        self._ring = ring
        self._transport = transport
        self._loop = loop
        self._wake = wake
        self._used = ring.keys
        self._due: asyncio.TimerHandle | None = None
        """The next step of a change that is under way."""

    def handle(self, sender: NodeId, message: AskKeys | UseKeys) -> None:
        """Answer, and do what was asked."""
        self._transport.send(sender, answer(self._ring, message))
        self._follow()

    async def watch(self) -> None:
        """Look at the key file, for as long as the node runs."""
        while True:
            await asyncio.sleep(_LOOK_S)
            self.look()

    def look(self) -> None:
        """See whether the key file was changed, and follow."""
        try:
            self._ring.look()
        except UsageError as problem:
            log_problem(f"the keys of the mesh stay as they were: {problem}")
        self._follow()

    def _follow(self) -> None:
        """Use other keys, if there are any."""
        if self._due is not None or self._ring.keys == self._used:
            return
        if self._ring.keys[0] == self._used[0]:
            self._use()
        else:
            self._transport.hold()
            self._due = self._loop.call_later(_HOLD_S, self._listen)

    def _listen(self) -> None:
        self._due = self._loop.call_later(_HOLD_S, self._release)
        self._use()

    def _use(self) -> None:
        keys = self._ring.keys
        try:
            self._transport.use_keys(keys)
        except OSError as problem:
            log_problem(f"the node goes on with its old key, and tries again: {problem.strerror}")
            return
        self._used = keys
        in_use, *others = self._ring.fingerprints
        _LOG.info("keys of the mesh: %s is in use%s", in_use, f", {' and '.join(others)} tried too" if others else "")
        self._wake()

    def _release(self) -> None:
        self._due = None
        self._transport.release()
        self._wake()
        if self._ring.keys[0] == self._used[0]:  # what came in between; else `watch` tries again, after a pause
            self._follow()

    def close(self) -> None:
        """Change nothing any more."""
        if self._due is not None:
            self._due.cancel()


def answer(ring: KeyRing, message: AskKeys | UseKeys) -> KeysHeld:
    """Do what was asked, and say how it came out."""
    try:
        ring.look()
        match message:
            case AskKeys():
                problem = ring.why_fixed()
            case UseKeys(held=held, keys=texts):
                problem = _replace(ring, held, texts)
            case _:
                assert_never(message)
    except UsageError as refusal:
        problem = str(refusal)
    except OSError as trouble:
        problem = f"the key file '{ring.found.path}' cannot be written: {trouble.strerror}"
    return KeysHeld(message.number, ring.fingerprints, problem)


def _replace(ring: KeyRing, held: tuple[str, ...], texts: tuple[str, ...]) -> str:
    """Replace the keys, or say why not."""
    if not 0 < len(texts) <= MAX_KEYS:
        return f"{len(texts)} keys; expected 1 to {MAX_KEYS}"
    keys = tuple(parse_key(text) for text in texts)
    if ring.keys == keys:
        return ""
    if ring.fingerprints != held:
        return "its keys were changed meanwhile, by somebody else; look what holds now, and try again"
    ring.replace(keys)
    return ""

"""Who wants to see what happens, as it happens: members ask on behalf of their clients, each for a while."""

from collections.abc import Sequence

from meshflow.core.effects import Send
from meshflow.core.messages import Watched
from meshflow.core.records import Batch
from meshflow.core.requests import WriteOutput
from meshflow.ids import NodeId, RunId, workflow_of

_MAX_WATCHES = 1_000
_MAX_SECONDS = 600.0
"""Who wants to see more renews the watch; one that is forgotten must end."""


class Watchers:
    """Watches by peer. A watch of the empty run sees all runs; one that is not renewed ends."""

    def __init__(self) -> None:
        self._until: dict[tuple[NodeId, RunId], float] = {}

    def watch(self, peer: NodeId, run: RunId, seconds: float, now: float) -> None:
        """`peer` wants to see workflow run `run` for the next `seconds`."""
        self._until = {key: until for key, until in self._until.items() if until > now}
        if (peer, run) in self._until or len(self._until) < _MAX_WATCHES:
            self._until[(peer, run)] = now + min(seconds, _MAX_SECONDS)

    def forget(self, peer: NodeId) -> None:
        """`peer` is gone."""
        self._until = {key: until for key, until in self._until.items() if key[0] != peer}

    def tell(self, run: RunId, batch: Batch | None, output: Sequence[WriteOutput], now: float) -> list[Send]:
        """News of `run` for all who watch it."""
        if not self._until:
            return []
        workflow = workflow_of(run)
        peers = {peer: None for (peer, of), until in self._until.items() if until > now and (not of or of == workflow)}
        return [Send(peer, Watched(batch, tuple(output))) for peer in peers]

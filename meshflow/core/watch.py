"""Who wants to see what happens, as it happens: members ask on behalf of their clients, each for a while.

One peer may have several clients that want to see different things of one run, so a watch that wants the tasks too and
one that does not stand beside each other, and each ends by itself.
"""

from collections.abc import Sequence

from meshflow.core.client_messages import Watch, Watched
from meshflow.core.effects import Send
from meshflow.core.records import Batch
from meshflow.core.requests import WriteOutput
from meshflow.ids import NodeId, RunId, workflow_of

_MAX_WATCHES = 1_000
_MAX_SECONDS = 600.0
"""Who wants to see more renews the watch; one that is forgotten must end."""

_Key = tuple[NodeId, RunId, bool]
"""Peer, workflow run, and whether its tasks are wanted too."""


class Watchers:
    """Watches by peer. A watch of the empty run sees all runs; one that is not renewed ends."""

    def __init__(self) -> None:
        self._until: dict[_Key, float] = {}

    def watch(self, peer: NodeId, watch: Watch, now: float) -> None:
        """`peer` wants to see what `watch` says, from now on."""
        self._until = {key: until for key, until in self._until.items() if until > now}
        key = (peer, watch.run, watch.with_tasks)
        if key in self._until or len(self._until) < _MAX_WATCHES:
            self._until[key] = now + min(watch.seconds, _MAX_SECONDS)

    def forget(self, peer: NodeId) -> None:
        """`peer` is gone."""
        self._until = {key: until for key, until in self._until.items() if key[0] != peer}

    def of(self, run: RunId, now: float) -> list[NodeId]:
        """Who wants to see news of `run`, a workflow run or a dag run with its tasks; each peer once."""
        workflow = workflow_of(run)
        wanted = [
            peer
            for (peer, of, with_tasks), until in self._until.items()
            if until > now and of in ("", workflow) and (with_tasks or run == workflow)
        ]
        return list(dict.fromkeys(wanted))

    def tell(self, run: RunId, batch: Batch | None, output: Sequence[WriteOutput], now: float) -> list[Send]:
        """News of `run` for all who watch it."""
        return [Send(peer, Watched(batch, tuple(output))) for peer in self.of(run, now)]

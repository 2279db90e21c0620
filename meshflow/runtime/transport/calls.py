"""Asking a store on another node over a Line; what `RemoteStore` calls."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import SystemRandom

from meshflow.core.client_messages import StoreAnswers, StoreAsk
from meshflow.errors import PeerError, StoreUnavailable
from meshflow.ids import new_node_id
from meshflow.runtime.address import BadAddress
from meshflow.runtime.keys import MeshKey
from meshflow.runtime.transport.line import Line
from meshflow.runtime.transport.problems import ConnectionLost, MessageTooLarge, Unreachable
from meshflow.runtime.transport.settings import TransportSettings
from meshflow.store.remote import AskTooLarge


class StoreCalls:
    """Asks one node at a time, over a Line that is kept while that node answers. `keys` gives the keys of the mesh,
    asked for with each new Line. `timeout_s` is how long it may take to answer: longer than `max_message_bytes` need
    on the slowest link."""

    def __init__(
        self, keys: Callable[[], Sequence[MeshKey]], settings: TransportSettings | None = None, timeout_s: float = 10.0
    ) -> None:
        self._keys = keys
        self._settings = settings or TransportSettings()
        self._timeout_s = timeout_s
        self._line: Line | None = None

    def __call__(self, holder: str, ask: StoreAsk) -> StoreAnswers:
        """What the node at the address `holder` answers to `ask`; answers to earlier asks are dropped.

        Raises:
            StoreUnavailable: no answer came, so what was applied is unknown.
            AskTooLarge: it was not sent, because it does not fit into a message.
        """
        try:
            try:
                answers = self._ask(holder, ask)
            except ConnectionLost:
                # It is broken when the node changes its key, too, and the node is there. What is asked of a store may
                # be asked twice.
                self.close()
                answers = self._ask(holder, ask)
        except MessageTooLarge as problem:
            raise AskTooLarge(problem.size_bytes, problem.max_bytes) from problem
        except (Unreachable, BadAddress, PeerError) as problem:
            self.close()
            raise StoreUnavailable(str(problem)) from problem
        if answers is not None:
            return answers
        self.close()
        raise StoreUnavailable(f"no answer from '{holder}' within {self._timeout_s:g} s")

    def _ask(self, holder: str, ask: StoreAsk) -> StoreAnswers | None:
        line = self._line_to(holder)
        line.send(replace(ask, is_borrowed=True))
        give_up_at = time.monotonic() + self._timeout_s
        while (left_s := give_up_at - time.monotonic()) > 0:
            match line.receive(left_s):
                case StoreAnswers(number=ask.number) as answers:
                    return answers
        return None

    def _line_to(self, holder: str) -> Line:
        if self._line is None or self._line.address != holder:
            self.close()
            key, *others = self._keys()
            self._line = Line(new_node_id(SystemRandom()), key, holder, self._settings, others=others)
        return self._line

    def close(self) -> None:
        """Close the Line, if one is open."""
        if self._line is not None:
            self._line.close()
            self._line = None

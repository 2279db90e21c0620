"""Asking a store on another node over a Line; what `RemoteStore` calls."""

import time
from random import SystemRandom

from meshflow.core.messages import StoreAnswers, StoreAsk
from meshflow.errors import PeerError, StoreUnavailable
from meshflow.ids import new_node_id
from meshflow.runtime.address import BadAddress
from meshflow.runtime.keys import MeshKey
from meshflow.runtime.transport.line import Line
from meshflow.runtime.transport.problems import MessageTooLarge, Unreachable
from meshflow.runtime.transport.settings import TransportSettings
from meshflow.store.remote import AskTooLarge


class StoreCalls:
    """Asks one node at a time, over a Line that is kept while that node answers. `timeout_s` is how long it may take to
    answer: longer than `max_message_bytes` need on the slowest link."""

    def __init__(self, key: MeshKey, settings: TransportSettings | None = None, timeout_s: float = 10.0) -> None:
        self._key = key
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
            line = self._line_to(holder)
            line.send(ask)
            give_up_at = time.monotonic() + self._timeout_s
            while (left_s := give_up_at - time.monotonic()) > 0:
                match line.receive(left_s):
                    case StoreAnswers(number=ask.number) as answers:
                        return answers
        except MessageTooLarge as problem:
            raise AskTooLarge(problem.size_bytes, problem.max_bytes) from problem
        except (Unreachable, BadAddress, PeerError) as problem:
            self.close()
            raise StoreUnavailable(str(problem)) from problem
        self.close()
        raise StoreUnavailable(f"no answer from '{holder}' within {self._timeout_s:g} s")

    def _line_to(self, holder: str) -> Line:
        if self._line is None or self._line.address != holder:
            self.close()
            self._line = Line(new_node_id(SystemRandom()), self._key, holder, self._settings)
        return self._line

    def close(self) -> None:
        """Close the Line, if one is open."""
        if self._line is not None:
            self._line.close()
            self._line = None

"""A store reached through a node over real sockets: the contract, and nodes that fail."""

import select
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from meshflow.core.client_messages import StoreAnswers, StoreAsk
from meshflow.core.requests import GetBlob, LoadRun, PutBlob
from meshflow.errors import StoreError, StoreUnavailable
from meshflow.ids import NodeId, RunId
from meshflow.runtime.transport.calls import StoreCalls
from meshflow.runtime.transport.node import Transport
from meshflow.runtime.transport.settings import TransportSettings
from meshflow.store.base import Store
from meshflow.store.memory import MemoryStore
from meshflow.store.remote import RemoteStore, TooLargeForMesh
from tests.runtime.loopback import KEY, LOOPBACK, OTHER_KEY, SETTINGS, node_id
from tests.store.contract import StoreContract, StoreFactory

_RUN = RunId("5f" * 12)
_SMALL = TransportSettings(max_message_bytes=10_000, linger_s=0.1)


class Holder:
    """A node that does nothing but answer for a store, in a thread."""

    def __init__(self, store: Store, settings: TransportSettings = SETTINGS) -> None:
        self.store = store
        self.is_mute = False
        self.late: list[tuple[NodeId, StoreAnswers]] = []
        """Sent before the next answer: what a slow store would have answered before."""
        self._transport = Transport(node_id(1), KEY, LOOPBACK, settings)
        self.address = self._transport.address
        self._is_closing = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._is_closing:
            if not self._transport.has_more():
                select.select([self._transport.fileno()], [], [], 0.01)
            for client, ask in self._transport.receive(100):
                assert isinstance(ask, StoreAsk)
                self._answer(client, ask)
        self._transport.close()

    def _answer(self, client: NodeId, ask: StoreAsk) -> None:
        if self.is_mute:
            self.late.append((client, StoreAnswers(ask.number, ("late",) * len(ask.requests))))
            return
        try:
            answers = StoreAnswers(ask.number, tuple(self.store.perform(ask.requests)))
        except StoreError as problem:
            answers = StoreAnswers(ask.number, (), str(problem))
        for _, stale in self.late:
            self._transport.send(client, stale)
        self._transport.send(client, answers)

    def close(self) -> None:
        self._is_closing = True
        self._thread.join()


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def remote(opened: ExitStack, *addresses: str, settings: TransportSettings = SETTINGS) -> RemoteStore:
    """A store that is reached at any of the addresses; a node may be silent for a fifth of a second."""
    calls = StoreCalls(lambda: (KEY,), settings, timeout_s=0.2)
    return opened.enter_context(closing(RemoteStore(calls, lambda: addresses)))


class TestStoreThroughTheMesh(StoreContract):
    """A memory store behind a node, and as many clients as the test wants."""

    @pytest.fixture
    def store_factory(self, opened: ExitStack) -> StoreFactory:
        holder = opened.enter_context(closing(Holder(MemoryStore(), TransportSettings(linger_s=0.1))))

        def connect() -> RemoteStore:
            calls = StoreCalls(lambda: (KEY,), TransportSettings(linger_s=0.1), timeout_s=10.0)
            return opened.enter_context(closing(RemoteStore(calls, lambda: [holder.address])))

        return connect


def test_the_next_holder_answers_at_once_when_the_first_is_not_there(opened: ExitStack) -> None:
    gone = Holder(MemoryStore())
    gone.close()
    holder = opened.enter_context(closing(Holder(MemoryStore())))
    store = remote(opened, gone.address, "tcp://nonsense", holder.address)
    started_at = time.monotonic()
    assert store.perform([PutBlob(_RUN, "key", b"x"), GetBlob(_RUN, "key")]) == [True, b"x"]
    assert time.monotonic() - started_at < 1.0


def test_the_next_holder_answers_when_the_first_is_silent(opened: ExitStack) -> None:
    first, second = (opened.enter_context(closing(Holder(MemoryStore()))) for _ in range(2))
    first.is_mute = True
    store = remote(opened, first.address, second.address)
    assert store.perform([LoadRun(_RUN)]) == [None]


def test_late_answers_to_earlier_asks_are_dropped(opened: ExitStack) -> None:
    holder = opened.enter_context(closing(Holder(MemoryStore())))
    store = remote(opened, holder.address)
    holder.is_mute = True
    with pytest.raises(StoreUnavailable, match=r"no answer from '.*' within 0\.2 s"):
        store.perform([LoadRun(_RUN)])
    holder.is_mute = False
    assert store.perform([LoadRun(_RUN)]) == [None]
    assert len(holder.late) == 1  # it was sent again, and not taken for the answer


def test_a_holder_that_restarts_is_found_again(opened: ExitStack) -> None:
    addresses: list[str] = []
    store = opened.enter_context(
        closing(RemoteStore(StoreCalls(lambda: (KEY,), SETTINGS, timeout_s=1.0), lambda: addresses))
    )
    for _ in range(3):
        with closing(Holder(MemoryStore())) as holder:
            addresses[:] = [holder.address]
            assert store.perform([LoadRun(_RUN)]) == [None]
        with pytest.raises(StoreUnavailable):
            store.perform([LoadRun(_RUN)])


def test_with_the_wrong_key_the_store_is_unavailable_and_the_reason_is_the_key(opened: ExitStack) -> None:
    holder = opened.enter_context(closing(Holder(MemoryStore())))
    calls = StoreCalls(lambda: (OTHER_KEY,), SETTINGS, timeout_s=1.0)
    store = opened.enter_context(closing(RemoteStore(calls, lambda: [holder.address])))
    with pytest.raises(StoreUnavailable, match="mesh key"):
        store.perform([LoadRun(_RUN)])


def test_the_error_of_the_holders_store_is_passed_on(opened: ExitStack) -> None:
    class Broken(MemoryStore):
        def perform(self, requests: object) -> list[object]:
            raise StoreUnavailable("database is locked")

    holder = opened.enter_context(closing(Holder(Broken())))
    with pytest.raises(StoreUnavailable, match="database is locked"):
        remote(opened, holder.address).perform([LoadRun(_RUN)])


def test_batches_above_the_limit_go_and_come_in_parts(opened: ExitStack) -> None:
    holder = opened.enter_context(closing(Holder(MemoryStore(), _SMALL)))
    store = remote(opened, holder.address, settings=_SMALL)
    blobs = {str(number): bytes([number]) * 3000 for number in range(10)}
    assert store.perform([PutBlob(_RUN, key, data) for key, data in blobs.items()]) == [True] * 10
    assert store.perform([GetBlob(_RUN, key) for key in blobs]) == list(blobs.values())


def test_a_blob_above_the_limit_is_refused_in_both_directions(opened: ExitStack) -> None:
    holder = opened.enter_context(closing(Holder(MemoryStore(), _SMALL)))
    store = remote(opened, holder.address, settings=_SMALL)
    with pytest.raises(TooLargeForMesh, match=r"PutBlob.*at most 10000 fit"):
        store.perform([PutBlob(_RUN, "key", b"x" * 20_000)])
    holder.store.perform([PutBlob(_RUN, "key", b"x" * 20_000)])
    with pytest.raises(TooLargeForMesh, match="GetBlob"):
        store.perform([GetBlob(_RUN, "key")])

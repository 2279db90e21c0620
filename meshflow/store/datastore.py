"""Lightflow's DataStore: documents in MongoDB, without runs around them.

Nothing of MeshFlow needs it; programs that were written against Lightflow do.
"""

import importlib
import logging
import secrets
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from meshflow.core.requests import Answer, RemoveDocument, Request
from meshflow.errors import StoreError, StoreUnavailable
from meshflow.ids import RunId
from meshflow.store.mongo import MongoStore

logger = logging.getLogger(__name__)

T = TypeVar("T")

_RECONNECT_S = 300.0
_LONGEST_PAUSE_S = 10.0
_ID_BYTES = 12


class DataStore:
    """The documents in one MongoDB database. A context manager: connected inside.

    All methods but `connect` and `disconnect` raise StoreUnavailable (in Lightflow's words DataStoreNotConnected) if
    MongoDB cannot be reached; with `handle_reconnect`, those that read or write only after trying for 300 seconds.
    """

    def __init__(
        self,
        host: str,
        port: int,
        database: str,
        *,
        username: str | None = None,
        password: str | None = None,
        auth_source: str = "admin",
        auth_mechanism: str | None = None,
        connect_timeout: int = 30000,
        auto_connect: bool = False,
        handle_reconnect: bool = True,
    ) -> None:
        """`connect_timeout` is in milliseconds. Without `username` there is no authentication."""
        self.host = host
        self.port = port
        self.database = database
        self._url = host if "://" in host else f"mongodb://{host}:{port}"
        self._options: dict[str, Any] = {"serverSelectionTimeoutMS": connect_timeout}
        if username is not None:
            self._options |= {"username": username, "password": password, "authSource": auth_source}
            if auth_mechanism is not None:
                self._options["authMechanism"] = auth_mechanism
        self._handle_reconnect = handle_reconnect
        self._store: MongoStore | None = None
        if auto_connect:
            self.connect()

    def __enter__(self) -> Self:
        if self._store is None:
            self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()

    def connect(self) -> None:
        """Get ready to speak to MongoDB. Whether it is there shows `is_connected`, or the first use.

        Raises:
            UsageError: the host, or how to log in, is malformed.
        """
        self.disconnect()
        self._store = MongoStore(self._url, database=self.database, **self._options)

    def disconnect(self) -> None:
        """Close the connections, if there are any."""
        if self._store is not None:
            self._store.close()
            self._store = None

    @property
    def is_connected(self) -> bool:
        """Whether MongoDB answers, now."""
        try:
            return bool(self.server_info)
        except StoreError:
            return False

    @property
    def server_info(self) -> dict[str, Any]:
        """What the server says of itself."""
        return self._connected().server_info()

    def exists(self, workflow_id: str | None) -> bool:
        """Whether there is a document of that id.

        Raises:
            bson.errors.InvalidId: no document can have it.
        """
        return workflow_id is not None and self._patiently(lambda store: store.has_document(workflow_id))

    def add(self, payload: dict[str, Any] | None = None) -> str:
        """Make a document with `payload` as its `meta` section; its id, which is what Lightflow calls the workflow id.

        Raises:
            UsageError: `payload` holds what MongoDB cannot hold by itself.
        """
        workflow_id = secrets.token_hex(_ID_BYTES)  # chosen here, so that trying again makes no second document
        meta = payload if isinstance(payload, dict) else {}
        self._patiently(lambda store: store.add_document(workflow_id, meta))
        return workflow_id

    def get(self, workflow_id: str) -> Any:
        """The `DataStoreDocument` of that id; whether it exists shows with its first use."""
        # By name, for it can unpickle: stores are part of nodes, which must not even import what can.
        documents = importlib.import_module("meshflow.models.datastore")
        return documents.DataStoreDocument(self._perform, workflow_id)

    def remove(self, workflow_id: str) -> bool:
        """Remove a document with its large values; whether there was one."""
        return self._perform(RemoveDocument(RunId(workflow_id))) is True

    # --- parts ---

    def _perform(self, request: Request) -> Answer:
        return self._patiently(lambda store: store.perform([request])[0])

    def _patiently(self, use: Callable[[MongoStore], T]) -> T:
        store = self._connected()
        began_at, pause_s, attempt = self._clock(), 1.0, 0
        while self._handle_reconnect and (elapsed_s := self._clock() - began_at) < _RECONNECT_S:
            try:
                return use(store)
            except StoreUnavailable:
                attempt += 1
                logger.warning("reconnecting to MongoDB, attempt %d (%.0f seconds elapsed)", attempt, elapsed_s)
                self._sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return use(store)

    def _connected(self) -> MongoStore:
        if self._store is None:
            raise StoreUnavailable("this DataStore is not connected; call its connect() first")
        return self._store

    _clock: Callable[[], float] = staticmethod(time.monotonic)
    _sleep: Callable[[float], None] = staticmethod(time.sleep)

"""Which store a URL means.

mongodb://…  mongodb+srv://…        MongoDB
sqlite:///path                      the SQLite file at this absolute path
a path, with a slash or `.sqlite`   the SQLite file there
embedded, or nothing                the SQLite file of this host's mesh
memory:                             nothing is kept; for tests and simulations
"""

import socket
from pathlib import Path

from meshflow.errors import UsageError
from meshflow.store import mongo_url
from meshflow.store.base import Store

_MONGO = ("mongodb://", "mongodb+srv://")
_SQLITE = "sqlite://"
_SUFFIXES = (".sqlite", ".sqlite3", ".db")


def open_store(url: str, embedded: Path | None = None) -> Store:
    """The store that `url` means. `embedded` is where the embedded store of this host is, if `url` leaves it open.

    SQLite is opened at once. MongoDB is connected to with the first batch; its absence is StoreUnavailable then.

    Raises:
        UsageError: `url` means no store, or is malformed.
        StoreUnavailable, StoreError: the SQLite file cannot be used, or a mongodb+srv URL not be looked up.
    """
    if url.startswith(_MONGO):
        from meshflow.store.mongo import MongoStore  # pymongo takes a third of a second to import

        return MongoStore(url)
    if url == "memory:":
        from meshflow.store.memory import MemoryStore

        return MemoryStore()
    from meshflow.store.sqlite import SqliteStore

    return SqliteStore(_sqlite_path(url, embedded))


def store_name(url: str, embedded: Path | None = None) -> str:
    """What may be shown of a store's URL. Those who use one store get one text, and no secret is in it.

    Raises:
        UsageError: `url` means no store.
    """
    if url.startswith(_MONGO):
        return mongo_url.store_name(url)
    if url == "memory:":
        return url
    return f"{_SQLITE}{socket.gethostname()}{_sqlite_path(url, embedded)}"


def _sqlite_path(url: str, embedded: Path | None) -> Path:
    if url in ("", "embedded"):
        if embedded is None:
            raise UsageError("nobody said where the embedded store of this host is; give its path as `store.url`")
        return embedded
    if url.startswith(_SQLITE + "/"):
        return Path(url.removeprefix(_SQLITE))
    if "://" not in url and ("/" in url or url.endswith(_SUFFIXES)):
        return Path(url).expanduser().absolute()
    scheme = url.partition("://")[0] if "://" in url else url  # what follows may hold a password
    raise UsageError(
        f"unknown kind of store {scheme!r}; expected 'embedded', 'sqlite:///absolute/path', the path of a file, "
        "or 'mongodb://host:port/database'"
    )

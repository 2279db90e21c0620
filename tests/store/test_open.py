"""Which store a URL means, and what may be shown of it."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from meshflow.errors import UsageError
from meshflow.store.memory import MemoryStore
from meshflow.store.open import open_store, store_name
from meshflow.store.sqlite import SqliteStore
from tests.store.contract_base import ask, create

HERE = socket.gethostname()


@pytest.mark.parametrize("url", ["", "embedded", "sqlite://{path}", "{path}", "store.sqlite", "./store.sqlite"])
def test_these_mean_a_sqlite_file(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "store.sqlite"
    store = open_store(url.format(path=path), embedded=path)
    assert isinstance(store, SqliteStore)
    assert path.exists()
    assert ask(store, create()) is True
    store.close()
    assert store_name(url.format(path=path), embedded=path) == f"sqlite://{HERE}{path}"


def test_a_path_may_begin_in_the_home_of_its_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    open_store("~/store").close()
    assert (tmp_path / "store").exists()


def test_the_embedded_store_is_where_the_caller_says_and_nowhere_else() -> None:
    with pytest.raises(UsageError, match="nobody said where"):
        open_store("embedded")


def test_memory_means_a_store_that_keeps_nothing() -> None:
    assert isinstance(open_store("memory:"), MemoryStore)
    assert store_name("memory:") == "memory:"


@pytest.mark.parametrize(
    "url",
    [
        "redis://me:secret@host",
        "mongo://me:secret@host",
        "MONGODB://me:secret@host",
        "sqlite:x",
        "mongodb",
        "sqlite://x",
    ],
)
def test_anything_else_is_refused_with_what_is_possible_and_no_secret(url: str) -> None:
    for call in (open_store, store_name):
        with pytest.raises(UsageError, match=r"expected 'embedded', 'sqlite:///absolute/path'.*mongodb://") as raised:
            call(url)
        assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("mongodb://host", "mongodb://host/meshflow"),
        ("mongodb://host:27017/", "mongodb://host/meshflow"),
        ("mongodb://me:secret@HOST:27018/lab?authSource=admin", "mongodb://host:27018/lab"),
        ("mongodb://b:1,a:2,c/lab?replicaSet=rs&tlsCertificateKeyFilePassword=secret", "mongodb://a:2,b:1,c/lab"),
        ("mongodb+srv://me:secret@cluster.example/lab", "mongodb+srv://cluster.example/lab"),
        ("mongodb://localhost/lab", f"mongodb://{HERE}/lab"),
        ("mongodb://127.0.0.1:5/lab", f"mongodb://{HERE}:5/lab"),
        ("mongodb://[::1]:5/lab", f"mongodb://{HERE}:5/lab"),
        ("mongodb://[2001:db8::2]:5,[2001:DB8::1]:6/lab", "mongodb://[2001:db8::1]:6,[2001:db8::2]:5/lab"),
        ("mongodb://me:sec@ret@host/lab", "mongodb://host/lab"),
        ("mongodb://me:sec/ret@host/lab", "mongodb://host/lab"),
        ("mongodb://me:sec?ret@host/lab", "mongodb://host/lab"),
        ("mongodb://me:secret@host/lab?appName=a@b", "mongodb://b/meshflow"),
    ],
)
def test_the_name_of_a_mongodb_has_its_hosts_and_database_and_no_secret(url: str, name: str) -> None:
    assert store_name(url) == name


def test_mongodb_is_opened_without_being_there_and_its_driver_loaded_only_then(tmp_path: Path) -> None:
    """pymongo takes a third of a second to import; without MongoDB nobody should wait for it."""
    script = (
        "import sys; from meshflow.store.open import open_store; "
        f"open_store({str(tmp_path / 'store.sqlite')!r}).close(); "
        "assert 'pymongo' not in sys.modules; "
        "open_store('mongodb://127.0.0.1:1/x').close(); "
        "assert 'pymongo' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])

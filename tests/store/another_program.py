"""What another program sees in the file of the embedded store, and does to it."""

import sqlite3
from contextlib import closing
from pathlib import Path


def rows(path: Path, statement: str) -> list[tuple[object, ...]]:
    """What it sees."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def change(path: Path, statement: str) -> None:
    """What it does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)

"""A process that writes to an embedded store as hard as it can, for `test_sqlite_processes.py`.

python -m tests.store.hammer PATH NAME append COUNT    tries to append at seq 0 to COUNT - 1; prints where it won
python -m tests.store.hammer PATH NAME push COUNT      pushes COUNT values, each twice with one token; prints `done`
python -m tests.store.hammer PATH NAME forever         appends to its own log; prints each seq when it is durable
"""

import itertools
import sys
from pathlib import Path

from meshflow.core.records import Batch, Noted
from meshflow.core.requests import Append, ExtendField
from meshflow.ids import RunId
from meshflow.store.sqlite import SqliteStore
from tests.store.contract_base import RUN


def main(path: str, name: str, work: str, count: str = "0") -> None:
    """Do as the arguments say."""
    store = SqliteStore(Path(path))
    match work:
        case "append":
            for seq in range(int(count)):
                if store.perform([Append(batch(RUN, seq, name))]) == [True]:
                    print(seq)
        case "push":
            for number in range(int(count)):
                push = ExtendField(RUN, "data", "list", (f"{name}-{number}",), f"{name}-{number}")
                assert store.perform([push]) == store.perform([push]) == [True]
            print("done")
        case _:
            for seq in itertools.count():
                assert store.perform([Append(batch(RunId(f"{RUN}/{name}"), seq, name))]) == [True]
                print(seq, flush=True)


def batch(run: RunId, seq: int, token: str) -> Batch:
    """Something to append."""
    return Batch(run, seq, token, (Noted(token),))


if __name__ == "__main__":
    main(*sys.argv[1:])

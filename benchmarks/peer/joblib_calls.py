"""joblib with loky, its default: two processes that are kept from one call of `Parallel` to the next, as its
documentation recommends (joblib.readthedocs.io, "Embarrassingly parallel for loops", "Reusing a pool of workers").

Its default, `batch_size="auto"`, makes chunks by itself, which end at the first error; 1 makes none. Arrays of more
than 1 MB are mapped into memory from files, also by default.
"""

import joblib
from joblib import Parallel, delayed

from benchmarks.peer.calling import SLOTS, System, report, same


def main() -> None:
    with Parallel(n_jobs=SLOTS) as parallel, Parallel(n_jobs=SLOTS, batch_size=1) as one_by_one:
        report(
            System(
                joblib.__version__,
                call=lambda value: parallel([delayed(same)(value)])[0],
                call_each=lambda values: one_by_one(delayed(same)(each) for each in values),
                call_in_chunks=lambda values: parallel(delayed(same)(each) for each in values),
            )
        )


if __name__ == "__main__":
    main()

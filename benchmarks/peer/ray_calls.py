"""Ray: one local node of two processors, and `ray.get` once for all results, as its documentation recommends
("Anti-pattern: Calling ray.get in a loop harms parallelism"). Large arguments are put into shared memory by Ray itself.
"""

import ray

from benchmarks.peer import calling


def main() -> None:
    ray.init(num_cpus=calling.SLOTS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    same = ray.remote(calling.same)
    calling.report(
        calling.System(
            ray.__version__,
            call=lambda value: ray.get(same.remote(value)),
            call_each=lambda values: ray.get([same.remote(each) for each in values]),
        )
    )
    ray.shutdown()


main()

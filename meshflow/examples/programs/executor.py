"""Functions on the mesh, through Python's own interface.

`Executor` takes the place of a ProcessPoolExecutor. It uses the mesh that runs on this host or that the configuration
names; if there is none, it starts a local one for as long as it lives. Run it:

    python examples/programs/executor.py
"""

import math
from concurrent import futures

from meshflow import Executor


def is_prime(number):
    return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


def main():
    numbers = [1000000000039, 1000000000061, 1000000000063, 1000000000091, 1000000000093]
    with Executor() as executor:
        for number, found in zip(numbers, executor.map(is_prime, numbers), strict=True):
            print(f"{number} is prime: {found}")
        roots = [executor.submit(math.sqrt, number) for number in (9, 16, -1)]
        for future in futures.as_completed(roots):
            print("No root:" if future.exception() else "Root:", future.exception() or future.result())


if __name__ == "__main__":
    main()

"""What is run, and what must come of it: for each kind of workflow the answer, and the order of its tasks. Pure.

It is written a second time, apart from the workflow files, since a mistake that both share would not be seen.
"""

import hashlib
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

PART_COUNT = 5
LINK_COUNT = 4
SUB_DAG_COUNT = 3
LARGE_BYTES = 10 * 1000 * 1000
FAILURE_COUNT = 2
"""How often the task of the kind `retries` fails before it works."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What must come of a run. Tasks are named with their dag run: `main:1/total`."""

    answer: str
    """What the last task keeps under `answer`."""
    after: dict[str, tuple[str, ...]]
    """`{task: tasks that must have ended before it starts}`, for every task."""
    joins: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """`{task: tasks that must have ended before it ends}`."""
    once: tuple[str, ...] = ()
    """Tasks that may run at most once. If one is lost, the run fails and says so."""


def plan_of(kind: str, seed: int) -> Plan:
    """The plan of a run of that kind with the argument `seed`."""
    return _PLANS[kind](seed)


def large_content(seed: int) -> bytes:
    """The large payload of a run of kind `large`."""
    return random.Random(seed).randbytes(LARGE_BYTES)


def _sums(seed: int) -> Plan:
    parts = [f"main:1/part{number}" for number in range(PART_COUNT)]
    after: dict[str, tuple[str, ...]] = {"main:1/split": (), "main:1/total": tuple(parts)}
    after |= dict.fromkeys(parts, ("main:1/split",))
    return Plan(str(sum((seed + number) ** 2 for number in range(PART_COUNT))), after)


def _appends(seed: int) -> Plan:
    links = [f"main:1/link{number}" for number in range(LINK_COUNT)]
    after: dict[str, tuple[str, ...]] = {links[0]: ()}
    after |= {link: (before,) for before, link in itertools.pairwise(links)}
    after["main:1/read"] = (links[-1],)
    return Plan(" ".join(str(seed + number) for number in range(LINK_COUNT)), after)


def _sub_dags(seed: int) -> Plan:
    parts = tuple(f"part:{number}/count" for number in range(1, SUB_DAG_COUNT + 1))
    after: dict[str, tuple[str, ...]] = {"main:1/ask": (), "main:1/total": ("main:1/ask", *parts)}
    after |= dict.fromkeys(parts, ())
    answer = sum(seed * number for number in range(1, SUB_DAG_COUNT + 1))
    return Plan(str(answer), after, joins={"main:1/ask": parts})


def _large(seed: int) -> Plan:
    digest = hashlib.sha256(large_content(seed)).hexdigest()
    halves = ("main:1/left", "main:1/right")
    after: dict[str, tuple[str, ...]] = {"main:1/make": (), "main:1/compare": halves}
    return Plan(f"{digest} {digest}", after | dict.fromkeys(halves, ("main:1/make",)))


def _retries(seed: int) -> Plan:
    return Plan(str(3 * seed), {"main:1/shaky": (), "main:1/tell": ("main:1/shaky",)})


def _once(seed: int) -> Plan:
    after: dict[str, tuple[str, ...]] = {
        "main:1/first": (),
        "main:1/only": ("main:1/first",),
        "main:1/last": ("main:1/only",),
    }
    return Plan(str(seed + 3), after, once=("main:1/only",))


_PLANS: dict[str, Callable[[int], Plan]] = {
    "sums": _sums,
    "appends": _appends,
    "sub_dags": _sub_dags,
    "large": _large,
    "retries": _retries,
    "once": _once,
}

KINDS = tuple(_PLANS)
"""The workflows of the mix; each is a file in `workflows/`."""

"""What is done to whom, and when: rounds drawn from a seed. Pure.

Invariants:
1. The same seed and the same choice of faults and victims give the same rounds.
2. What happens at the n-th visit of a cell (fault, victim) follows from the seed, the cell and n alone. So a cell that
   failed in a long game can be played by itself, with the same seed.
3. Every cell that was chosen is visited before any is visited again.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from meshflow.chaos.plans import KINDS


class Fault(Enum):
    """A kind of trouble."""

    NONE = "none"
    """Nothing is done: what the other rows are to be compared with."""
    KILL = "kill"
    """SIGKILL; the node is started again after the round's `hold_s`."""
    PAUSE = "pause"
    """SIGSTOP for the node and its task processes, SIGCONT later."""
    SLOW = "slow"
    """SIGSTOP and SIGCONT in turn, so that the node has a small part of its time."""
    PARTITION = "partition"
    """Every packet from and to the host is dropped."""
    ONE_WAY = "one-way"
    """Every packet to, or every packet from the host is dropped."""
    LOSS = "loss"
    """One packet of twenty is dropped, either way."""
    LINK_DOWN = "link-down"
    """The network interface of the host is down."""
    SLOW_LINK = "slow-link"
    """What the host sends passes through a narrow pipe, and waits there."""
    DELAY = "delay"
    """Every frame from and to the host is held for a moment."""
    OUTAGE = "store-outage"
    """The file of the store is not where it should be."""
    DISK_FULL = "disk-full"
    """The disk of the host has no byte left."""
    KILL_ALL = "kill-all"
    """SIGKILL for all nodes; all are started again."""


class Victim(Enum):
    """Whom it hits."""

    SUBMITTER = "submitter"
    """The node through which runs are submitted, and the client that does it."""
    OWNER = "owner"
    """A node that drives runs."""
    WORKER = "worker"
    """A node that runs tasks."""
    STORE = "store"
    """The node of the host that holds the embedded store."""
    ALL = "all"
    """Every node; or nobody, where nothing is done."""


_ONE_NODE = (Victim.OWNER, Victim.WORKER, Victim.STORE, Victim.SUBMITTER)

CELLS: dict[Fault, tuple[Victim, ...]] = {
    Fault.NONE: (Victim.ALL,),
    Fault.KILL: _ONE_NODE,
    Fault.PAUSE: _ONE_NODE,
    Fault.SLOW: _ONE_NODE,
    Fault.PARTITION: _ONE_NODE,
    Fault.ONE_WAY: _ONE_NODE,
    Fault.LOSS: _ONE_NODE,
    Fault.LINK_DOWN: _ONE_NODE,
    Fault.SLOW_LINK: _ONE_NODE,
    Fault.DELAY: _ONE_NODE,
    Fault.OUTAGE: (Victim.STORE,),
    Fault.DISK_FULL: (Victim.OWNER, Victim.WORKER, Victim.STORE),
    Fault.KILL_ALL: (Victim.ALL,),
}
"""Which victims a fault can have."""

NETWORK = (Fault.PARTITION, Fault.ONE_WAY, Fault.LOSS, Fault.LINK_DOWN, Fault.SLOW_LINK, Fault.DELAY)
"""Faults that need a network of the host's own."""

_LEAD_S = (0.2, 2.0)
"""How long runs have been under way when the fault comes: from before the first claim to the middle of most."""

_HOLD_S = (3.0, 9.0)
"""How long it stays: from about as long as it takes to find a silent node dead, to well beyond that."""

_DURING_COUNT = 2
"""Runs that are submitted while the fault is there."""


@dataclass(frozen=True, slots=True)
class Round:
    """One fault, from runs that are submitted before it until they have ended after it."""

    number: int
    fault: Fault
    victim: Victim
    visit: int
    """From 1: how often this game has visited the cell, this time included."""
    lead_s: float
    """From the submission of the runs to the fault."""
    hold_s: float
    """From the fault to its end."""
    before: tuple[str, ...]
    """Kinds of the runs that are submitted first."""
    during: tuple[str, ...]
    """Kinds of the runs that are submitted while the fault is there."""
    choice: int
    """Draws whatever else there is to choose: the one of several nodes, the direction, the arguments of the runs."""


def cells(
    faults: Sequence[Fault] = (), victims: Sequence[Victim] = (), skipped: Sequence[Fault] = ()
) -> list[tuple[Fault, Victim]]:
    """The cells of a game. `faults` and `victims` empty: all there are; `skipped` are those that cannot be had here."""
    return [
        (fault, victim)
        for fault, possible in CELLS.items()
        for victim in possible
        if fault not in skipped and (not faults or fault in faults) and (not victims or victim in victims)
    ]


def rounds(seed: int, chosen: Sequence[tuple[Fault, Victim]]) -> Iterator[Round]:
    """Rounds without end: the cells in an order of the seed, then again in another."""
    visits: Counter[tuple[Fault, Victim]] = Counter()
    order = random.Random(f"{seed}/order")
    number = 0
    while chosen:
        for cell in order.sample(chosen, len(chosen)):
            number += 1
            visits[cell] += 1
            yield _draw(seed, number, *cell, visits[cell])


def _draw(seed: int, number: int, fault: Fault, victim: Victim, visit: int) -> Round:
    rng = random.Random(f"{seed}/{fault.value}/{victim.value}/{visit}")
    return Round(
        number,
        fault,
        victim,
        visit,
        lead_s=round(rng.uniform(*_LEAD_S), 3),
        hold_s=round(rng.uniform(*_HOLD_S), 3),
        before=tuple(rng.sample(KINDS, len(KINDS))),
        during=tuple(rng.choices(KINDS, k=_DURING_COUNT)),
        choice=rng.randrange(2**31),
    )

"""The checks can fail: five variants, each with one safeguard taken out, are caught by seeds that pass with it in."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from meshflow.core.attempts import Attempt
from meshflow.core.beliefs import Beliefs
from meshflow.core.dagowner import DagOwner
from meshflow.core.effects import Effect
from meshflow.core.handouts import Handouts
from meshflow.core.records import Batch, Claimed
from meshflow.core.requests import Answer, Append, ReadLog, Request
from meshflow.ids import NodeId
from meshflow.sim.scenario import Scenario, Story
from meshflow.sim.violation import Violation
from meshflow.store.base import Store
from meshflow.store.memory import MemoryStore

SEEDS = range(40)


class CarelessStore(MemoryStore):
    """Takes an append at a position that is taken, and puts it at the end of the log: `claims`, or all else."""

    def __init__(self, *, claims: bool) -> None:
        super().__init__()
        self._is_careless_with_claims = claims

    def perform(self, requests: Sequence[Request]) -> list[Answer]:
        """Perform `requests`, but move those appends that should be refused."""
        return [answer for request in requests for answer in super(CarelessStore, self).perform([self._moved(request)])]

    def _moved(self, request: Request) -> Request:
        if not isinstance(request, Append) or self._is_claim(request.batch) is not self._is_careless_with_claims:
            return request
        (log,) = super().perform([ReadLog(request.batch.run, max_bytes=2**40)])
        assert isinstance(log, tuple)
        if any(batch.token == request.batch.token for batch in log) or request.batch.seq >= len(log):
            return request
        return replace(request, batch=replace(request.batch, seq=len(log)))

    def _is_claim(self, batch: Batch) -> bool:
        return any(isinstance(entry, Claimed) for entry in batch.entries)


def caught(store: type[CarelessStore] | None = None, *, claims: bool = False, trouble: str = "usual") -> Violation:
    """The first violation within the seeds.

    Raises:
        AssertionError: none is found.
    """
    for seed in SEEDS:
        given: Store | None = store(claims=claims) if store is not None else None
        try:
            Story(Scenario(seed, trouble=trouble), given).run()
        except Violation as violation:
            return violation
    raise AssertionError(f"not caught within {len(SEEDS)} seeds")


@pytest.mark.parametrize("trouble", ["usual", "partitions"])
def test_the_same_seeds_pass_with_all_safeguards_in(trouble: str) -> None:
    for seed in SEEDS:
        Story(Scenario(seed, trouble=trouble)).run()


def test_appends_that_are_not_conditional_are_caught() -> None:
    assert caught(CarelessStore, claims=False)


def test_claims_that_are_not_conditional_are_caught() -> None:
    assert caught(CarelessStore, claims=True, trouble="partitions")


def test_attempts_that_are_not_queued_again_when_their_node_is_lost_are_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def keep_still(self: DagOwner, task: int, why: str) -> list[Effect]:
        self.handouts.take(task)
        return []

    monkeypatch.setattr(DagOwner, "_lose", keep_still)

    assert "never ended" in str(caught()) or "open" in str(caught())


def test_completion_that_is_not_compared_with_the_attempt_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_any(self: Handouts, attempt: Attempt, node: NodeId) -> bool:
        return attempt.task in self

    monkeypatch.setattr(Handouts, "is_current", is_any)

    assert caught(trouble="partitions")


def test_members_that_do_not_refute_their_death_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def accept(self: Beliefs, *_: object) -> list[Effect]:
        return []

    monkeypatch.setattr(Beliefs, "_refute", accept)

    assert "alive are" in str(caught())

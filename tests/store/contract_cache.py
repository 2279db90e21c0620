"""The contract, part five: results that are kept beyond their run are blobs of what no list of runs shows."""

from meshflow.core.caching import GENERATIONS, PERIOD_S, generation, keep, look_up
from meshflow.core.records import RunRecord
from meshflow.core.requests import ListRuns, RemoveOrphans, RemoveRun
from meshflow.store.base import Store
from tests.store.contract_base import ContractPart, ask, sweep

NOW = 100 * PERIOD_S


class CacheContract(ContractPart):
    """What the cache of results needs."""

    def test_kept_results_are_found_whatever_their_size(self, store: Store) -> None:
        for key, data in (("a", b"1"), ("b", b"x" * 9_000_000)):
            assert store.perform(keep(key, data, NOW))[1] is True
            assert store.perform(look_up(key, NOW)) == [data, None]
            assert store.perform(look_up(key, NOW + PERIOD_S)) == [None, data]

    def test_a_result_may_be_kept_again(self, store: Store) -> None:
        store.perform([*keep("a", b"1", NOW), *keep("a", b"1", NOW + 5.0)])
        assert store.perform(look_up("a", NOW)) == [b"1", None]

    def test_generations_are_listed_by_their_parent_only(self, store: Store) -> None:
        store.perform(keep("a", b"1", NOW))
        assert store.perform([ListRuns(workflows_only=True), ListRuns(is_open=True)]) == [(), ()]
        found = ask(store, ListRuns(parent=GENERATIONS))
        assert isinstance(found, tuple)
        assert [each.run for each in found if isinstance(each, RunRecord)] == [generation(NOW)]

    def test_a_generation_is_removed_like_a_run_and_never_taken_for_an_orphan(self, store: Store) -> None:
        store.perform([*keep("a", b"1", NOW), *keep("b", b"22", NOW)])
        for at in (NOW, NOW + 1.0):
            assert ask(store, RemoveOrphans(at, noted_before=NOW + 1.0)) in ("", generation(NOW), "chunks:")
        assert sweep(store) == (0, 0)
        assert ask(store, RemoveRun(generation(NOW))) is True
        assert sweep(store) == (2, 3)
        assert store.perform(look_up("a", NOW)) == [None, None]
        store.perform(keep("a", b"1", NOW))
        assert store.perform(look_up("a", NOW)) == [b"1", None]

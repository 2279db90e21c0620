"""The contract, part one: run records, the registry of nodes, and what a batch is."""

import pytest

from meshflow.core.records import State, Stop, Value
from meshflow.core.requests import (
    AskStop,
    CreateRun,
    ForgetNode,
    GetBlob,
    GetField,
    ListNodes,
    ListRuns,
    LoadRun,
    Pickled,
    PutBlob,
    Refused,
    RegisterNode,
    RemoveNodes,
    RemoveRun,
    Request,
    UpdateRun,
)
from meshflow.ids import NodeId, RunId
from meshflow.store.base import Store
from tests.store.contract_base import (
    DAG,
    FINAL_STATES,
    OTHER,
    RUN,
    SECOND_DAG,
    ContractPart,
    StoreFactory,
    ask,
    create,
    end,
    load,
    record,
)

NODE, RIVAL = NodeId("aa" * 8), NodeId("bb" * 8)


class RunContract(ContractPart):
    """Run records and nodes."""

    # --- batches ---

    def test_a_batch_is_performed_in_order_and_each_request_gets_one_answer(self, store: Store) -> None:
        batch: list[Request] = [
            LoadRun(RUN),
            create(),
            LoadRun(RUN),
            PutBlob(RUN, "key", b"1"),
            PutBlob(RUN, "key", b"2"),
            GetBlob(RUN, "key"),
            end(),
            RemoveRun(RUN),
            LoadRun(RUN),
        ]
        assert store.perform(batch) == [None, True, record(), True, True, b"2", True, True, None]

    def test_an_empty_batch_has_no_answers(self, store: Store) -> None:
        assert store.perform([]) == []

    def test_a_refused_request_does_not_touch_its_neighbours(self, store: Store) -> None:
        answers = store.perform([create(), GetField(RUN, "nowhere", "key"), PutBlob(RUN, "key", b"1")])
        assert answers[0] is True
        assert isinstance(answers[1], Refused)
        assert answers[2] is True
        assert ask(store, GetBlob(RUN, "key")) == b"1"

    def test_what_one_handle_wrote_another_reads(self, store_factory: StoreFactory) -> None:
        writer, reader = store_factory(), store_factory()
        assert ask(reader, LoadRun(RUN)) is None
        assert ask(writer, create()) is True
        assert load(reader) == record()

    # --- creation ---

    def test_a_record_comes_back_as_it_was_created(self, store: Store) -> None:
        full = record(
            DAG,
            state=State.RUNNING,
            reason="because",
            stop=Stop.STOP,
            stop_reason="enough",
            owner=NODE,
            epoch=7,
            created_at=1700000000.123456,
            started_at=1700000001.5,
            ended_at=1700000002.25,
            arguments={"path": "/data", "count": 3, "deep": {"list": [1.5, None, True, b"\x00", Pickled(b"x")]}},
            total=2**40,
            done=2,
            data=Value(b"inline", "blob", 6),
        )
        assert ask(store, CreateRun(full, {})) is True
        assert load(store, DAG) == full

    def test_creating_a_run_again_answers_false_and_changes_nothing(self, store: Store) -> None:
        first = CreateRun(record(), {"code": b"first"}, {"meta": {}, "data": {"x": 1}})
        again = CreateRun(record(name="other"), {"code": b"again", "more": b"!"}, {"meta": {}, "data": {"x": 2}})
        assert store.perform([first, again]) == [True, False]
        assert ask(store, again) is False
        assert load(store).name == "simple"
        assert ask(store, GetField(RUN, "data", "x")) == (True, 1)
        assert store.perform([GetBlob(RUN, "code"), GetBlob(RUN, "more")]) == [b"first", None]

    def test_a_run_with_values_that_cannot_be_stored_is_refused_as_a_whole(self, store: Store) -> None:
        for wrong in (
            CreateRun(record(arguments={"x": object()}), {"code": b"1"}, {"meta": {}, "data": {}}),
            CreateRun(record(), {"code": b"1"}, {"meta": {}, "data": {"x": 2**64}}),
            CreateRun(record(), {"code": b"1"}, {"mata": {}}),
        ):
            assert isinstance(ask(store, wrong), Refused)
            assert store.perform([LoadRun(RUN), GetBlob(RUN, "code")]) == [None, None]

    def test_text_with_a_lone_surrogate_does_no_harm(self, store: Store) -> None:
        """A file name in another encoding ends up in the reason of a failure."""
        assert ask(store, create(reason="no such file: \udcff")) is True
        assert ask(store, UpdateRun(RUN, 1, reason="no such file: \udcff")) is True
        assert ask(store, AskStop(RUN, Stop.STOP, "\udcff")) is True
        assert load(store).reason.startswith("no such file: ")

    # --- lists ---

    def test_runs_are_listed_newest_first_and_filtered(self, store: Store) -> None:
        store.perform([create(RUN, created_at=1.0), create(OTHER, created_at=3.0, workflow="fit", name="fit")])
        store.perform([create(DAG, created_at=2.0), create(SECOND_DAG, created_at=4.0)])
        store.perform([UpdateRun(DAG, 1, state=State.COMPLETED)])

        def listed(**filters: object) -> list[RunId]:
            found = ask(store, ListRuns(**filters))  # type: ignore[arg-type]
            assert isinstance(found, tuple)
            return [each.run for each in found]

        assert listed() == [SECOND_DAG, OTHER, DAG, RUN]
        assert listed(limit=2) == [SECOND_DAG, OTHER]
        assert listed(limit=0) == []
        assert listed(is_open=True) == [SECOND_DAG, OTHER, RUN]
        assert listed(is_open=False) == [DAG]
        assert listed(parent=RUN) == [SECOND_DAG, DAG]
        assert listed(parent=RUN, is_open=True) == [SECOND_DAG]
        assert listed(workflows_only=True) == [OTHER, RUN]
        assert listed(workflow="simple", workflows_only=True) == [RUN]
        assert listed(workflows_only=True, parent=RUN) == []
        assert ask(store, ListRuns(workflow="fit")) == (load(store, OTHER),)

    def test_runs_of_one_instant_are_listed_in_a_fixed_order(self, store: Store) -> None:
        runs = [RunId(f"{number:024x}") for number in (3, 1, 2)]
        store.perform([create(run, created_at=5.0) for run in runs])
        found = ask(store, ListRuns())
        assert isinstance(found, tuple)
        assert [each.run for each in found] == sorted(runs, reverse=True)

    @pytest.mark.parametrize("state", list(State))
    def test_a_run_is_open_unless_its_state_is_final(self, store: Store, state: State) -> None:
        store.perform([create(state=state)])
        assert ask(store, ListRuns(is_open=True)) == (() if state.is_final else (load(store),))
        assert ask(store, ListRuns(is_open=False)) == ((load(store),) if state.is_final else ())

    # --- updates ---

    def test_an_update_sets_what_is_given_and_keeps_the_rest(self, store: Store) -> None:
        ask(store, create())
        ask(store, UpdateRun(RUN, 1, State.RUNNING, "r", NODE, started_at=5.0, total=9))
        expected = record(epoch=1, state=State.RUNNING, reason="r", owner=NODE, started_at=5.0, total=9)
        assert load(store) == expected
        assert ask(store, UpdateRun(RUN, 1, State.FAILED, "", ended_at=6.0, done=4)) is True
        assert load(store) == record(
            epoch=1, state=State.FAILED, owner=NODE, started_at=5.0, ended_at=6.0, total=9, done=4
        )

    def test_started_at_is_kept_once_set(self, store: Store) -> None:
        ask(store, create())
        for started_at, total in ((5.0, 1), (4.0, 2), (6.0, 3)):
            assert ask(store, UpdateRun(RUN, 1, started_at=started_at, total=total)) is True
        assert (load(store).started_at, load(store).total) == (5.0, 3)

    def test_an_update_of_an_earlier_epoch_is_fenced(self, store: Store) -> None:
        ask(store, create())
        assert ask(store, UpdateRun(RUN, 2, owner=RIVAL)) is True
        assert ask(store, UpdateRun(RUN, 1, owner=NODE, state=State.RUNNING, started_at=1.0)) is False
        assert load(store) == record(epoch=2, owner=RIVAL)
        assert ask(store, UpdateRun(RUN, 2, done=1)) is True

    def test_an_unknown_run_is_not_updated(self, store: Store) -> None:
        assert store.perform([UpdateRun(RUN, 1, started_at=1.0), LoadRun(RUN)]) == [False, None]

    # --- stop ---

    def test_a_cancel_outranks_a_stop_and_the_first_reason_stays(self, store: Store) -> None:
        ask(store, create())
        steps = (
            (Stop.STOP, "one", Stop.STOP, "one"),
            (Stop.STOP, "two", Stop.STOP, "one"),
            (Stop.CANCEL, "three", Stop.CANCEL, "three"),
            (Stop.CANCEL, "four", Stop.CANCEL, "three"),
            (Stop.STOP, "five", Stop.CANCEL, "three"),
            (Stop.NONE, "six", Stop.CANCEL, "three"),
        )
        for stop, reason, stop_then, reason_then in steps:
            assert ask(store, AskStop(RUN, stop, reason)) is True
            assert (load(store).stop, load(store).stop_reason) == (stop_then, reason_then)

    @pytest.mark.parametrize("state", FINAL_STATES)
    def test_a_run_that_has_ended_cannot_be_stopped(self, store: Store, state: State) -> None:
        ask(store, create(state=state))
        assert ask(store, AskStop(RUN, Stop.CANCEL, "late")) is False
        assert load(store) == record(state=state)

    def test_an_unknown_run_cannot_be_stopped(self, store: Store) -> None:
        assert store.perform([AskStop(RUN, Stop.STOP, ""), LoadRun(RUN)]) == [False, None]

    # --- nodes ---

    def test_nodes_are_registered_refreshed_and_listed_and_their_names_outlast_them(self, store: Store) -> None:
        mine = RegisterNode(NODE, "tcp://192.0.2.1:2", 15.5, "ann")
        rival = RegisterNode(RIVAL, "tcp://192.0.2.2:1", 20.0)
        assert ask(store, RegisterNode(NODE, "tcp://192.0.2.1:1", 10.0, "bob")) is True
        assert ask(store, rival) is True
        assert ask(store, mine) is True
        assert ask(store, ListNodes()) == (mine, rival)
        assert ask(store, ListNodes(since=15.5)) == (mine, rival)
        assert ask(store, ListNodes(since=15.6)) == (rival,)
        left = RegisterNode(NODE, "", 15.5, "ann")
        forget = [ForgetNode(NODE), ForgetNode(NODE), ForgetNode(NodeId("cc" * 8))]
        assert store.perform([*forget, ListNodes()]) == [True, True, True, (left, rival)]

    def test_nodes_that_were_not_seen_for_long_are_forgotten_with_their_names(self, store: Store) -> None:
        mine, rival = RegisterNode(NODE, "", 15.5, "ann"), RegisterNode(RIVAL, "tcp://192.0.2.2:1", 20.0)
        assert store.perform([mine, rival, RemoveNodes(15.5), ListNodes()]) == [True, True, 0, (mine, rival)]
        assert store.perform([RemoveNodes(15.6), RemoveNodes(15.6), ListNodes()]) == [1, 0, (rival,)]

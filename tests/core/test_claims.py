"""Who claims which run, and that a claim follows everything that was read before it."""

import pytest

from meshflow.core.asks import Asks, Claiming, Loading, Mending
from meshflow.core.claims import Claims, ClaimSettings, Load
from meshflow.core.effects import Ask, Effect, Emit, Send
from meshflow.core.events import StoreProblem
from meshflow.core.graph import DagDefinition, WorkflowSpec
from meshflow.core.member import Member
from meshflow.core.messages import RunOpen
from meshflow.core.placement import owner_of
from meshflow.core.records import Batch, Claimed, Entry, Noted, RunEnded, RunRecord, State, Stop
from meshflow.core.requests import Append, GetBlob, LoadRun, ReadLog, UpdateRun
from meshflow.errors import PeerError
from meshflow.ids import NodeId, RunId
from tests.core.builders import ANN, BOB, ME, RUN, WF, dag_record, member, workflow, workflow_record

WALL = 2000.0
RECORD = workflow_record()
SPEC = workflow()
DEAD, CLIENT = NodeId("dead"), NodeId("client")
LATER = 5.0
"""After the start's `settle_s`."""


class Stored:
    """Reads definitions: `broken` is none."""

    def workflow(self, data: bytes) -> WorkflowSpec:
        if data == b"broken":
            raise PeerError("nonsense")
        return SPEC

    def dag(self, data: bytes) -> DagDefinition:
        raise AssertionError(data)


def claims(*members: Member) -> Claims:
    made = Claims(ME, ClaimSettings(settle_s=1.0), Asks(), Stored(), started_at=0.0)
    made.set_members(members or (member(ME),))
    return made


def reading(run: RunId = WF, blob: str = "workflow") -> list[Effect]:
    return [Ask(1, (LoadRun(run), ReadLog(run), GetBlob(WF, blob)))]


def record_of(owner: NodeId) -> RunRecord:
    """An unclaimed run that the hash gives to `owner`, of ME, ANN and BOB."""
    for number in range(100):
        run = RunId(f"{number:024x}")
        if owner_of(run, [ME, ANN, BOB]) == owner:
            return workflow_record(run=run)
    raise AssertionError(owner)


ALL = (member(ME), member(ANN), member(BOB))


# --- who ---


def test_a_run_without_an_owner_is_read_by_the_only_member_that_serves_its_queue() -> None:
    made = claims(member(ME), member(ANN, queues=("task",)))
    assert made.consider(workflow_record(), None, now=0.0) == reading()


def test_the_definition_of_a_dag_run_is_that_of_its_dag_whatever_colons_and_slashes_its_name_has() -> None:
    assert claims().consider(dag_record(), None, 0.0) == reading(RUN, "dag/d")
    run = RunId(f"{WF}/a:b/c:12")
    assert claims().consider(dag_record(run=run), None, 0.0) == reading(run, "dag/a:b/c")


def test_a_run_that_is_being_read_is_not_read_twice() -> None:
    made = claims()
    made.consider(workflow_record(), None, 0.0)
    assert made.consider(workflow_record(), None, 0.0) == []


def test_a_run_belongs_to_the_member_that_the_hash_names_and_only_a_hint_is_sent_there() -> None:
    made = claims(*ALL)
    mine, anns = record_of(ME), record_of(ANN)
    assert made.consider(mine, None, 0.0) == [
        Ask(1, (LoadRun(mine.run), ReadLog(mine.run), GetBlob(mine.run, "workflow")))
    ]
    assert made.consider(anns, None, 0.0) == []
    assert made.consider(anns, CLIENT, 0.0) == [Send(ANN, RunOpen(anns.run))]
    assert made.consider(anns, ME, 0.0) == [Send(ANN, RunOpen(anns.run))]


def test_a_hint_from_a_member_is_not_sent_on() -> None:
    anns = record_of(ANN)
    (ask,) = claims(*ALL).consider(anns, BOB, 0.0)
    assert isinstance(ask, Ask)


def test_a_hint_from_a_member_is_sent_on_by_a_node_that_does_not_serve_the_queue() -> None:
    made = claims(member(ME, queues=("task",)), member(ANN), member(BOB, queues=("task",)))
    assert made.consider(workflow_record(), BOB, 0.0) == [Send(ANN, RunOpen(WF))]


@pytest.mark.parametrize("fields", [{"queues": ("dag", "task")}, {"is_draining": True}])
def test_a_run_that_nobody_serves_waits(fields: dict[str, object]) -> None:
    assert claims(member(ME, **fields)).consider(workflow_record(), CLIENT, 0.0) == []


def test_a_young_node_takes_over_from_an_owner_that_it_has_heard_of_and_seen_go() -> None:
    """It may only not have heard yet of an owner that it never saw."""
    made = claims()
    driven = workflow_record(owner=DEAD, epoch=1)
    assert made.consider(driven, None, now=0.9) == []
    made.node_gone(DEAD, now=0.9)
    assert made.consider(driven, None, now=0.9) == reading()


def test_an_owner_that_went_and_came_back_is_left_in_peace() -> None:
    made = claims()
    made.node_gone(ANN, now=0.5)
    made.set_members(ALL)
    assert made.consider(workflow_record(owner=ANN, epoch=1), None, now=0.6) == []


def test_a_run_that_nobody_serves_is_ended_by_any_member_once_it_was_stopped() -> None:
    stopped = workflow_record(stop=Stop.CANCEL, stop_reason="not wanted any more")

    assert claims(member(ME, queues=("other",))).consider(stopped, None, LATER) == reading()
    assert claims(member(ME, queues=("other",), is_draining=True)).consider(stopped, None, LATER) == []


def test_a_run_is_anothers_if_its_owner_is_another_that_is_alive() -> None:
    made = claims(*ALL)
    assert [made.is_others(owner) for owner in (ANN, ME, DEAD, None)] == [True, False, False, False]


def test_nothing_is_claimed_whose_owner_is_alive() -> None:
    made = claims(*ALL)
    assert made.consider(workflow_record(owner=ANN), ANN, LATER) == []


def test_the_run_of_a_dead_owner_is_taken_over_but_not_by_a_node_that_has_just_started() -> None:
    made = claims()
    assert made.consider(workflow_record(owner=DEAD), None, now=0.9) == []
    assert made.consider(workflow_record(owner=DEAD), None, now=1.0) == reading()


def test_a_run_that_is_ours_by_its_record_but_is_not_driven_is_taken_up_again() -> None:
    assert claims().consider(workflow_record(owner=ME), None, 0.0) == reading()


# --- reading ---


def batch(seq: int, *entries: Entry, at: float = 0.0) -> Batch:
    return Batch(WF, seq, f"token {seq}", entries, at)


def reading_all(*batches: Batch, record: RunRecord | None = RECORD, blob: bytes | None = b"blob") -> list[Effect]:
    """What follows when the store has this of the run."""
    made = claims()
    made.consider(workflow_record(), None, 0.0)
    effects = made.loaded(WF, [record, batches, blob], WALL)
    return made.loaded(WF, [()], WALL) if batches else effects


def test_a_log_is_read_to_its_end_and_the_claim_is_appended_behind_with_the_next_epoch() -> None:
    made = claims()
    made.consider(workflow_record(), None, 0.0)
    first, second = batch(0, Claimed(DEAD, 1)), batch(1, Noted("hm"), Claimed(DEAD, 4))
    assert made.loaded(WF, [RECORD, (first,), b"blob"], WALL) == [Ask(2, (ReadLog(WF, since=1),))]
    assert made.loaded(WF, [(second,)], WALL) == [Ask(3, (ReadLog(WF, since=2),))]
    claimed = Batch(WF, 2, f"{ME}/claim/2", (Claimed(ME, 5),), WALL)
    assert made.loaded(WF, [()], WALL) == [Ask(4, (Append(claimed),))]
    load = made.take(WF)
    assert load == Load(WF, RECORD, None, [first, second], SPEC)
    assert [type(entry) for entry in load.entries] == [Claimed, Noted, Claimed]
    assert (load.next_seq, load.epoch) == (2, 4)


def test_the_first_claim_is_of_epoch_one() -> None:
    claimed = Batch(WF, 0, f"{ME}/claim/0", (Claimed(ME, 1),), WALL)
    assert reading_all() == [Ask(2, (Append(claimed),))]


@pytest.mark.parametrize("record", [None, workflow_record(state=State.COMPLETED)])
def test_a_run_that_is_gone_or_has_ended_is_not_claimed(record: RunRecord | None) -> None:
    assert reading_all(record=record) == []


def test_a_record_that_did_not_hear_of_the_end_of_its_run_is_mended() -> None:
    log = [batch(0, Claimed(DEAD, 3)), batch(1, RunEnded(State.STOPPED, "enough"), at=1700.0)]
    assert reading_all(*log) == [Ask(3, (UpdateRun(WF, 3, State.STOPPED, "enough", ended_at=1700.0),))]


@pytest.mark.parametrize(("blob", "why"), [(None, f"run {WF} has no definition in the store"), (b"broken", "nonsense")])
def test_a_run_that_cannot_be_driven_fails(blob: bytes | None, why: str) -> None:
    reason = f"it cannot be driven: {why}"
    assert reading_all(blob=blob) == [
        Emit(StoreProblem(f"run {WF} has failed: {reason}")),
        Ask(2, (UpdateRun(WF, 0, State.FAILED, reason, ended_at=WALL),)),
    ]


@pytest.mark.parametrize("answers", [[None, None, None], [None, (None,), None]])
def test_answers_that_make_no_sense_are_nothing(answers: list[object]) -> None:
    made = claims()
    made.consider(workflow_record(), None, 0.0)
    assert made.loaded(WF, answers, WALL) == []


def test_a_run_that_was_not_claimed_may_be_read_again() -> None:
    made = claims()
    for _ in range(2):
        assert made.consider(workflow_record(), None, 0.0) != []
        made.loaded(WF, [None, (), None], WALL)


def test_what_is_asked_of_the_store_is_known_by_its_purpose() -> None:
    asks = Asks()
    made = Claims(ME, ClaimSettings(), asks, Stored(), 0.0)
    made.set_members([member(ME)])
    made.consider(workflow_record(), None, 0.0)
    made.loaded(WF, [RECORD, (), b"blob"], WALL)
    made.take(WF)
    made.consider(workflow_record(), None, 0.0)
    made.loaded(WF, [RECORD, (), None], WALL)
    assert [asks.take(token) for token in (1, 2, 3, 4)] == [Loading(WF), Claiming(WF), Loading(WF), Mending(WF)]

"""Bytes of messages and records: versions, limits, what is refused and how it is said."""

import struct
from collections import OrderedDict
from datetime import datetime, timedelta, timezone
from enum import IntEnum

import msgpack
import pytest

from meshflow import leaf_codecs, wire
from meshflow.core.client_messages import StoreAnswers, Watch
from meshflow.core.graph import DagSpec, TaskSpec
from meshflow.core.member import Member, Status
from meshflow.core.messages import Demand, Holding, Message, Probe, SignalAnswer
from meshflow.core.records import Claimed, Entry, Noted, RunEnded, RunRecord, State, Value
from meshflow.core.requests import GetBlob, Pickled, Refused
from meshflow.errors import PeerError, UsageError
from meshflow.ids import NodeId, RunId

MAX_BYTES = 1 << 20


def framed(plain: object) -> bytes:
    """A message of this protocol version whose body is `plain`."""
    body: bytes = msgpack.packb(plain)
    return bytes([wire.PROTOCOL_VERSION]) + body


def refusal(data: bytes) -> str:
    """The text of the PeerError that `data` meets."""
    with pytest.raises(PeerError) as caught:
        wire.decode_message(data, MAX_BYTES)
    return str(caught.value)


def through(answer: object) -> object:
    """`answer` as it arrives in StoreAnswers."""
    message = wire.decode_message(wire.encode_message(StoreAnswers(1, (answer,))), MAX_BYTES)
    assert isinstance(message, StoreAnswers)
    return message.answers[0]


# --- versions and limits ---


def test_a_message_begins_with_the_protocol_version() -> None:
    assert wire.encode_message(Probe(7))[0] == wire.PROTOCOL_VERSION


def test_another_protocol_version_is_named_whatever_follows() -> None:
    theirs = wire.PROTOCOL_VERSION + 1
    with pytest.raises(wire.ProtocolMismatch) as caught:
        wire.decode_message(bytes([theirs]) + b"\xc1 not msgpack", MAX_BYTES)
    assert (caught.value.ours, caught.value.theirs) == (wire.PROTOCOL_VERSION, theirs)
    assert f"version {theirs}" in str(caught.value)
    assert f"version {wire.PROTOCOL_VERSION}" in str(caught.value)


def test_an_empty_message_is_refused() -> None:
    assert "empty message" in refusal(b"")


def test_a_version_without_a_body_is_refused() -> None:
    assert "msgpack" in refusal(bytes([wire.PROTOCOL_VERSION]))


def test_a_message_of_just_the_allowed_size_passes_and_one_byte_more_does_not() -> None:
    data = wire.encode_message(Probe(7))
    assert wire.decode_message(data, len(data)) == Probe(7)
    with pytest.raises(PeerError, match=f"message of {len(data)} bytes; this node accepts {len(data) - 1}"):
        wire.decode_message(data, len(data) - 1)


def test_bytes_after_the_message_are_refused() -> None:
    assert "ExtraData" in refusal(wire.encode_message(Probe(7)) + b"\x00")


def test_a_header_that_promises_more_than_the_message_holds_is_refused() -> None:
    version = bytes([wire.PROTOCOL_VERSION])
    for header in (b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"):  # array, map, text, bytes, extension of 32 bit length
        assert "msgpack" in refusal(version + header + struct.pack(">I", 2**32 - 1))


def test_arrays_nested_without_end_are_refused() -> None:
    assert refusal(bytes([wire.PROTOCOL_VERSION]) + b"\x91" * 100_000)
    assert refusal(bytes([wire.PROTOCOL_VERSION]) + (b"\xdd" + struct.pack(">I", 5_000)) * 1_000)


def test_the_error_about_a_large_value_is_short() -> None:
    assert len(refusal(framed([1, ["x" * 100_000, []]]))) < 300


# --- growing classes ---


def test_missing_fields_at_the_end_get_their_defaults() -> None:
    assert wire.decode_message(framed([18, ["key", None]]), MAX_BYTES) == SignalAnswer("key", None, "")
    record = wire.decode(RunRecord, msgpack.packb([69, ["r", "n", "w", "q"]]))
    assert record == RunRecord(RunId("r"), "n", "w", "q")


def test_two_decoded_values_do_not_share_a_default() -> None:
    data = msgpack.packb([69, ["r", "n", "w", "q"]])
    wire.decode(RunRecord, data).arguments["x"] = 1
    assert wire.decode(RunRecord, data).arguments == {}


def test_a_missing_field_without_a_default_is_refused() -> None:
    assert "Demand: expected an array of at least 2 fields" in refusal(framed([8, [1]]))


def test_surplus_fields_of_a_later_version_are_ignored() -> None:
    assert wire.decode_message(framed([8, [1, 2, {"new": "field"}]]), MAX_BYTES) == Demand(1, 2)


# --- what is refused, and how it is said ---


@pytest.mark.parametrize(
    ("plain", "text"),
    [
        (None, "message: expected an array of tag and fields"),
        ([8], "message: expected an array of tag and fields"),
        ([0, []], "message: expected the tag of one of"),
        ([60, ["n", 1]], "message: expected the tag of one of"),
        ([True, [7]], "message: expected the tag of one of"),
        ([8, {}], "Demand: expected an array"),
        ([8, [1, "2"]], "Demand.received: expected an integer of 64 bits, got '2'"),
        ([8, [1, True]], "Demand.received: expected an integer of 64 bits, got True"),
        ([8, [1, 2.0]], "Demand.received: expected an integer of 64 bits, got 2.0"),
        ([8, [1, 2**63]], "Demand.received: expected an integer of 64 bits, got 9223372036854775808"),
        ([12, [{}, 1, 2]], "Holding.attempts: expected an array"),
        ([12, [[None], 1, 2]], "Attempt: expected an array of at least 4 fields"),
        ([7, [{"q": "1"}]], "Offer.queues: expected an integer"),
        ([7, [{b"q": 1}]], "Offer.queues: expected a map with text as keys"),
        ([7, [[]]], "Offer.queues: expected a map with text as keys"),
        ([21, ["r", float("nan")]], "Watch.seconds: expected a finite number, got nan"),
        ([21, ["r", float("inf")]], "Watch.seconds: expected a finite number, got inf"),
        ([21, [b"r", 1.0]], "Watch.run: expected text"),
        ([18, ["k", {1: 2}]], "not one well-formed msgpack value"),
        ([18, ["k", {b"x": 2}]], "SignalAnswer.result: expected a native value"),
        ([18, ["k", [2**64 - 1]]], "SignalAnswer.result: expected a native value"),
        ([18, ["k", msgpack.ExtType(9, b"")]], "extension type 9"),
        ([18, ["k", msgpack.ExtType(1, b"short")]], "extension type 1 of 5 bytes"),
        ([18, ["k", msgpack.ExtType(1, b"\x7f" * 8)]], "OverflowError"),
        ([18, ["k", msgpack.Timestamp(0)]], "SignalAnswer.result: expected a native value"),
        ([20, [1, [[True, [[True, []]]]]]], "StoreAnswers.answers: expected the tag"),
        ([20, [1, [[60, ["n", 1]]]]], "StoreAnswers.answers: expected the tag"),
        ([20, [1, [[None]]]], "StoreAnswers.answers: expected an array of tag and fields"),
    ],
)
def test_what_a_peer_may_not_send(plain: object, text: str) -> None:
    assert text in refusal(framed(plain))


@pytest.mark.parametrize("status", [4, True, 0.0, "ALIVE", None, [], {}])
def test_what_is_no_member_of_an_enum_is_refused(status: object) -> None:
    with pytest.raises(PeerError, match=r"Member.status: expected Status, got "):
        wire.decode(Member, msgpack.packb([46, ["id", "address", 0, status]]))


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Probe("x"), "cannot encode Probe.seq: expected an integer of 64 bits, got 'x'"),  # type: ignore[arg-type]
        (Probe(True), "Probe.seq: expected an integer"),
        (Probe(2**63), "Probe.seq: expected an integer of 64 bits"),
        (Watch(RunId("r"), float("inf")), "Watch.seconds: expected a finite number, got inf"),
        (Holding((None,), 1, 2), "expected Attempt, got None"),  # type: ignore[arg-type]
        (Holding([], 1, 2), "Holding.attempts: expected tuple"),  # type: ignore[arg-type]
        (SignalAnswer("k", {1: 2}), "SignalAnswer.result: expected a native value"),
        (SignalAnswer("k", {1, 2}), "SignalAnswer.result: expected a native value"),
        (SignalAnswer("k", (1, 2)), "SignalAnswer.result: expected a native value"),
        (SignalAnswer("k", -(2**63) - 1), "SignalAnswer.result: expected a native value"),
        (SignalAnswer("k", Refused("no")), "SignalAnswer.result: expected a native value"),
        (StoreAnswers(1, (Member(NodeId("n"), "a"),)), "StoreAnswers.answers: expected a native value"),
        (StoreAnswers(1, (((),),)), "StoreAnswers.answers: expected a native value"),
    ],
)
def test_what_cannot_be_sent_is_refused_at_its_source(message: Message, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        wire.encode_message(message)
    assert text in str(caught.value)


# --- records and values, as stores keep them ---


def test_a_class_of_a_union_is_found_by_its_tag() -> None:
    assert wire.decode(Entry, wire.encode(RunEnded(State.COMPLETED))) == RunEnded(State.COMPLETED)
    with pytest.raises(PeerError, match="union: expected the tag"):
        wire.decode(Entry, wire.encode(Value(b"x")))


def test_bytes_of_another_class_are_refused() -> None:
    with pytest.raises(PeerError, match="Claimed: expected the tag of Claimed, got 67"):
        wire.decode(Claimed, wire.encode(Noted("x")))


def test_damaged_records_are_refused() -> None:
    data = wire.encode(Claimed(NodeId("n"), 1))
    for end in range(len(data)):
        with pytest.raises(PeerError):
            wire.decode(Claimed, data[:end])


def test_whole_numbers_are_taken_for_floats() -> None:
    watch = wire.decode_message(wire.encode_message(Watch(RunId("r"), 5)), MAX_BYTES)
    assert isinstance(watch, Watch)
    assert type(watch.seconds) is float


def test_enums_travel_as_their_values() -> None:
    assert wire.encode(RunEnded(State.FAILED)) == msgpack.packb([66, ["failed", ""]])
    assert (
        wire.encode(Member(NodeId("n"), "a", 0, Status.LEFT))[:9] == msgpack.packb([46, ["n", "a", 0, 3] + [0] * 8])[:9]
    )


def test_lone_surrogates_in_text_are_spelled_out() -> None:
    assert wire.decode(Noted, wire.encode(Noted("caf\udce9"))) == Noted("caf\\udce9")


def test_subclasses_of_native_types_travel_as_what_they_extend() -> None:
    class Colour(IntEnum):
        RED = 1

    class Name(str):
        pass

    found = wire.decode_value(wire.encode_value(OrderedDict(colour=Colour.RED, names=[Name("x")])))
    assert found == {"colour": 1, "names": ["x"]}
    assert type(found) is dict


def test_an_aware_datetime_arrives_in_utc_and_without_microseconds() -> None:
    at = datetime(2024, 3, 1, 12, 0, 0, 123_999, tzinfo=timezone(timedelta(hours=2)))
    assert wire.decode_value(wire.encode_value(at)) == datetime(2024, 3, 1, 10, 0, 0, 123_000)


def test_native_values_may_be_nested_to_the_limit_and_no_deeper() -> None:
    value: object = 1
    for _ in range(leaf_codecs.MAX_DEPTH):
        value = [value]
    assert wire.decode_value(wire.encode_value(value)) == value
    with pytest.raises(UsageError, match="at most 100 levels"):
        wire.encode_value([value])
    with pytest.raises(PeerError, match="at most 100 levels"):
        wire.decode_value(msgpack.packb([value]))


def test_a_list_within_itself_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(UsageError, match="at most 100 levels"):
        wire.encode_value(endless)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        True,
        b"blob",
        (),
        (True, {"a": [1, Pickled(b"p"), None]}),
        (False, None),
        Refused("a list stands there"),
        RunRecord(RunId("r"), "n", "w", "q", arguments={"x": [1.5]}),
        (RunRecord(RunId("r"), "n", "w", "q"), RunRecord(RunId("s"), "n", "w", "q")),
        [1, [2]],
        [None, True],
        [True, []],
    ],
)
def test_answers_of_a_store_come_back_as_they_were(answer: object) -> None:
    assert through(answer) == answer
    assert type(through(answer)) is type(answer)


def test_a_request_is_no_answer() -> None:
    with pytest.raises(UsageError, match="expected a native value"):
        wire.encode_message(StoreAnswers(1, (GetBlob(RunId("r"), "k"),)))


def test_what_thousands_of_values_say_alike_is_kept_once() -> None:
    tasks = tuple(TaskSpec(f"t{number}", "gpu queue", "digest of code") for number in range(2))
    spec = wire.decode(DagSpec, wire.encode(DagSpec("d", True, "dag", tasks, ())))
    assert spec.tasks[0].queue is spec.tasks[1].queue
    assert spec.tasks[0].payload is spec.tasks[1].payload

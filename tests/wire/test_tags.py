"""What was written by an earlier version stays readable: numbers, names and bytes that must not change."""

import typing
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from types import ModuleType

import pytest

from meshflow import wire
from meshflow.core import graph, key_messages, member, messages, records, requests
from meshflow.core.graph import DagDefinition, DagSpec, Edge, TaskSpec, WorkflowSpec
from meshflow.core.records import (
    Batch,
    Claimed,
    DagEnded,
    DagStarted,
    Noted,
    RunEnded,
    State,
    Stop,
    StopAsked,
    TaskEnded,
    TasksQueued,
    TaskStarted,
    Value,
)
from meshflow.core.requests import Pickled
from meshflow.ids import NodeId, RunId
from meshflow.tags import TAG_OF, TAGS

FROZEN = """
    1 Probe, 2 ProbeAck, 3 ProbeRequest, 4 ProbeNack, 5 Gossip, 6 Sync, 7 Offer, 8 Demand, 9 Work, 10 Reports,
    11 ReportsAck, 12 Holding, 13 Cancel, 14 Stopping, 15 RunOpen, 16 Owned, 17 Signal, 18 SignalAnswer, 19 StoreAsk,
    20 StoreAnswers, 21 Watch, 22 Watched, 23 AskStatus, 24 NodeStatus, 25 Drain, 26 Draining, 27 AskKeys,
    28 UseKeys, 29 KeysHeld,
    40 Finished, 41 Output, 42 Returned, 43 Attempt, 44 Input, 45 Job, 46 Member, 47 News, 48 Verdict,
    60 Claimed, 61 TaskStarted, 62 TaskEnded, 63 StopAsked, 64 DagStarted, 65 DagEnded, 66 RunEnded, 67 Noted, 68 Batch,
    69 RunRecord, 70 Value, 71 TasksQueued,
    72 DagRefused,
    80 TaskSpec, 81 Edge, 82 DagSpec, 83 WorkflowSpec, 84 DagDefinition,
    90 CreateRun, 91 LoadRun, 92 ListRuns, 93 UpdateRun, 94 AskStop, 95 Append, 96 ReadLog, 97 PutBlob, 98 GetBlob,
    99 GetField, 100 SetFields, 101 ExtendField, 102 RemoveDocument, 103 WriteOutput, 104 ReadOutput, 105 RegisterNode,
    106 ForgetNode, 107 ListNodes, 108 RemoveRun, 109 Refused, 110 Pickled,
    111 RemoveOrphans, 112 RemoveNodes, 113 Sweep, 114 Swept, 115 CopyBlob, 116 CopyDocument
"""
"""A row may be added, and none changed: a number that was given away once is in somebody's log."""

STORED = {
    "Claimed": "node epoch",
    "TasksQueued": "tasks",
    "TaskStarted": "task attempt epoch node",
    "TaskEnded": "task attempt state value limit reason started_at ended_at node retry",
    "StopAsked": "stop state reason by",
    "DagStarted": "name dag key data",
    "DagRefused": "dag key",
    "DagEnded": "name state reason total done",
    "RunEnded": "state reason",
    "Noted": "text task",
    "Batch": "run seq token entries at",
    "Value": "inline blob size_bytes",
    "TaskSpec": "name queue payload force_run propagate_skip retries retry_delay_s backoff timeout_s priority "
    "at_most_once",
    "Edge": "parent child slot",
    "DagSpec": "name autostart queue tasks edges",
    "WorkflowSpec": "name queue dags autostart dag_queues clear_data_store",
    "DagDefinition": "spec payloads",
}
"""The fields of what is kept in stores as bytes. A field may be added at the end, with a default."""


def test_the_table_of_tags_is_the_frozen_one() -> None:
    rows = dict(row.split() for row in FROZEN.replace("\n", " ").split(","))
    assert {str(tag): cls.__name__ for tag, cls in TAGS.items()} == rows


def test_no_class_has_two_tags() -> None:
    assert len(TAG_OF) == len(TAGS)


@pytest.mark.parametrize(
    "module", [graph, key_messages, member, messages, records, requests], ids=lambda module: module.__name__
)
def test_every_dataclass_of_the_vocabularies_has_a_tag(module: ModuleType) -> None:
    own = [each for each in vars(module).values() if isinstance(each, type) and each.__module__ == module.__name__]
    assert not [cls.__name__ for cls in own if is_dataclass(cls) and cls not in TAG_OF]


def test_every_kind_of_message_report_request_and_entry_has_a_tag() -> None:
    for union in (messages.Message, messages.Report, requests.Request, records.Entry):
        assert not [cls.__name__ for cls in typing.get_args(union) if cls not in TAG_OF]


@pytest.mark.parametrize("name", STORED)
def test_what_is_kept_only_grows_at_its_end(name: str) -> None:
    cls = next(cls for cls in TAGS.values() if cls.__name__ == name)
    assert is_dataclass(cls)
    frozen = STORED[name].split()
    assert [field.name for field in fields(cls)][: len(frozen)] == frozen
    for added in fields(cls)[len(frozen) :]:
        assert added.default is not MISSING or added.default_factory is not MISSING, f"{added.name} needs a default"


KEPT: dict[str, object] = {
    "924495ad61622f6d61696e5f6461673a3107a5746f6b656e9a923c92a26e3102924791920001923d94000102a26e31923e9a"
    "0001a9636f6d706c6574656493c40178a00191a162a0cb3ff8000000000000cb4004000000000000a26e31c2923e9a0101a6"
    "6661696c656493c400a000c0a26e6fcb3ff8000000000000cb4004000000000000a26e31c3923f94a663616e63656ca96361"
    "6e63656c6c6564a3776879a377686f924094a57375623a31a3737562a36b657993c400a4626c6f62ce00011170924195a573"
    "75623a31a7736b6970706564a00201924292a773746f70706564a3776879924392a46c6f6f6b01cb41d954fc40100000": Batch(
        RunId("ab/main_dag:1"),
        7,
        "token",
        (
            Claimed(NodeId("n1"), 2),
            TasksQueued((0, 1)),
            TaskStarted(0, 1, 2, NodeId("n1")),
            TaskEnded(0, 1, State.COMPLETED, Value(b"x", "", 1), ("b",), "", 1.5, 2.5, NodeId("n1"), False),
            TaskEnded(1, 1, State.FAILED, Value(), None, "no", 1.5, 2.5, NodeId("n1"), True),
            StopAsked(Stop.CANCEL, State.CANCELLED, "why", "who"),
            DagStarted("sub:1", "sub", "key", Value(b"", "blob", 70000)),
            DagEnded("sub:1", State.SKIPPED, "", 2, 1),
            RunEnded(State.STOPPED, "why"),
            Noted("look", 1),
        ),
        1700000000.25,
    ),
    "92549295a46d61696ec3a3646167929ba161a47461736ba26431c2c300cb0000000000000000cb3ff0000000000000c000c2"
    "9ba162a3677075a26431c3c203cb3fe0000000000000cb4000000000000000cb404e00000000000009c392930001c0930001"
    "a4736c6f7482a26431c4036f6e65a26432c40374776f": DagDefinition(
        DagSpec(
            "main",
            True,
            "dag",
            (
                TaskSpec("a", "task", "d1"),
                TaskSpec("b", "gpu", "d1", True, False, 3, 0.5, 2.0, 60.0, 9, True),
            ),
            (Edge(0, 1), Edge(0, 1, "slot")),
        ),
        {"d1": b"one", "d2": b"two"},
    ),
    "925396a177a8776f726b666c6f7792a46d61696ea373756291a46d61696e92a3646167a3646167c2": WorkflowSpec(
        "w", "workflow", ("main", "sub"), ("main",), ("dag", "dag"), False
    ),
}
"""`{hex digits: what they mean}`: written by version 0.1.0."""


@pytest.mark.parametrize("digits", KEPT)
def test_bytes_of_the_first_version_are_understood(digits: str) -> None:
    kept = KEPT[digits]
    found: object = wire.decode(type(kept), bytes.fromhex(digits))
    assert found == kept


def test_native_values_of_the_first_version_are_understood() -> None:
    value = {
        "n": None,
        "b": True,
        "i": -1,
        "f": 0.5,
        "s": "ä",
        "y": b"\x00",
        "l": [datetime(2024, 5, 6, 7, 8, 9, 123000)],
    }
    kept = "88a16ec0a162c3a169ffa166cb3fe0000000000000a173a2c3a4a179c40100a16c91d7010000018f4cbb3823a170d60280054e2e"
    assert wire.decode_value(bytes.fromhex(kept)) == value | {"p": Pickled(b"\x80\x05N.")}

"""Whatever members, clients and strangers send, in whatever order: nothing raises, and what the node answers can
travel."""

import types
import typing
from dataclasses import is_dataclass
from enum import Enum
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshflow import wire
from meshflow.core.attempts import Attempt
from meshflow.core.client_messages import StoreAsk
from meshflow.core.effects import Effect, Send, SendTo
from meshflow.core.keys import call_key, own_key
from meshflow.core.messages import Demand, Holding, Message, Owned, Reports, Signal, SignalAnswer, Verdict, Work
from meshflow.core.records import State, Value
from meshflow.core.requests import Pickled
from meshflow.ids import NodeId, RunId
from tests.core.builders import ANN, BOB, ME, RUN, WF, attempt, dag, finished, member, task
from tests.core.noding import Noding
from tests.core.owning import Blueprints

STRANGER = NodeId("stranger")
NODES = st.sampled_from([ANN, BOB, ME, STRANGER])
RUNS = st.sampled_from([WF, RUN, RunId(""), RunId("/"), RunId("other"), RunId("other/d:1"), RunId(f"{WF}/d:2")])
KEYS = [
    call_key(attempt(0), 1),
    call_key(attempt(7), 1),
    own_key(RUN, "ended"),
    own_key(RUN, "trouble"),
    "",
    "/",
    "a/b",
]
ACTIONS = ["start_dag", "join_dags", "stop_dag", "stop_workflow", "is_dag_stopped", "is_dag_completed", "flush"]
WORDS = ["d", "d:1", "sub", "task", "dag", *ACTIONS, "dag_ended", *KEYS, *(state.value for state in State)]
ARGUMENTS = ["name", "names", "caller", "idle", "state", "reason", "total", "done", "dag_name"]
NUMBERS = st.sampled_from([-(2**63), -1, 0, 1, 2, 3, 2**62, 2**63 - 1])
NATIVE = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.sampled_from(WORDS), st.just(b"x"), st.just(Pickled(b"x"))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(ARGUMENTS), inner, max_size=3),
    max_leaves=4,
)


@cache
def strategy_of(hint: object) -> st.SearchStrategy[typing.Any]:
    """Values that the wire lets through for an annotation, with a taste for what the node knows of."""
    if hint == NodeId:
        return NODES
    if hint == RunId:
        return RUNS
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return st.one_of([strategy_of(each) for each in arguments])
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(strategy_of(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(strategy_of, arguments))
    if origin is dict:
        names = ARGUMENTS if arguments[1] is object else WORDS
        return st.dictionaries(st.sampled_from(names), strategy_of(arguments[1]), max_size=4)
    assert isinstance(hint, type), hint
    if is_dataclass(hint) or hint is Attempt:
        hints = typing.get_type_hints(hint)
        likely = LIKELY.get(hint, {})
        named = {name: strategy_of(each) for name, each in hints.items()}
        made = st.builds(hint, **{name: likely.get(name, named[name]) for name in named})
        return st.sampled_from([attempt(index) for index in range(5)]) | made if hint is Attempt else made
    if issubclass(hint, Enum):
        return st.sampled_from(list(hint))
    return PLAIN[hint]


LIKELY: dict[type, dict[str, st.SearchStrategy[object]]] = {
    Attempt: {
        "run": st.just(RUN) | RUNS,
        "task": st.integers(-1, 5),
        "attempt": st.just(1) | NUMBERS,
        "epoch": st.sampled_from([0, 1, 1, 2]),
    },
    Reports: {"run": st.just(RUN) | RUNS, "first": st.just(1) | NUMBERS, "acknowledged": st.just(1) | NUMBERS},
    Signal: {
        "run": st.sampled_from([WF, RUN]),
        "action": st.sampled_from([*ACTIONS, "dag_ended", "dance"]),
        "arguments": st.dictionaries(st.sampled_from(ARGUMENTS), st.just("d:1") | NATIVE, max_size=6),
    },
    SignalAnswer: {"key": st.sampled_from(KEYS)},
    Verdict: {"incarnation": st.integers(-1, 3)},
}
"""What some fields are drawn from, so that more than a few messages are about what the node has."""
PLAIN: dict[object, st.SearchStrategy[object]] = {
    int: NUMBERS,
    float: st.sampled_from([-1e300, -1.0, 0.0, 0.5, 3.0, 1e300]),
    str: st.sampled_from(WORDS),
    bytes: st.just(b"x"),
    bool: st.booleans(),
    object: NATIVE,
    type(None): st.none(),
}
MESSAGES: dict[type, st.SearchStrategy[Message]] = {each: strategy_of(each) for each in typing.get_args(Message)}
ANY = st.one_of(*MESSAGES.values(), *(MESSAGES[each] for each in (Reports, Reports, Holding, Signal, Signal, Work)))
STEPS = st.lists(st.tuples(NODES, ANY, st.sampled_from([0.0, 0.01, 0.5, 3.0])), max_size=12)


def busy_node() -> Noding:
    """It drives a workflow run and its dag run, whose tasks run here and at ANN, and members come and go."""
    spec = dag("a b c d e", "a>e", task("b", retries=1), task("c", at_most_once=True), task("d", force_run=True))
    members = (member(ANN, queues=("task",)), member(BOB, queues=("gpu",)))
    noding = Noding(*members, blueprints=Blueprints(spec, others="sub"))
    noding.submit()
    noding.settle()
    noding.handle(ANN, Demand(1, 0), 0.1)
    noding.settle(0.1)
    waiting, ending = noding.starts
    noding.node.task_signal(waiting.job.attempt, 1, "join_dags", {"names": None}, None, 0.1)
    noding.node.task_finished(finished(ending.job.attempt, value=Value(b"x")), 0.1)
    noding.settle(0.1)
    assert sorted(noding.node.status.owned) == sorted((WF, RUN))
    return noding


def can_travel(effects: list[Effect]) -> bool:
    """Whether the transport could send all messages in `effects`; it raises if not."""
    for effect in effects:
        if isinstance(effect, Send | SendTo):
            wire.encode_message(effect.message)
    return True


def live_on(noding: Noding, sender: NodeId, message: Message, now: float) -> None:
    """Handle the message and all that follows, the answers of the store included."""
    assert can_travel(noding.handle(sender, message, now))
    for _ in range(4):
        asks = [ask for ask in noding.asks if not noding.node.is_for_client(ask.token)]
        noding.asks = []
        for ask in asks:
            assert can_travel(noding.do(noding.node.answered(ask.token, noding.store.perform(ask.requests), now)))
        assert can_travel(noding.do(noding.node.flush(now)))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(STEPS)
def test_nothing_that_anybody_sends_raises(steps: list[tuple[NodeId, Message, float]]) -> None:
    noding = busy_node()
    now = 0.1
    for sender, message, pause_s in steps:
        now += pause_s
        live_on(noding, sender, message, now)
    noding.do(noding.node.flush(now + 100.0))
    assert noding.node.status.member.id == ME


@pytest.mark.parametrize(
    "kind", [Signal, Reports, Holding, Work, Owned, SignalAnswer, StoreAsk], ids=lambda kind: kind.__name__
)
def test_nothing_that_much_depends_on_raises(kind: type) -> None:
    @settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(st.lists(MESSAGES[kind], min_size=1, max_size=8))
    def run(messages: list[Message]) -> None:
        noding = busy_node()
        for number, message in enumerate(messages):
            live_on(noding, (ANN, STRANGER, ME)[number % 3], message, 0.1 + number)
        noding.do(noding.node.flush(1000.0))

    run()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_class_of_message_from_a_member_or_a_stranger_raises(data: st.DataObject) -> None:
    noding = busy_node()
    for kind, strategy in MESSAGES.items():
        for sender in (ANN, STRANGER):
            live_on(noding, sender, data.draw(strategy, label=kind.__name__), 0.2)

"""What the signs of a socket mean: each line is a conversation as ZeroMQ had it."""

import errno

import pytest

from meshflow.runtime.transport.diagnosis import Diagnosis
from meshflow.runtime.transport.problems import (
    ConnectionLost,
    NobodyThere,
    NotANode,
    Silent,
    Unreachable,
    WrongKey,
)
from meshflow.runtime.transport.sockets import Sign

_ADDRESS = "tcp://192.0.2.1:7400"
_TIMEOUT_S = 3.0

_CLOSED = (Sign.BROKEN_OFF, errno.EPIPE)
_MUTE = (Sign.BROKEN_OFF, errno.EAGAIN)
_GONE = (Sign.DISCONNECTED, 5)
_AGAIN = (Sign.RETRYING, 50)
_START = (Sign.CONNECTING, 115)
_READY = (Sign.READY, 0)


@pytest.mark.parametrize(
    ("signs", "meanings", "has_given_up"),
    [
        ([_START, _READY], [], False),
        ([_START, _READY, _GONE, _AGAIN], [ConnectionLost], False),
        ([_START, _READY, _GONE], [ConnectionLost], True),
        ([_START, _READY, _GONE, _AGAIN, _START, _READY, _GONE, _AGAIN], [ConnectionLost, ConnectionLost], False),
        ([_START, (Sign.CONNECT_FAILED, 5), _AGAIN], [NobodyThere], False),
        ([_START, _MUTE, _GONE, _AGAIN], [Silent], False),
        ([_START, _CLOSED, _GONE, _AGAIN], [], False),
        ([_START, _CLOSED, _GONE, _AGAIN, _START, _CLOSED, _GONE, _AGAIN], [WrongKey], False),
        ([_START, _CLOSED, _GONE, _AGAIN, _START, _READY, _GONE, _AGAIN, _START, _CLOSED], [ConnectionLost], True),
        ([_START, _CLOSED, _GONE, _AGAIN, _START, (Sign.CONNECT_FAILED, 5)], [NobodyThere], False),
        ([_START, (Sign.REFUSED, 400), _GONE], [WrongKey], True),
        ([_START, (Sign.NOT_UNDERSTOOD, 1), _GONE], [NotANode], True),
        ([_START, _GONE], [NotANode], True),
        ([_AGAIN], [NobodyThere], False),
    ],
    ids=[
        "well",
        "lost and tried again",
        "lost for a breach of protocol",
        "lost twice",
        "refused",
        "silent in the handshake",
        "closed once, as by a node that ends",
        "closed twice",
        "closed once, well, closed once",
        "the node had ended",
        "not on the list",
        "another kind of ZeroMQ socket",
        "another kind of server",
        "no such name",
    ],
)
def test_the_signs_of_a_connection_mean(
    signs: list[tuple[Sign, int]], meanings: list[type[Unreachable]], has_given_up: bool
) -> None:
    diagnosis = Diagnosis(_ADDRESS, _TIMEOUT_S)
    problems = [problem for sign, value in signs if (problem := diagnosis.feed(sign, value, 1.0))]
    assert [type(problem) for problem in problems] == meanings
    assert all(_ADDRESS in str(problem) for problem in problems)
    assert diagnosis.has_given_up == has_given_up


def test_a_connection_that_takes_all_its_time_to_fail_is_silence_and_not_a_refusal() -> None:
    diagnosis = Diagnosis(_ADDRESS, _TIMEOUT_S)
    diagnosis.feed(*_START, 10.0)
    assert type(diagnosis.feed(Sign.CONNECT_FAILED, 5, 10.0 + _TIMEOUT_S)) is Silent
    diagnosis.feed(*_START, 20.0)
    assert type(diagnosis.feed(Sign.CONNECT_FAILED, 5, 20.1)) is NobodyThere


def test_it_knows_whether_messages_can_pass() -> None:
    diagnosis = Diagnosis(_ADDRESS, _TIMEOUT_S)
    story = []
    for sign in (_START, _READY, _GONE, _AGAIN):
        diagnosis.feed(*sign, 1.0)
        story.append(diagnosis.is_ready)
    assert story == [False, True, False, False]

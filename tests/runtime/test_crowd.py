"""A port that lets in so many and no more."""

import socket
from collections.abc import Iterator

import pytest

from meshflow.runtime.transport.crowd import Crowd


@pytest.fixture
def port() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def is_let_in(port: socket.socket) -> bool:
    """Whether somebody who comes now gets through within a tenth of a second."""
    try:
        socket.create_connection(port.getsockname(), 0.1).close()
    except TimeoutError:
        return False
    return True


def test_who_comes_when_it_is_full_waits_outside(port: socket.socket) -> None:
    crowd = Crowd(port, 2)
    assert not crowd.came(10)
    assert is_let_in(port)
    assert crowd.came(11)
    assert not is_let_in(port)
    crowd.went(10)
    assert is_let_in(port)
    assert len(crowd) == 1


def test_it_is_told_once_each_time_that_it_becomes_full(port: socket.socket) -> None:
    crowd = Crowd(port, 1)
    assert crowd.came(10)
    assert not crowd.came(11)
    assert not crowd.came(11)
    crowd.went(99)
    crowd.went(10)
    crowd.went(11)
    assert crowd.came(12)


def test_when_all_have_gone_it_is_open(port: socket.socket) -> None:
    crowd = Crowd(port, 1)
    crowd.came(10)
    crowd.all_went()
    assert is_let_in(port)
    assert len(crowd) == 0

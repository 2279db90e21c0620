"""Processes that a peer needs beside its own, ended with the block of code that needs them."""

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

_END_S = 10.0


@contextmanager
def running(*command: str) -> Iterator[None]:
    """A process that says nothing."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def redis_server() -> Iterator[str]:
    """The URL of a Redis on loopback that keeps nothing on disk. It is there: clients need not try again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    with tempfile.TemporaryDirectory() as folder, running("redis-server", *options, "--dir", folder):
        _await_port(port)
        yield f"redis://127.0.0.1:{port}/0"


def _await_port(port: int) -> None:
    until = time.monotonic() + _END_S
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)

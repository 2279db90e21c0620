"""Those who have no business in a mesh, or too much: canary pickles in every message, raw connections, recordings."""

import os
import pickle
import select
import socket
import threading
import types
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path

import zmq
from zmq.utils.monitor import recv_monitor_message

from meshflow.core.messages import Message
from meshflow.core.requests import Pickled
from meshflow.ids import NodeId
from meshflow.runtime.address import parse_address
from meshflow.runtime.folder import find_key, runtime_folder, state_path
from meshflow.runtime.keys import MeshKey
from meshflow.runtime.transport.routes import routing_id
from meshflow.wire import encode_message
from tests.system.real_mesh import RealMesh

AUDITED = """\
import os, sys
journal = os.open(os.environ["MESHFLOW_TEST_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def hook(event, arguments):
    if event == "pickle.find_class":
        os.write(journal, f"{os.getpid()} {arguments}\\n".encode())
sys.addaudithook(hook)
from meshflow.cli import main
main()
"""
"""Runs the command line in a process that notes every name that a pickle looks up: without any, it can do nothing."""

_RUN = "65a1f0c2d3e4b5a697887766"
_PLAIN: dict[object, object] = {int: 1, float: 1.0, bool: True, str: "canary", types.NoneType: None}


class _Canary:
    def __init__(self, folder: Path) -> None:
        self._code = f"import os; open(os.path.join({str(folder)!r}, str(os.getpid())), 'w').close()"

    def __reduce__(self) -> tuple[object, ...]:
        return exec, (self._code,)


def canary(folder: Path) -> bytes:
    """A pickle that, when it is loaded, leaves a file in `folder` with the process id as its name."""
    return pickle.dumps(_Canary(folder))


def messages_with(data: bytes) -> list[Message]:
    """Messages of every type, with `data` in every field that holds bytes, and in every native value."""
    classes = typing.get_args(Message)
    return [typing.cast(Message, value) for cls in classes for value in variants(cls, data)]


def variants(hint: object, data: bytes) -> list[object]:
    """Values of an annotation, in which each class of a union comes up at least once."""
    if isinstance(hint, typing.NewType):
        return [_RUN] if hint.__name__ == "RunId" else variants(hint.__supertype__, data)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return [value for each in arguments for value in variants(each, data) if each is not types.NoneType]
    if origin is tuple and arguments[-1] is Ellipsis:
        return [tuple(variants(arguments[0], data))]
    if origin is tuple:
        return _rows([variants(each, data) for each in arguments])
    if origin in (list, dict):
        values = variants(arguments[-1], data)
        return [values if origin is list else {str(number): value for number, value in enumerate(values)}]
    if hint is bytes:
        return [data]
    if hint is object:
        return [Pickled(data), data]
    if hint in _PLAIN:
        return [_PLAIN[hint]]
    assert isinstance(hint, type), hint
    if issubclass(hint, Enum):
        return [next(iter(hint))]
    hints = typing.get_type_hints(hint)
    rows = _rows([variants(each, data) for each in hints.values()])
    return [hint(*typing.cast(tuple[object, ...], row)) for row in rows]


def _rows(columns: list[list[object]]) -> list[object]:
    count = max(map(len, columns), default=1)
    return [tuple(column[number % len(column)] for column in columns) for number in range(count)]


@contextmanager
def dealer(
    server: MeshKey | None, own: MeshKey | None, sender: NodeId, linger_ms: int = 300
) -> "Iterator[zmq.Socket[bytes]]":
    """A bare DEALER that proves itself with `own`, or with nothing, to whom it is connected."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as made:
        made.setsockopt(zmq.LINGER, linger_ms)
        made.setsockopt(zmq.ROUTING_ID, routing_id(sender, os.getpid(), None))
        if server is not None and own is not None:
            made.setsockopt(zmq.CURVE_SERVERKEY, server.public.encode())
            made.setsockopt(zmq.CURVE_PUBLICKEY, own.public.encode())
            made.setsockopt(zmq.CURVE_SECRETKEY, own.secret.encode())
        yield made


def pour(into: "zmq.Socket[bytes]", data: Sequence[bytes]) -> None:
    """Send all that the socket takes."""
    for each in data:
        with suppress(zmq.Again):
            into.send(each, zmq.NOBLOCK)


def knock(address: str, server: MeshKey | None, own: MeshKey | None, sender: NodeId, data: Sequence[bytes]) -> None:
    """Send messages over a new connection."""
    with dealer(server, own, sender) as made:
        made.connect(address)
        pour(made, data)


class Veteran:
    """Holds a connection that it opened as a member, with a key that is revoked later."""

    def __init__(self, socket: "zmq.Socket[bytes]", address: str) -> None:
        self._socket = socket
        self._monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        socket.connect(address)

    def is_let_in(self) -> bool:
        """Whether the node has opened to it."""
        return bool(self._monitor.poll(0)) and self._heard() == zmq.EVENT_HANDSHAKE_SUCCEEDED

    def is_cut(self) -> bool:
        """Whether the node has closed the connection."""
        return bool(self._monitor.poll(0)) and self._heard() == zmq.EVENT_DISCONNECTED

    def _heard(self) -> int:
        return int(recv_monitor_message(self._monitor)["event"])

    def goes_on(self, data: Sequence[bytes]) -> None:
        """Send over the same socket, which tries to connect again with the same key for as long as it exists."""
        pour(self._socket, data)

    def close(self) -> None:
        """Let go of the monitor."""
        self._socket.disable_monitor()
        self._monitor.close()


def send_all(address: str, key: MeshKey, sender: NodeId, messages: Sequence[Message]) -> None:
    """Send messages as a member."""
    knock(address, key, key, sender, [encode_message(each) for each in messages])


@contextmanager
def deaf(address: str, key: MeshKey, sender: NodeId, messages: Sequence[Message]) -> Iterator[None]:
    """A member that sends messages and reads no answer."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.RCVHWM, 1)
        dealer.setsockopt(zmq.RCVBUF, 4096)
        dealer.setsockopt(zmq.SNDTIMEO, 10_000)
        dealer.setsockopt(zmq.ROUTING_ID, routing_id(sender, 1, None))
        dealer.setsockopt(zmq.CURVE_SERVERKEY, key.public.encode())
        dealer.setsockopt(zmq.CURVE_PUBLICKEY, key.public.encode())
        dealer.setsockopt(zmq.CURVE_SECRETKEY, key.secret.encode())
        dealer.connect(address)
        for each in messages:
            dealer.send(encode_message(each))
        yield


def key_of(mesh: RealMesh) -> MeshKey:
    """The key of a mesh."""
    folder, state = runtime_folder("default", mesh.environment), state_path("default", mesh.environment)
    return find_key(folder, state).key


def connect(address: str, timeout_s: float = 2.0) -> socket.socket:
    """A plain TCP connection."""
    place = parse_address(address)
    return socket.create_connection((place.host, place.port), timeout_s)


def free_port() -> int:
    """A port that nobody uses just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Recorder:
    """A relay to `port` that keeps what those who connect send."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.recordings: list[bytearray] = []
        self._is_ended = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        self._server.settimeout(0.05)
        while not self._is_ended.is_set():
            with suppress(TimeoutError):
                client, _ = self._server.accept()
                thread = threading.Thread(target=self._relay, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _relay(self, client: socket.socket) -> None:
        kept = bytearray()
        self.recordings.append(kept)
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self._to)) as node:
            while not self._is_ended.is_set():
                readable, _, _ = select.select([client, node], [], [], 0.05)
                for end in readable:
                    data = end.recv(65536)
                    if not data:
                        return
                    if end is client:
                        kept += data
                    (node if end is client else client).sendall(data)

    def close(self) -> None:
        """End the relay."""
        self._is_ended.set()
        for thread in self._threads:
            thread.join()
        self._server.close()


def listening(pid: int) -> list[str]:
    """What a process listens on, as the lines of /proc/net."""
    inodes = dict.fromkeys(
        link.removeprefix("socket:[").removesuffix("]")
        for link in _links(Path(f"/proc/{pid}/fd"))
        if link.startswith("socket:[")
    )
    found = []
    for table, state in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == state and words[9] in inodes:
                    found.append(f"{table} {words[1]}")
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
            words = line.split()
            if words[6] in inodes and len(words) > 7:
                found.append(f"unix {words[7]}")
    return found


def _links(folder: Path) -> Iterator[str]:
    for entry in list(folder.iterdir()):
        with suppress(OSError):
            yield os.readlink(entry)


@contextmanager
def mask(umask: int) -> Iterator[None]:
    """Another file mode mask, for a while."""
    before = os.umask(umask)
    try:
        yield
    finally:
        os.umask(before)

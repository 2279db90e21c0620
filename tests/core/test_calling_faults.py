"""Calls on a mesh where messages are lost, doubled and late, nodes die, join and drain, and calls are cancelled."""

import os

import pytest

from meshflow.core.callers import SILENT_S
from meshflow.core.calling import Function
from meshflow.ids import NodeId, calls_of
from tests.core.calling_actors import Client
from tests.core.calling_world import DEADLY, World

SEEDS = range(300 if os.environ.get("MESHFLOW_LONG") else 6)
SHORT, OTHER, URGENT = Function("1", "short"), Function("2", "other"), Function("3", "urgent", priority=1)
TIMED = Function("4", "timed", timeout_s=10.0)
ONCE = Function("5", "once", at_most_once=True)


def submit_some(world: World, client: Client, number: int) -> None:
    rng = world.rng
    function = rng.choice((SHORT, SHORT, OTHER, URGENT, TIMED, ONCE))
    names = [f"{client.id} {function.name} {number} {each}".encode() for each in range(rng.choice((1, 3, 40)))]
    if rng.random() < 0.2:
        names[0] = DEADLY + b" " + names[0]
    world.call(client, function, *names)


def disturb(world: World, number: int) -> None:
    """Something happens to the nodes; two are left alone, so that there is always somebody."""
    rng = world.rng
    match rng.choice(("kill", "join", "drain", "nothing", "nothing")):
        case "kill" if len(world.hosts) > 3:
            world.kill(rng.choice([name for name in world.hosts if not name.startswith("safe")]))
        case "join" if len(world.hosts) < 7:
            world.join(f"node {number}", slots=rng.randint(1, 3))
        case "drain":
            host = rng.choice([*world.hosts.values()])
            if not host.node.id.startswith("safe"):
                world._perform(host, host.node.drain(world.now))
                world._flush(host)
        case _:
            pass


def is_right(name: bytes, outcomes: list[bytes | str]) -> bool:
    """Whether a call ended once, and as it had to."""
    if len(outcomes) != 1:
        return False
    (outcome,) = outcomes
    if isinstance(outcome, bytes):
        return outcome == b"done " + name and not name.startswith(DEADLY)
    return name.startswith(DEADLY) if "most once" not in outcome else b"once" in name


def check_ended(client: Client, cancelled: list[bytes]) -> None:
    missing = [name for name in client.calls if name not in client.results and name not in cancelled]
    assert not missing, missing[:5]
    wrong = {name: each for name, each in client.results.items() if not is_right(name, each)}
    assert not wrong, wrong


def check_nothing_is_left(client: Client) -> None:
    caller, waiting = client.caller, client.caller._waiting
    assert (caller._batches, len(caller._handouts), len(caller._leases)) == ({}, 0, 0)
    assert waiting._places == {}
    assert [line for line in waiting._lines.values() if line.out_count or line.places or line.waiting] == []


def kept_of_clients(world: World) -> dict[str, object]:
    """What nodes have of clients, by node; those that have nothing are left out."""
    kept: dict[str, object] = {}
    for host in world.hosts.values():
        worker, callers = host.node._worker, host.node._callers
        owners = [owner for owner in worker._credit._owners if owner not in world.hosts]
        found = (list(callers._heard_at), owners, list(worker._outboxes), list(worker._held), list(worker._locate_at))
        if any(found):
            kept[host.node.id] = found
    return kept


NEAR = {"far": (), "near": ("",), "some near": ("safe 1", "node a")}
"""How the names of the nodes begin that are of the host of the clients."""


@pytest.mark.parametrize("near", NEAR.values(), ids=NEAR)
@pytest.mark.parametrize("loss", [0.0, 0.03], ids=["reliable", "lossy"])
@pytest.mark.parametrize("seed", SEEDS)
def test_every_call_ends_once_with_its_own_result_whatever_happens(
    seed: int, loss: float, near: tuple[str, ...]
) -> None:
    world = World(seed, loss)
    for name in ("safe 1", "safe 2", "node a", "node b"):
        world.join(name)
    world.run(2.0)
    clients = [world.client("client 1", near), world.client("client 2", near, max_out=seed % 2 * 4 or None)]
    if seed % 5 == 0:
        world.walled.append(NodeId("safe 1"))
    cancelled: list[bytes] = []
    for number in range(30):
        client = world.rng.choice(clients)
        submit_some(world, client, number)
        if world.rng.random() < 0.2:
            chosen = world.rng.sample(list(client.calls), min(5, len(client.calls)))
            cancelled += chosen
            world.cancel(client, *chosen)
        disturb(world, number)
        world.run(world.rng.choice((0.001, 0.05, 1.0)))

    def is_done() -> bool:
        return all(client.caller.is_idle for client in clients)

    assert world.run(200.0, is_done), "calls do not end"
    for client in clients:
        check_ended(client, cancelled)
        check_nothing_is_left(client)
    assert not world.doubles, world.doubles[:3]

    world.loss = 0.0
    world.run(10.0)
    for client in clients:
        world.look(client)
        before = world.begun_count
        world.call(client, SHORT, b"last of " + client.id.encode())
        assert world.run(0.1, lambda before=before: world.begun_count > before), "credit has leaked"  # type: ignore[misc]
    world.run(1.0)
    for client in clients:
        check_ended(client, cancelled)
    draining = [host.node for host in world.hosts.values() if host.node.is_draining]
    assert all(node.is_drained for node in draining)


@pytest.mark.parametrize("near", NEAR.values(), ids=NEAR)
@pytest.mark.parametrize("has_goodbye", [True, False], ids=["goodbye", "kill -9"])
@pytest.mark.parametrize("seed", SEEDS)
def test_nodes_forget_a_client_that_is_gone_and_end_its_calls(
    seed: int, has_goodbye: bool, near: tuple[str, ...]
) -> None:
    world = World(seed, 0.0)
    for name in ("safe 1", "safe 2"):
        world.join(name)
    world.run(2.0)
    client, stays = world.client("client 1", near), world.client("client 2", near)
    for number in range(10):
        submit_some(world, client, number)
        submit_some(world, stays, number)
    world.run(world.rng.choice((0.002, 0.01, 0.1)))
    if has_goodbye:
        world.leave(client)
        world.run(0.1)
        assert len(client.caller._leases) == 0
        of_client = [host.node._callers for host in world.hosts.values() if client.id in host.node._callers]
        assert of_client == []
        assert not any(attempt.run == calls_of(client.id) for host in world.hosts.values() for attempt in host.running)
    else:
        world.crash(client)
    assert world.run(60.0, lambda: stays.caller.is_idle)
    check_ended(stays, [])
    world.leave(stays)
    world.run(SILENT_S + 2.0)
    assert kept_of_clients(world) == {}


def test_a_client_that_was_silent_for_long_is_served_at_once() -> None:
    world = World(1, 0.0)
    world.join("safe 1")
    world.run(1.0)
    client = world.client("client")
    world.call(client, SHORT, *(b"%d" % number for number in range(200)))
    assert world.run(10.0, lambda: client.caller.is_idle)
    world.run(SILENT_S + 5.0)
    assert kept_of_clients(world) == {}
    for number in range(20):
        world.call(client, SHORT, b"again %d" % number)
        assert world.run(0.2, lambda: client.caller.is_idle), number
    check_ended(client, [])


def test_a_client_that_comes_back_after_it_was_taken_for_gone_gets_its_calls_made() -> None:
    """As a laptop that slept: the nodes have ended what they had."""
    world = World(3, 0.0)
    world.join("safe 1")
    world.run(1.0)
    client = world.client("client")
    world.call(client, SHORT, *(b"%d" % number for number in range(2000)))
    world.run(0.01)
    del world.clients[client.id]
    world.run(SILENT_S + 5.0)
    assert kept_of_clients(world) == {}
    world.clients[client.id] = client
    world._settle(client)
    assert world.run(30.0, lambda: client.caller.is_idle)
    check_ended(client, [])


def test_work_from_a_client_that_the_node_has_forgotten_is_not_kept_for_ever() -> None:
    """It did not hear that its credit is void, hands out a call for it, and dies."""
    world = World(4, 0.0)
    world.join("safe 1")
    world.run(1.0)
    client = world.client("client")
    world.call(client, SHORT, b"first")
    assert world.run(5.0, lambda: client.caller.is_idle)
    del world.clients[client.id]
    world.run(SILENT_S + 5.0)
    before = world.begun_count
    world.clients[client.id] = client
    world.call(client, SHORT, b"second")
    assert world.run(1.0, lambda: world.begun_count > before)
    del world.clients[client.id]
    world.run(SILENT_S + 10.0)
    assert kept_of_clients(world) == {}


def test_two_clients_share_a_node_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(1, 0.0)
    monkeypatch.setattr(world.rng, "choice", lambda _: 0.01)
    world.join("safe 1")
    world.run(1.0)
    clients = [world.client("client 1"), world.client("client 2")]
    for client in clients:
        world.call(client, SHORT, *(b"%d" % number for number in range(400)))
    for _ in range(10):
        world.run(0.15)
        first, second = (len(client.results) for client in clients)
        assert abs(first - second) < 20, (first, second)

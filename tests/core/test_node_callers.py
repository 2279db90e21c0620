"""What a node does when a client may be gone."""

from meshflow.core.attempts import Attempt
from meshflow.core.effects import Kill
from meshflow.core.messages import Demand, Holding, Job, Offer, ReportsAck, Work
from meshflow.ids import NodeId, calls_of
from tests.core.noding import Noding

CLIENT = NodeId("c000000000000001")
ATTEMPT = Attempt(calls_of(CLIENT), 1, 1, 1)


def calling() -> Noding:
    """A node that runs a call of a client."""
    noding = Noding()
    noding.handle(CLIENT, Offer({"task": 1}, is_caller=True))
    call = Job(ATTEMPT, "f", "", "task", "", (), None, door="door")
    noding.handle(CLIENT, Work((call,), {}, 0))
    assert len(noding.starts) == 1
    noding.pop_sent(CLIENT)
    return noding


def kills(noding: Noding) -> list[Kill]:
    return [effect for effect in noding.others if isinstance(effect, Kill)]


def test_clients_are_told_what_is_held_of_them_when_somebody_left_and_one_that_answers_keeps_its_calls() -> None:
    noding = calling()
    noding.node.somebody_left(0.1)
    noding.do(noding.node.flush(0.1))
    (told,) = [message for message in noding.pop_sent(CLIENT) if isinstance(message, Holding)]
    assert told.attempts == (ATTEMPT,)
    noding.node.unreached(CLIENT)
    noding.handle(CLIENT, ReportsAck(ATTEMPT.run, 1), 0.4)
    for tick in range(5, 30):
        noding.do(noding.node.flush(tick / 10))
    assert kills(noding) == []


def test_the_calls_of_a_client_that_is_not_connected_any_more_are_ended() -> None:
    noding = calling()
    noding.node.somebody_left(0.1)
    now = 0.1
    while not kills(noding):
        noding.do(noding.node.flush(now))
        noding.node.unreached(CLIENT)
        now = noding.node.deadline()
        assert now < 2.0
    assert [kill.attempt for kill in kills(noding)] == [ATTEMPT]
    assert noding.pop_sent(CLIENT)[-1] == Demand(0, 0)

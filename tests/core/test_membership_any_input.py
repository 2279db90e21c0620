"""Whatever peers send, in whatever order: a node lives on, within its bounds."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from meshflow.core.effects import Send
from meshflow.core.member import Status
from meshflow.core.messages import (
    Gossip,
    MembershipMessage,
    News,
    Probe,
    ProbeAck,
    ProbeNack,
    ProbeRequest,
    Sync,
    Verdict,
)
from meshflow.core.view import DIGEST_PARTS, MAX_INCARNATION
from meshflow.ids import NodeId
from tests.core.membership_builders import ANN, BOB, CAT, DAN, EVE, ME, machine, member

nodes = st.sampled_from([ME, ANN, BOB, CAT, DAN, EVE])
incarnations = st.integers(-1, 6) | st.sampled_from([MAX_INCARNATION - 1, MAX_INCARNATION, 2**62, -(2**62)])
records = st.builds(
    lambda node, incarnation, status, address: replace(
        member(node), incarnation=incarnation, status=status, address=address
    ),
    nodes,
    incarnations,
    st.sampled_from(Status),
    st.sampled_from(["", "sim://me", "sim://ann", "sim://bob", "x" * 5000]),
)
accusers = st.lists(nodes, max_size=40).map(tuple)
verdicts = st.builds(Verdict, nodes, incarnations, st.sampled_from(Status), accusers, accusers)
news = st.builds(News, st.lists(records, max_size=4).map(tuple), st.lists(verdicts, max_size=4).map(tuple))
seqs = st.integers(-1, 12)
digests = st.lists(st.integers(0, 2**61), max_size=2).map(tuple) | st.just((0,) * DIGEST_PARTS)
messages: st.SearchStrategy[MembershipMessage] = st.one_of(
    st.builds(Probe, seqs, news),
    st.builds(ProbeAck, seqs, news),
    st.builds(ProbeRequest, seqs, nodes, st.floats(-1e300, 1e300), news),
    st.builds(ProbeNack, seqs, st.booleans()),
    st.builds(Gossip, news),
    st.builds(Sync, st.integers(0, 4), st.lists(records, max_size=6).map(tuple), digests),
)
steps = st.lists(st.tuples(nodes, messages, st.floats(0.0, 20.0), st.booleans()), max_size=40)


@given(steps)
def test_nothing_that_peers_send_can_break_a_node(steps: list[tuple[NodeId, MembershipMessage, float, bool]]) -> None:
    me = machine(ANN, BOB, max_members=5, max_pending_probes=3)
    now = 0.0
    for sender, message, pause_s, is_broken in steps:
        now += pause_s
        effects = [*me.handle(sender, message, now), *me.tick(now)]
        if is_broken:
            effects += me.disconnected(sender, now)
        assert me.me.status is Status.ALIVE
        assert 0 <= me.me.incarnation <= MAX_INCARNATION
        assert me.alive() == [each for each in me.members.values() if each.status <= Status.SUSPECT]
        assert len(me.members) <= 5
        assert len(effects) < 100
        assert me.deadline() > now
        sends = [effect for effect in effects if isinstance(effect, Send)]
        assert all(effect.to != ME for effect in sends)

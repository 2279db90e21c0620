"""About how many bytes membership messages take on the wire, without encoding them: encoding would take longer than all
the rest of a simulation. `tests/sim/test_membership_sim.py` compares with the real encoding.
"""

from meshflow.core.member import Member
from meshflow.core.messages import Gossip, MembershipMessage, News, Probe, ProbeAck, ProbeRequest, Sync
from meshflow.core.view import record_length

_FRAME_BYTES = 40
"""Estimate: header of the message, routing frames, ZMTP framing. TCP and IP come on top, once for many messages."""
_RECORD_BYTES = 14
"""Estimate: what a record takes beside its texts."""
_VERDICT_BYTES = 23
_ID_BYTES = 17
_DIGEST_BYTES = 9


def message_bytes(message: MembershipMessage) -> int:
    """About how many bytes a message takes on the wire."""
    match message:
        case Probe(news=news) | ProbeAck(news=news) | Gossip(news=news):
            return _FRAME_BYTES + _news_bytes(news)
        case ProbeRequest(news=news):
            return _FRAME_BYTES + _ID_BYTES + _news_bytes(news)
        case Sync(members=members, digests=digests):
            return _FRAME_BYTES + sum(map(_record_bytes, members)) + _DIGEST_BYTES * len(digests)
        case _:
            return _FRAME_BYTES


def _news_bytes(news: News) -> int:
    accusers = sum(len(verdict.accusers) + len(verdict.cut_off) for verdict in news.verdicts)
    verdicts = _VERDICT_BYTES * len(news.verdicts) + _ID_BYTES * accusers
    return verdicts + sum(map(_record_bytes, news.members))


def _record_bytes(record: Member) -> int:
    return _RECORD_BYTES + record_length(record)

"""Probes that wait."""

import math

from meshflow.core.probing import PendingProbe, Probes
from tests.core.builders import ANN, BOB, ME
from tests.core.membership_builders import CAT


def opened(probes: Probes, *, asks_after_s: float = 0.5, is_hint: bool = False) -> PendingProbe:
    """A probe of ANN from 10 to 11."""
    probe = probes.open(ANN, 10.0, 1.0, asks_after_s=asks_after_s, is_hint=is_hint)
    assert probe is not None
    return probe


def test_others_are_asked_when_the_target_is_late_and_then_the_end_is_waited_for() -> None:
    probes = Probes(9)
    probe = opened(probes)
    assert (probes.next_at(), probe.has_asked) == (10.5, False)
    assert probes.due(10.5) == [probe]
    assert probes.ask(probe, [BOB, CAT], 10.5) == 0.5
    assert (probes.next_at(), probe.has_asked) == (11.0, True)
    assert probes.due(11.0) == [probe]


def test_helpers_have_their_time_however_late_they_are_asked() -> None:
    probes = Probes(9)
    probe = opened(probes)
    probes.due(15.0)
    assert probes.ask(probe, [BOB], 15.0) == 0.5
    assert probes.next_at() == 15.5


def test_a_probe_on_a_hint_asks_at_once() -> None:
    probes = Probes(9)
    probe = opened(probes, asks_after_s=math.inf, is_hint=True)
    assert probes.is_hint_pending(ANN)
    assert not probes.is_hint_pending(BOB)
    assert probes.ask(probe, [BOB], 10.0) == 1.0
    probes.close(probe)
    assert not probes.is_hint_pending(ANN)


def test_an_answer_counts_from_the_target_and_from_those_who_were_asked() -> None:
    probes = Probes(9)
    for sender in (ANN, BOB):
        probe = opened(probes)
        probes.ask(probe, [BOB], 10.5)
        assert probes.acked(probe.seq, CAT) is None, "was not asked"
        assert probes.acked(probe.seq, sender) is probe
        assert probes.acked(probe.seq, sender) is None, "answers once"
    assert len(probes) == 0
    assert probes.next_at() == math.inf


def test_an_answer_to_nothing_is_ignored() -> None:
    probes = Probes(9)
    opened(probes)
    assert probes.acked(77, ANN) is None
    probes.nacked(77, ANN, False)


def test_nacks_tell_who_listens_and_who_is_cut_off() -> None:
    probes = Probes(9)
    probe = opened(probes)
    probes.ask(probe, [BOB, CAT], 10.5)
    probes.nacked(probe.seq, ME, False)
    probes.nacked(probe.seq, BOB, True)
    assert probe.nacks == {BOB: True, CAT: None}
    assert probe.has_missed_nack
    probes.nacked(probe.seq, CAT, False)
    assert not probe.has_missed_nack


def test_only_so_many_probes_wait() -> None:
    probes = Probes(1)
    probe = opened(probes)
    assert probes.open(BOB, 10.0, 1.0) is None
    probes.close(probe)
    assert probes.open(BOB, 10.0, 1.0) is not None

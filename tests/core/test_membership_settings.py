"""Settings are checked once, and the presets keep what they promise."""

import pytest

from meshflow.core.membership_settings import PRESETS, MembershipSettings
from meshflow.errors import UsageError


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"probe_interval_s": 0.0}, "probe_interval_s is 0.0; expected a finite number above 0"),
        ({"gossip_interval_s": float("inf")}, "gossip_interval_s is inf"),
        ({"sync_interval_s": float("nan")}, "sync_interval_s is nan"),
        ({"gossip_fanout": 0}, "gossip_fanout is 0; expected a whole number from 1 up"),
        ({"indirect_count": -1}, "indirect_count is -1; expected a whole number from 0 up"),
        ({"probe_timeout_s": 0.3}, "probe_timeout_s and probe_interval_s are 0.3 and 0.3"),
        ({"late_s": 0.2}, "late_s and probe_timeout_s are 0.2 and 0.15"),
        ({"join_retry_s": 60.0}, "join_retry_s and join_retry_max_s are 60.0 and 10.0"),
        ({"suspicion_max_mult": 0.5}, "suspicion_max_mult is 0.5; expected 1 or more"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_with_what_was_expected(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MembershipSettings(**wrong)  # type: ignore[arg-type]


def test_counts_of_nothing_are_allowed_where_they_make_sense() -> None:
    MembershipSettings(indirect_count=0, confirmations=0, max_health_score=0, max_tombstones=0, leave_fanout=0)


def test_the_default_is_the_preset_lan() -> None:
    assert PRESETS["lan"] == MembershipSettings()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_leaves_a_slow_node_five_probe_intervals_to_refute(name: str) -> None:
    preset = PRESETS[name]
    assert preset.suspicion_mult >= 5
    assert preset.has_lifeguard

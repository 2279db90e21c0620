"""From the duration of tasks to the number of jobs held beyond the running ones."""

import pytest

from meshflow.core.pace import Pace


def test_nothing_is_held_beyond_the_slots_before_anything_was_measured() -> None:
    assert Pace(0.01, 256).prefetch(4) == 0


@pytest.mark.parametrize(("took_s", "count"), [(0.001, 40), (0.0001, 256), (0.0, 256), (0.04, 1), (1.0, 0)])
def test_as_many_jobs_are_held_as_the_slots_do_within_the_horizon(took_s: float, count: int) -> None:
    pace = Pace(0.01, 256)
    pace.took(took_s)
    assert pace.prefetch(4) == count


def test_the_average_follows_what_tasks_take() -> None:
    pace = Pace(1.0, 1000)
    pace.took(0.1)
    pace.took(0.35)
    assert pace.prefetch(1) == 6
    for _ in range(50):
        pace.took(0.01)
    assert pace.prefetch(1) > 90


def test_one_task_that_was_held_up_says_little_about_the_next() -> None:
    pace = Pace(0.01, 256)
    pace.took(0.001)
    pace.took(60.0)
    assert pace.prefetch(1) == 6


def test_what_runs_for_longer_than_expected_counts_before_it_has_ended() -> None:
    pace = Pace(0.01, 256)
    pace.is_at_least(0.005)
    assert pace.prefetch(4) == 8
    pace.is_at_least(0.001)
    assert pace.prefetch(4) == 8
    pace.is_at_least(1.0)
    assert pace.prefetch(4) == 0


def test_what_the_process_measured_counts_where_it_is_less_and_makes_sense() -> None:
    pace = Pace(horizon_s=1.0, max_prefetch=1000)
    pace.took(0.1, 0.01)
    assert pace.jobs_in(1.0) == 100
    for nonsense_s in (-5.0, 0.0, 3.0):
        other = Pace(horizon_s=1.0, max_prefetch=1000)
        other.took(0.1, nonsense_s)
        assert other.jobs_in(1.0) == 10

"""A history comes back from its file as it was written."""

from pathlib import Path

import pytest

from meshflow.chaos.history import Applied, BrokenOff, Event, from_line, read, to_line, write
from tests.chaos.test_checker import good


def test_every_event_comes_back_equal(tmp_path: Path) -> None:
    broken_off = BrokenOff(2.0, 2, "no disk", ("a" * 24,))
    events: list[Event] = [*good(), Applied(1.0, 2, "loss", "store", ("store",)), broken_off]
    write(tmp_path / "history.jsonl", events)
    assert read(tmp_path / "history.jsonl") == events


def test_a_line_of_another_kind_is_refused() -> None:
    line = to_line(good()[0]).replace('"submit"', '"sumbit"')
    with pytest.raises(KeyError, match="sumbit"):
        from_line(line)

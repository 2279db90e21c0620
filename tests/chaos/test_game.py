"""A game that cannot go on says so, and has a history nevertheless; with real nodes: `tests/system/test_chaos.py`."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from meshflow.chaos import sandbox
from meshflow.chaos.game import HISTORY, play
from meshflow.chaos.history import BrokenOff, read
from meshflow.chaos.schedule import Fault, Victim, rounds
from meshflow.cli.chaos import chaos


def test_a_game_that_cannot_begin_has_a_history_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("in the way")
    told: list[str] = []
    history = play(tmp_path, rounds(1, [(Fault.NONE, Victim.ALL)]), in_sandbox=False, tell=told.append)
    assert told == []
    (event,) = history
    assert isinstance(event, BrokenOff)
    assert event.round == 0
    assert event.reason.startswith("the game could not begin: ")
    assert "FileExistsError" in event.reason or "NotADirectoryError" in event.reason
    assert read(tmp_path / HISTORY) == history


def test_a_game_whose_process_is_killed_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "run_here", lambda work: 247)
    done = CliRunner().invoke(chaos, ["--here", "--keep", str(tmp_path / "kept")])
    assert done.exit_code == 247
    assert "the game ended without a history, with exit code 247" in done.output

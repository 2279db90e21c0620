"""`config`, `node`, `key`, `ext`: what is set up with them."""

import json
import sys
import types
from pathlib import Path

import pytest

from meshflow.cli.ext import find_extension
from meshflow.config import Config
from meshflow.references import NotFound
from meshflow.runtime.serve import NodeOptions
from tests.cli.conftest import Run, document


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[NodeOptions]:
    """The nodes that were started."""
    found: list[NodeOptions] = []

    def serve(options: NodeOptions) -> int:
        found.append(options)
        return 0

    monkeypatch.setattr("meshflow.runtime.serve.serve", serve)
    monkeypatch.setattr("meshflow.logger.install", lambda *_: None)
    return found


# --- config ---


def test_the_settings_are_shown_with_their_origin_and_without_secrets(run: Run) -> None:
    Path("meshflow.yml").write_text("node: {slots: 3}\nstore: {url: 'mongodb://u:sesame@h/d'}\n")
    result = run("config", "show")
    rows = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert rows["node.slots"].endswith("meshflow.yml line 1")
    assert rows["mesh.name"].endswith("default")
    assert "sesame" not in result.stdout + run("config", "list").stdout + run("config", "show", "-o", "json").stdout
    content = document(run("config", "show", "-o", "json"))
    assert content["settings"]["node"]["slots"] == 3
    assert json.loads(run("config", "list").stdout)["node"]["slots"] == 3


def test_a_mistake_in_the_settings_is_named_with_its_line(run: Run) -> None:
    Path("meshflow.yml").write_text("node:\n  slotz: 3\n")
    result = run("nodes")
    assert result.exit_code == 2
    assert "meshflow.yml line 2: unknown key 'slotz' in section 'node'; did you mean 'slots'?" in result.stderr


def test_the_defaults_are_printed_or_written(run: Run) -> None:
    assert run("config", "default").stdout == Config.default()
    assert run("config", "default", ".").stdout == "Configuration written to meshflow.yml\n"
    assert Path("meshflow.yml").read_text() == Config.default()
    assert run("config", "default", "gone/here.yml").exit_code == 2


def test_nothing_is_overwritten_unasked(run: Run) -> None:
    Path("meshflow.yml").write_text("# mine")
    result = run("config", "default", ".")
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert Path("meshflow.yml").read_text() == "# mine"
    assert run("config", "default", ".", "--yes").exit_code == 0


def test_the_examples_are_copied(run: Run) -> None:
    assert run("config", "examples").stdout == "Copied examples to examples\n"
    assert Path("examples", "simple.py").is_file()
    assert not Path("examples", "__init__.py").exists()
    assert run("config", "examples").exit_code == 2
    Path("own").mkdir()
    assert run("config", "examples", "own", "-u", "-y").exit_code == 0
    assert Path("own", "simple.py").is_file()


# --- node ---


def test_options_of_node_go_before_the_settings(run: Run, served: list[NodeOptions]) -> None:
    Path("lib").mkdir()
    Path("meshflow.yml").write_text("node: {queues: [a], slots: 3}\nmesh: {join: ['lab1:1']}\nlibraries: [lib]\n")
    assert run("node").exit_code == 0
    assert run("node", "-q", "b, c", "-s", "1", "--join", "lab2:2", "--preset", "lan", "--store", "x.db").exit_code == 0
    first, second = served
    assert (first.queues, first.slots, first.join) == (("a",), 3, ("lab1:1",))
    assert (second.queues, second.slots, second.join) == (("b", "c"), 1, ("lab2:2",))
    assert (second.preset, second.store_url) == ("lan", "x.db")
    assert first.sys_path == (str(Path.cwd() / "lib"),)


def test_a_node_needs_a_queue(run: Run, served: list[NodeOptions]) -> None:
    assert run("node", "-q", " , ").exit_code == 2
    assert served == []


def test_a_logging_section_that_makes_no_sense_is_a_usage_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("meshflow.yml").write_text("logging: {handlers: {console: {class: no.such.Class}}}\n")
    result = run("node")
    assert result.exit_code == 2
    assert "'logging'" in result.stderr


# --- key ---


def test_a_key_is_shown_and_made_to_be_shared(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHFLOW_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("MESHFLOW_STATE_DIR", str(tmp_path / "state"))
    first = document(run("key", "show", "--secret", "-o", "json"))
    assert (first["is_shared"], first["key"].startswith("meshkey1_")) == (False, True)
    assert "meshkey1_" not in run("key", "show").stdout
    made = Path(run("key", "make").stdout.strip())
    assert made.stat().st_mode & 0o077 == 0
    second = document(run("key", "show", "--secret", "-o", "json"))
    assert (second["is_shared"], second["key"]) == (True, first["key"])


# --- ext ---


def test_an_extension_is_a_package_with_a_main(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "lib" / "lightflow_greet"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text("def main(args):\n    print('hello', *args)\n    return 3\n")
    Path("meshflow.yml").write_text("libraries: [lib]\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    result = run("ext", "greet", "you", "--loud")
    assert result.stdout == "hello you --loud\n"
    assert result.exit_code == 3


def test_an_extension_may_be_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    def main(args: tuple[str, ...]) -> None:
        del args

    point = types.SimpleNamespace(name="greet", value="x:main", load=lambda: main)
    monkeypatch.setattr("meshflow.cli.ext.entry_points", lambda **_: [point])
    assert find_extension("greet") is main


def test_an_extension_that_is_not_there_is_not_found(run: Run) -> None:
    assert run("ext", "no-such.thing").exit_code == 4
    with pytest.raises(NotFound, match="meshflow_nothing"):
        find_extension("nothing")

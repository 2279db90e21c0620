"""Where settings come from, and what is said when they are wrong."""

import sys
from pathlib import Path

import pytest

from meshflow.config import Config, expand_env_var, store_url, workflow_folders
from meshflow.core.retention import RetentionSettings
from meshflow.errors import ConfigFieldError, ConfigLoadError
from meshflow.settings import Settings, StoreSettings
from meshflow.workers import node_options


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a current folder of the test's own, and no variables of ours."""
    import os

    for name in os.environ:
        if name.startswith(("MESHFLOW_", "LIGHTFLOW_")):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return home


def loaded(text: str, name: str = "meshflow.yml") -> Config:
    Path(name).write_text(text)
    return Config.from_file(None)


# --- files ---


def test_no_file_is_needed() -> None:
    assert Config.from_file(None, strict=False).settings == Settings()


def test_a_strict_call_wants_a_file_and_says_where_it_looked() -> None:
    with pytest.raises(ConfigLoadError, match=r"looked for meshflow\.yml, meshflow\.cfg, lightflow\.cfg"):
        Config.from_file(None)


def test_the_default_text_says_what_the_defaults_are() -> None:
    config = loaded(Config.default())
    assert config.settings == Settings()


def test_files_are_looked_for_in_order(home: Path) -> None:
    places = [home / "lightflow.cfg", home / "meshflow.cfg", home / ".config" / "meshflow" / "meshflow.yml"]
    places += [Path("lightflow.cfg"), Path("meshflow.cfg"), Path("meshflow.yml")]
    for number, path in enumerate(places):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"node: {{slots: {number + 1}}}")
        assert Config.from_file(None).settings.node.slots == number + 1


@pytest.mark.parametrize("variable", ["MESHFLOW_CONFIG", "LIGHTFLOW_CONFIG"])
def test_a_variable_names_the_file_and_must_be_right(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.yml").write_text("node: {slots: 3}")
    monkeypatch.setenv("WHERE", "mine.yml")
    monkeypatch.setenv(variable, "$WHERE")
    assert Config.from_file(None).settings.node.slots == 3
    monkeypatch.setenv(variable, "gone.yml")
    with pytest.raises(ConfigLoadError, match=f"{variable} names 'gone.yml'"):
        Config.from_file(None, strict=False)


def test_a_named_file_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ConfigLoadError, match=r"'gone\.yml' cannot be read"):
        Config.from_file("gone.yml")


def test_paths_begin_at_the_folder_of_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    (folder / "flows").mkdir(parents=True)
    (folder / "lib").mkdir()
    path = folder / "meshflow.yml"
    path.write_text("workflows: [flows]\nlibraries: [lib]\nmesh: {key_file: mesh.key}\nstore: {url: ./runs.sqlite}")
    config = Config.from_file(str(path))
    assert config.settings.workflows == (str(folder / "flows"),)
    assert config.libraries == [str(folder / "lib")]
    assert config.settings.mesh.key_file == str(folder / "mesh.key")
    assert config.settings.store.url == str(folder / "runs.sqlite")
    assert sys.path[-2:] == [str(folder / "flows"), str(folder / "lib")]


def test_an_old_lightflow_file_is_read_and_what_means_nothing_is_named() -> None:
    Path("examples").mkdir()
    text = """
workflows: [./examples]
celery: {broker_url: 'redis://localhost:6379/0', worker_concurrency: 8}
signal: {host: localhost, port: 6379, password: null}
store: {host: localhost, port: 27017, database: lightflow, username: null, auth_mechanism: null}
graph: {workflow_polling_time: 0.5, dag_polling_time: 0.5}
cli: {time_format: '%H:%M'}
"""
    config = loaded(text, "lightflow.cfg")
    assert config.ignored_sections == ("celery", "signal", "graph")
    assert config.celery["worker_concurrency"] == 8
    assert config.signal["host"] == "localhost"
    assert config.cli["time_format"] == "%H:%M"
    assert config.data_store["database"] == "lightflow"
    assert config.workflow_polling_time == config.dag_polling_time == 0.5
    assert store_url(config.settings.store) == "mongodb://localhost:27017/lightflow"


# --- mistakes ---


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("node:\n  slots: 2\n  qeues: [task]", "line 3: unknown key 'qeues' in section 'node'; did you mean 'queues'?"),
        ("wrkflows: []", "line 1: unknown key 'wrkflows' at the top level; did you mean 'workflows'?"),
        ("zzz: 1", "line 1: unknown key 'zzz' at the top level; known keys are workflows, libraries"),
        ("node: 3", "line 1: 'node' is a section; got 3"),
        ("extensions: 3", "line 1: 'extensions' is a section; got 3"),
        ("\nnode: {slots: many}", "line 2: 'node.slots' is 'many'; expected a whole number from 0 on"),
        ("node: {slots: true}", "'node.slots' is True; expected a whole number"),
        ("node: {queues: []}", "'node.queues' is empty"),
        ("node: {queues: [1]}", r"'node.queues' is \[1\]; expected a list of texts"),
        ("mesh: {timeout_s: 0}", "'mesh.timeout_s' is 0; expected a number above 0"),
        ("mesh: {timeout_s: .inf}", "'mesh.timeout_s' is inf; expected a number above 0"),
        ("mesh: {name: 3}", "'mesh.name' is 3; expected text"),
        ("mesh: {preset: moon}", "'mesh.preset' is 'moon'; expected one of local, lan, wan"),
        ("workflows: [nowhere]", "line 1: 'workflows' lists .*nowhere', which is not a folder"),
        ("store: {url: 'mongodb://h', host: h}", "'store.url' excludes 'store.host'"),
        ("node: {slots: 1}\nnode: {slots: 2}", "line 2: 'node' was set on line 1 already"),
        ("node:\n  slots: 1\n  slots: 2", "line 3: 'node.slots' was set on line 2 already"),
        ("node: [1", "line 1: not valid YAML"),
        ("- just\n- a list", "expected `key: value` lines, got list"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigLoadError, match=message):
        loaded(text)


def test_an_empty_file_means_the_defaults() -> None:
    assert loaded("# nothing\n").settings == Settings()


def test_a_key_without_a_value_keeps_its_default() -> None:
    assert loaded("node:\n  slots:\nmesh:\n").settings == Settings()


# --- variables ---


def test_variables_go_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHFLOW_NODE__SLOTS", "4")
    monkeypatch.setenv("MESHFLOW_NODE__QUEUES", "task, gpu")
    monkeypatch.setenv("MESHFLOW_MESH__TIMEOUT_S", "1.5")
    monkeypatch.setenv("MESHFLOW_CONNECT", "lab1:4000")
    monkeypatch.setenv("MESHFLOW_KEY_FILE", "~/k")
    config = loaded("node: {slots: 2, name: n}\nmesh: {connect: elsewhere:1}")
    assert (config.settings.node.slots, config.settings.node.queues) == (4, ("task", "gpu"))
    assert config.settings.node.name == "n"
    assert config.settings.mesh.connect == "lab1:4000"
    assert config.settings.mesh.timeout_s == 1.5
    assert config.settings.mesh.key_file.endswith("/home/k")
    assert config.origins["node.slots"] == "environment variable MESHFLOW_NODE__SLOTS"
    assert config.origins["node.name"].endswith("meshflow.yml line 1")


def test_a_store_from_a_variable_replaces_the_one_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHFLOW_STORE__URL", "mongodb://lab9/runs")
    assert store_url(loaded("store: {host: localhost, database: x}").settings.store) == "mongodb://lab9/runs"


def test_a_variable_with_a_mistake_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHFLOW_NODE__SLOTZ", "4")
    with pytest.raises(ConfigLoadError, match=r"variable MESHFLOW_NODE__SLOTZ: unknown key 'slotz'.*'slots'"):
        Config.from_file(None, strict=False)


def test_a_number_in_a_variable_must_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHFLOW_NODE__SLOTS", "-1")
    with pytest.raises(ConfigLoadError, match=r"'node\.slots' is '-1'"):
        Config.from_file(None, strict=False)


def test_settings_of_extensions_can_be_given_by_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHFLOW_EXTENSIONS__REST__PORT", "8080")
    assert loaded("extensions: {rest: {host: h}}").extensions == {"rest": {"host": "h", "port": "8080"}}


def test_variables_of_other_parts_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHFLOW_RUNTIME_DIR", "/x")
    assert Config.from_file(None, strict=False).settings == Settings()


# --- Lightflow's class ---


def test_a_dictionary_can_be_loaded_and_forgotten() -> None:
    config = Config()
    config.load_from_dict({"node": {"slots": 5}, "extensions": {"rest": {"port": 1}}})
    assert config.settings.node.slots == 5
    assert config.extensions == {"rest": {"port": 1}}
    assert config.to_dict()["node"]["slots"] == 5
    config.set_to_default()
    assert config.settings == Settings()


def test_a_polling_time_that_is_no_number_is_refused_when_asked_for() -> None:
    config = loaded("graph: {dag_polling_time: soon}")
    assert config.workflow_polling_time == 0.0
    with pytest.raises(ConfigFieldError, match=r"'graph\.dag_polling_time' is 'soon'"):
        _ = config.dag_polling_time


def test_workflow_folders_are_those_of_the_current_folder_and_the_examples_come_last() -> None:
    Path("workflows").mkdir()
    folders = workflow_folders(Settings())
    assert folders[:2] == [Path.cwd() / "workflows", Path.cwd()]
    assert (folders[-1] / "simple.py").is_file()


# --- secrets and stores ---


def test_what_is_shown_has_no_secrets() -> None:
    config = loaded(
        "store: {url: 'mongodb://user:sesame@lab9/runs'}\n"
        "celery: {broker_url: 'redis://:sesame@h'}\n"
        "signal: {password: sesame}\n"
        "extensions: {rest: {api_token: sesame, users: [{password: sesame}]}}\n"
    )
    shown = str(config.shown())
    assert "sesame" not in shown
    assert "mongodb://user:***@lab9/runs" in shown


@pytest.mark.parametrize(
    ("store", "url"),
    [
        (StoreSettings(), ""),
        (StoreSettings(url="mongodb://h/d"), "mongodb://h/d"),
        (StoreSettings(url="mongodb://u@h1,h2/d", password="a b@"), "mongodb://u:a%20b%40@h1,h2/d"),
        (StoreSettings(url="mongodb://u:p@h/d", password="other"), "mongodb://u:p@h/d"),
        (StoreSettings(host="h"), "mongodb://h:27017/lightflow"),
        (StoreSettings(database="d", port=1), "mongodb://localhost:1/d"),
        (
            StoreSettings(host="h", username="u/", password="p", auth_source="admin", connect_timeout=3000),
            "mongodb://u%2F:p@h:27017/lightflow?authSource=admin&serverSelectionTimeoutMS=3000",
        ),
    ],
)
def test_one_url_says_which_store(store: StoreSettings, url: str) -> None:
    assert store_url(store) == url


def test_the_password_may_stand_in_a_file_of_its_own() -> None:
    Path("secret").write_text("sesame\n")
    config = loaded("store: {url: 'mongodb://u@h/d', password_file: secret}")
    assert store_url(config.settings.store) == "mongodb://u:sesame@h/d"
    assert "sesame" not in str(config.shown())
    Path("secret").unlink()
    with pytest.raises(ConfigLoadError, match=r"'store\.password_file' cannot be read"):
        store_url(config.settings.store)


def test_variables_in_paths_are_expanded_also_within_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A", "$B/a")
    monkeypatch.setenv("B", "~/b")
    assert expand_env_var("$A").endswith("/home/b/a")
    monkeypatch.setenv("LOOP", "x$LOOP")
    assert expand_env_var("$LOOP").startswith("xx")


# --- retention ---


def test_nothing_is_removed_unless_somebody_says_so() -> None:
    assert node_options(Config()).retention == RetentionSettings(None, None, None)


def test_ages_have_units_and_reach_the_node() -> None:
    config = loaded("retention: {runs: 30d, output: 1.5h, keep: 10}")
    assert node_options(config).retention == RetentionSettings(30 * 86400.0, 5400.0, 10)
    assert config.to_dict()["retention"] == {"runs": "30d", "output": "1.5h", "keep": 10}


def test_an_age_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHFLOW_RETENTION__RUNS", "2w")
    assert node_options(Config.from_file(None, strict=False)).retention.runs_s == 14 * 86400.0


@pytest.mark.parametrize("age", ["30", "'30'", "soon", "-3d", "3 months", "d", "3dd", "true", "[3d]", "nans"])
def test_what_is_no_age_is_refused_with_its_line(age: str) -> None:
    """A number without a unit above all: days are not seconds, and what is removed is gone."""
    with pytest.raises(ConfigLoadError, match=r"line 2.*'retention\.runs' is .*30d, 12h"):
        loaded(f"retention:\n  runs: {age}\n")


# --- limits ---


def test_limits_are_read_and_their_borders_are_told() -> None:
    limits = loaded("limits: {max_connections: 100, max_value_bytes: 65536}").settings.limits
    assert (limits.max_connections, limits.max_value_bytes) == (100, 65536)
    for line, border in (
        ("max_message_bytes: 1000", "'limits.max_message_bytes' is 1000; expected at least 67108864"),
        ("max_value_bytes: 536870913", "'limits.max_value_bytes' is 536870913; expected at most 536870912"),
        ("max_connections: 15", "'limits.max_connections' is 15; expected at least 16"),
        ("max_queued_messages: 0", "'limits.max_queued_messages' is 0; expected at least 1000"),
        ("max_output_bytes: -1", "'limits.max_output_bytes' is -1; expected a whole number"),
        ("max_output: 1", "unknown key 'max_output' in section 'limits'; did you mean 'max_output_bytes'"),
    ):
        with pytest.raises(ConfigLoadError, match=f"meshflow.yml line 3: {border}"):
            loaded(f"node: {{slots: 1}}\nlimits:\n  {line}\n")


def test_the_limits_of_a_node_are_those_of_its_settings() -> None:
    from meshflow.runtime.fleet import ExecutorSettings
    from meshflow.runtime.transport.settings import TransportSettings
    from meshflow.workers import node_options

    options = node_options(Config())
    assert options.transport == TransportSettings()
    assert options.executor == ExecutorSettings()
    config = loaded("limits: {max_connections: 17, max_queued_messages: 1001, max_output_bytes: 5}")
    options = node_options(config)
    assert (options.transport.max_connections, options.transport.max_queued_messages) == (17, 1001)
    assert options.executor.max_output_bytes == 5


# --- what is not YAML, and what is not shown ---


@pytest.mark.parametrize(
    "text", ["a: \x05", "a: 2026-99-99", "a: !!timestamp x", "a: !!int ''", "? [a]\n: 1", "[" * 5000]
)
def test_what_yaml_cannot_read_is_one_sentence(text: str) -> None:
    with pytest.raises(ConfigLoadError, match=r"meshflow\.yml"):
        loaded(text)


def chain(first: str, link: str) -> str:
    """Ten values, each of which names the one before nine times."""
    links = [link.replace("*", ",".join([f"*a{number - 1}"] * 9)) for number in range(1, 10)]
    values = [first, *links]
    return "extensions:\n" + "".join(f"  a{number}: &a{number} {value}\n" for number, value in enumerate(values))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (chain("[x]", "[*]"), "with all its aliases; expected 100000 at most"),
        (chain("{k: 1}", "{<<: [*]}"), "with all its aliases; expected 100000 at most"),
        ("extensions: &e\n  a: *e", "holds an alias of itself"),
    ],
)
def test_aliases_that_mean_billions_of_values_are_refused_at_once(text: str, problem: str) -> None:
    with pytest.raises(ConfigLoadError, match=problem):
        loaded(text)


def test_an_alias_of_something_sensible_is_fine() -> None:
    config = loaded("extensions:\n  a: &a {x: 1}\n  b: *a\n  c: {<<: *a, y: 2}")
    assert config.extensions == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mongodb://u:pw@h:1/d?a=b", "mongodb://u:***@h:1/d?a=b"),
        ("mongodb://u:p@w?x@h/d", "mongodb://u:***@h/d"),
        (
            "mongodb://u@h/d?tlsCertificateKeyFilePassword=pw&a=b",
            "mongodb://u@h/d?tlsCertificateKeyFilePassword=***&a=b",
        ),
        ("mongodb://h/d?authMechanismProperties=AWS_SESSION_TOKEN:pw", "mongodb://h/d?authMechanismProperties=***"),
        ("mongodb://u:pw/d", "mongodb://u:***/d"),
        ("mongodb://h:27017,[::1]:2/d", "mongodb://h:27017,[::1]:2/d"),
    ],
)
def test_secrets_of_a_url_are_not_shown(url: str, shown: str) -> None:
    config = Config()
    config.load_from_dict({"store": {"url": url}})
    assert config.shown()["store"]["url"] == shown

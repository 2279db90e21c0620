"""Where settings come from: one YAML file, environment variables, and the defaults. The only user of YAML.

The file is the first that exists of: the one that was named, `$MESHFLOW_CONFIG` or `$LIGHTFLOW_CONFIG`; `meshflow.yml`,
`meshflow.cfg` and `lightflow.cfg` in the current folder; `meshflow/meshflow.yml` in the user's configuration folder;
`meshflow.cfg` and `lightflow.cfg` in the home folder. None is needed. Relative paths in a file begin at its folder.
Variables go before the file: `MESHFLOW_STORE__URL` sets `store.url`. Options of the command line go before both.

`Config` is Lightflow's class around it; what is new reads `Config.settings`.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from meshflow.aliases import check_size
from meshflow.errors import ConfigFieldError, ConfigLoadError
from meshflow.redaction import redact
from meshflow.settings import LEGACY_SECTIONS, SECTIONS, Given, Key, Settings, StoreSettings, build, expand_env_var

__all__ = [
    "LIGHTFLOW_CONFIG_ENV",
    "LIGHTFLOW_CONFIG_NAME",
    "MESHFLOW_CONFIG_ENV",
    "MESHFLOW_CONFIG_NAME",
    "Config",
    "expand_env_var",
    "store_url",
    "workflow_folders",
]

MESHFLOW_CONFIG_ENV = "MESHFLOW_CONFIG"
MESHFLOW_CONFIG_NAME = "meshflow.yml"
LIGHTFLOW_CONFIG_ENV = "LIGHTFLOW_CONFIG"
LIGHTFLOW_CONFIG_NAME = "lightflow.cfg"

_PREFIX = "MESHFLOW_"
_SHORT_VARIABLES: dict[str, Key] = {
    "MESHFLOW_CONNECT": ("mesh", "connect"),
    "MESHFLOW_KEY_FILE": ("mesh", "key_file"),
    "MESHFLOW_WORKFLOWS": ("workflows",),
    "MESHFLOW_LIBRARIES": ("libraries",),
}
"""Other variables without `__` may mean something to other parts, and are left alone."""

EXAMPLES = Path(__file__).parent / "examples"
"""The workflows that come with MeshFlow."""

DEFAULT_TEXT = """\
# Settings of MeshFlow. All are optional; these are the defaults. Relative paths begin at the folder of this file.

# Folders with workflow scripts, and with modules that they import.
# Without `workflows`, ./workflows, ./examples and . are searched; the examples of MeshFlow always come last.
# workflows: [./workflows]
libraries: []

node:
  queues: [workflow, dag, task]
  slots: 0                  # tasks that may run at once; 0: one per processor core
  name: ''                  # empty: made from the host name

mesh:
  name: default             # nodes of one host find each other under this name
  join: []                  # host:port of nodes on other hosts
  connect: ''               # host:port of the node that clients use; empty: one of this host
  bind: ''                  # host or host:port to listen on; empty: loopback only
  advertise: ''             # host name or address under which others reach this node
  key_file: ''              # empty: the key of this host's mesh, made on first start
  preset: local             # local, lan or wan: how soon a silent node is taken for dead
  timeout_s: 5.0            # seconds a client waits for a node to answer

store:
  url: ''                   # mongodb://user@host/database; empty: the embedded store
  password_file: ''         # file with the password of that user

retention:                  # removes for good; without it everything is kept. See also: meshflow gc
  runs: ''                  # 30d: runs that ended longer ago are removed (s, m, h, d, w)
  output: ''                # 7d: what the tasks of runs printed goes earlier than the runs
  keep: 0                   # the newest so many runs of each workflow are kept, however old

limits:
  max_message_bytes: 67108864     # 64 MiB; the same on all nodes and clients
  max_queued_messages: 10000      # that wait for one peer
  max_connections: 4096           # that a node takes in at a time
  max_value_bytes: 536870912      # 512 MiB; what a task hands on, pickled
  max_output_bytes: 10485760      # 10 MiB; what is kept of what one attempt prints

cli:
  time_format: '%d/%m/%Y %H:%M:%S'

extensions: {}
logging: {}                 # logging.config.dictConfig form; empty: level INFO on the terminal
"""


class Config:
    """The configuration, with Lightflow's members. A new one holds the defaults.

    Loading appends the workflow and library folders that were given to `sys.path`, as Lightflow does, so that workflow
    scripts find the modules they import.
    """

    def __init__(self) -> None:
        self._set({}, None)

    @classmethod
    def from_file(cls, filename: str | None, *, strict: bool = True) -> "Config":
        """A configuration loaded from a file; see `load_from_file`."""
        config = cls()
        config.load_from_file(filename, strict=strict)
        return config

    @staticmethod
    def default() -> str:
        """The defaults as YAML text, with a comment on each."""
        return DEFAULT_TEXT

    def load_from_file(self, filename: str | None = None, *, strict: bool = True) -> None:
        """Read `filename`, or the first file of the search order. Without `strict`, no file at all means the defaults.

        Raises:
            ConfigLoadError: no file was found, or it cannot be read, or something in it is wrong; the text names the
                line.
        """
        path = Path(expand_env_var(filename)) if filename is not None else find_file()
        if path is None and strict:
            raise ConfigLoadError(f"no configuration file was found; looked for {', '.join(map(str, _candidates()))}")
        given = dict(_read_file(path)) if path is not None else {}
        variables = dict(_read_environment(os.environ))
        if ("store", "url") in variables:
            given = {key: what for key, what in given.items() if key[0] != "store"}
        self._set({**given, **variables}, path)
        self._extend_module_path()

    def load_from_dict(self, conf_dict: Mapping[str, Any] | None = None) -> None:
        """Take the settings from a dictionary of the form that the file has; None means the defaults.

        Raises:
            ConfigLoadError: something in it is wrong.
        """
        self._set(dict(_flatten(conf_dict or {}, lambda key: "the given dictionary", Path.cwd())), None)
        self._extend_module_path()

    def set_to_default(self) -> None:
        """Go back to the defaults."""
        self._set({}, None)

    def _set(self, given: Mapping[Key, Given], path: Path | None) -> None:
        self.settings: Settings = build(given)
        """The whole tree, checked."""
        self.path = path
        """The file that was read; None: there was none."""
        self.origins = {".".join(key): what.origin for key, what in given.items()}
        """`{dotted key: where its value comes from}`, for values that are not defaults."""
        self._legacy = {key[0]: what.value for key, what in given.items() if key[0] in LEGACY_SECTIONS}

    def _extend_module_path(self) -> None:
        for folder in (*self.settings.workflows, *self.settings.libraries):
            if folder not in sys.path:
                sys.path.append(folder)

    @property
    def ignored_sections(self) -> tuple[str, ...]:
        """Lightflow's sections in the file that have no effect here."""
        return tuple(self._legacy)

    def to_dict(self) -> dict[str, Any]:
        """The settings as nested dictionaries, secrets included."""
        settings = self.settings
        sections = {name: _fields_of(getattr(settings, name)) for name in SECTIONS}
        return {
            "workflows": self.workflows,
            "libraries": self.libraries,
            **sections,
            "extensions": dict(settings.extensions),
            "logging": dict(settings.logging),
            **self._legacy,
        }

    def shown(self) -> dict[str, Any]:
        """`to_dict` with every secret replaced by `***`."""
        shown: dict[str, Any] = redact(self.to_dict())
        return shown

    @property
    def workflows(self) -> list[str]:
        """The folders that are searched for workflow scripts, but for the examples of the package."""
        return [str(folder) for folder in workflow_folders(self.settings) if folder != EXAMPLES]

    @property
    def libraries(self) -> list[str]:
        """Folders with modules that workflow scripts import."""
        return list(self.settings.libraries)

    @property
    def data_store(self) -> dict[str, Any]:
        """Section `store`."""
        return _fields_of(self.settings.store)

    @property
    def cli(self) -> dict[str, Any]:
        """Section `cli`."""
        return _fields_of(self.settings.cli)

    @property
    def logging(self) -> dict[str, Any]:
        """Section `logging`."""
        return dict(self.settings.logging)

    @property
    def extensions(self) -> dict[str, Any]:
        """Section `extensions`, with the settings of each extension under its name."""
        return dict(self.settings.extensions)

    @property
    def celery(self) -> dict[str, Any]:
        """Section `celery` of the file. It is accepted and has no effect: there is no Celery."""
        return self._legacy_section("celery")

    @property
    def signal(self) -> dict[str, Any]:
        """Section `signal` of the file. It is accepted and has no effect: signals need no server."""
        return self._legacy_section("signal")

    @property
    def workflow_polling_time(self) -> float:
        """What the file says under `graph`, else 0; it has no effect: nothing polls.

        Raises:
            ConfigFieldError: it is not a number.
        """
        return self._polling_time("workflow_polling_time")

    @property
    def dag_polling_time(self) -> float:
        """What the file says under `graph`, else 0; it has no effect: nothing polls.

        Raises:
            ConfigFieldError: it is not a number.
        """
        return self._polling_time("dag_polling_time")

    def _legacy_section(self, name: str) -> dict[str, Any]:
        section = self._legacy.get(name)
        return dict(section) if isinstance(section, dict) else {}

    def _polling_time(self, name: str) -> float:
        value = self._legacy_section("graph").get(name, 0.0)
        if not isinstance(value, (int, float)):
            raise ConfigFieldError(f"'graph.{name}' is {value!r}; expected a number of seconds")
        return float(value)


def workflow_folders(settings: Settings) -> list[Path]:
    """Where workflow scripts are looked for, in order: the folders of the settings, or those of the current folder that
    exist; then always the examples that come with MeshFlow."""
    if settings.workflows:
        folders = [Path(folder) for folder in settings.workflows]
    else:
        here = Path.cwd()
        folders = [folder for folder in (here / "workflows", here / "examples", here) if folder.is_dir()]
    return [*folders, EXAMPLES]


def store_url(store: StoreSettings) -> str:
    """The one URL that says which store: from `url`, or from Lightflow's fields; empty means the embedded store.

    Raises:
        ConfigLoadError: the password file cannot be read.
    """
    password = store.password
    if store.password_file:
        try:
            password = Path(store.password_file).read_text(encoding="utf-8").strip()
        except OSError as problem:
            raise ConfigLoadError(f"'store.password_file' cannot be read: {problem}") from problem
    if store.url:
        return _with_password(store.url, password)
    if not (store.host or store.database):
        return ""
    user = quote(store.username, safe="") + (":" + quote(password, safe="") if password else "")
    options = {
        "authSource": store.auth_source if store.username else "",
        "authMechanism": store.auth_mechanism,
        "serverSelectionTimeoutMS": str(store.connect_timeout or ""),
    }
    query = urlencode({key: value for key, value in options.items() if value})
    place = f"{store.host or 'localhost'}:{store.port or 27017}/{store.database or 'lightflow'}"
    return f"mongodb://{user + '@' if store.username else ''}{place}{'?' + query if query else ''}"


def _with_password(url: str, password: str) -> str:
    scheme, separator, rest = url.partition("://")
    user, at, place = rest.partition("@")
    if not (password and at and ":" not in user):
        return url
    return f"{scheme}{separator}{user}:{quote(password, safe='')}@{place}"


def find_file() -> Path | None:
    """The configuration file that is used if none is named; None if there is none.

    Raises:
        ConfigLoadError: a variable names a file that does not exist.
    """
    for variable in (MESHFLOW_CONFIG_ENV, LIGHTFLOW_CONFIG_ENV):
        if os.environ.get(variable):
            path = Path(expand_env_var(os.environ[variable]))
            if not path.is_file():
                raise ConfigLoadError(f"environment variable {variable} names {str(path)!r}, which is not a file")
            return path
    return next((path for path in _candidates() if path.is_file()), None)


def _candidates() -> list[Path]:
    """The places where a file is looked for, in order."""
    home = Path.home()
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    names = (MESHFLOW_CONFIG_NAME, "meshflow.cfg", LIGHTFLOW_CONFIG_NAME)
    return [*map(Path, names), folder / "meshflow" / MESHFLOW_CONFIG_NAME, home / names[1], home / names[2]]


def _read_file(path: Path) -> Iterator[tuple[Key, Given]]:
    import yaml  # it costs 30 ms, and most users have no file

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigLoadError(f"configuration file {str(path)!r} cannot be read: {problem}") from problem
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        lines: dict[Key, int] = {}
        _note_lines(node, (), lines, path)
        if node is not None:
            check_size(node)
        content = loader.construct_document(node) if node is not None else {}
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark
        line = f" line {mark.line + 1}" if mark is not None else ""
        raise ConfigLoadError(f"{path}{line}: not valid YAML: {problem.problem}") from problem
    # Beside its own errors, YAML lets through what the makers of values raise, for example for the date 2026-99-99.
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as problem:
        raise ConfigLoadError(f"{path}: not valid YAML: {type(problem).__name__}: {problem}") from problem
    if not isinstance(content, dict):
        raise ConfigLoadError(f"{path}: expected `key: value` lines, got {type(content).__name__}")
    yield from _flatten(content, lambda key: f"{path} line {lines.get(key, 1)}", path.resolve().parent)


def _note_lines(node: Any, key: Key, lines: dict[Key, int], path: Path) -> None:
    """Note on which line each key of the first two levels stands; a key that stands there twice is an error."""
    import yaml

    if not isinstance(node, yaml.MappingNode) or len(key) > 1:
        return
    for word, below in node.value:
        place = (*key, str(word.value))
        line = word.start_mark.line + 1
        if place in lines:
            raise ConfigLoadError(f"{path} line {line}: {'.'.join(place)!r} was set on line {lines[place]} already")
        lines[place] = line
        _note_lines(below, place, lines, path)


def _flatten(content: Mapping[Any, Any], origin: Any, folder: Path) -> Iterator[tuple[Key, Given]]:
    """The keys of sections one by one, everything else as it is."""
    for word, value in content.items():
        key = (str(word),)
        if word in SECTIONS and isinstance(value, dict):
            for below, leaf in value.items():
                yield (*key, str(below)), Given(leaf, origin((*key, str(below))), folder)
        elif value is not None:
            yield key, Given(value, origin(key), folder)


def _read_environment(environment: Mapping[str, str]) -> Iterator[tuple[Key, Given]]:
    folder = Path.cwd()
    for name, text in sorted(environment.items()):
        if name in _SHORT_VARIABLES:
            key = _SHORT_VARIABLES[name]
        elif name.startswith(_PREFIX) and "__" in name:
            key = tuple(name.removeprefix(_PREFIX).lower().split("__"))
        else:
            continue
        yield key, Given(text, f"environment variable {name}", folder, is_text=True)


def _fields_of(section: Any) -> dict[str, Any]:
    values = {name: getattr(section, name) for name in section.__dataclass_fields__}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

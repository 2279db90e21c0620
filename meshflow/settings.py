"""Every setting of MeshFlow, in one frozen tree, and the rules by which it is made from what files and variables say.

`config.py` reads the sources; here each value is checked once and becomes a field. A value carries its origin, so that
an error can name the line or the variable to mend. A key that is not known is an error: a typing mistake must not turn
into a default. The sections of Lightflow's configuration that mean nothing here are ignored (`LEGACY_SECTIONS`).
"""

import difflib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import NewType

from meshflow.durations import EXPECTED, seconds_of
from meshflow.errors import ConfigLoadError

LEGACY_SECTIONS = ("celery", "signal", "graph")
"""Sections of a `lightflow.cfg` that are read without a murmur and have no effect: there is no Celery, no Redis and no
polling to set."""

PRESETS = ("local", "lan", "wan")

_MAX_EXPANSIONS = 10

Age = NewType("Age", str)
"""`30d`, `12h` (`durations.py`); empty: no age is too old."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What a node started here serves; the options of `meshflow node` go before."""

    queues: tuple[str, ...] = ("workflow", "dag", "task")
    """Queues to take work from."""
    slots: int = 0
    """How many tasks may run at once; 0: one per processor core."""
    name: str = ""
    """What users call the node; empty: made from the host name."""


@dataclass(frozen=True, slots=True)
class MeshSettings:
    """Where the mesh is, and how its members speak."""

    name: str = "default"
    """Nodes of one host find each other under this name; two names are two meshes."""
    join: tuple[str, ...] = ()
    """`host:port` of nodes on other hosts; any one of them that answers is enough."""
    connect: str = ""
    """`host:port` of the node that clients use; empty: one of this host."""
    bind: str = ""
    """`host` or `host:port` to listen on; empty: loopback, which no other host can reach."""
    advertise: str = ""
    """Host name or address under which others reach this node; empty: the one it is bound to."""
    key_file: str = field(default="", metadata={"is_path": True})
    """File with the mesh key; empty: the one of this host's mesh, made on first start."""
    preset: str = "local"
    """`local`, `lan` or `wan`: how long the mesh waits before it takes a silent node for dead."""
    timeout_s: float = 5.0
    """Seconds a client waits for a node to answer before it tries the next; raise it on slow links."""


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where runs are kept. Either `url`, or Lightflow's fields of a MongoDB server."""

    url: str = field(default="", metadata={"is_url": True})
    """`mongodb://...`, or the path of an SQLite file; empty: the embedded store in the user's state folder."""
    password_file: str = field(default="", metadata={"is_path": True})
    """File that holds the password for the user in `url` or `username`."""
    host: str = ""
    port: int = 0
    database: str = ""
    username: str = ""
    password: str = ""
    auth_source: str = ""
    auth_mechanism: str = ""
    connect_timeout: int = 0
    """Milliseconds to wait for a server, as in Lightflow; 0: the default of the store."""


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """When a node removes what runs leave behind. By default it keeps everything."""

    runs: Age = Age("")
    """Runs that ended longer ago are removed with all that belongs to them, unless `keep` keeps them."""
    output: Age = Age("")
    """What tasks printed is removed so long after the end of their run; empty: with the run."""
    keep: int = 0
    """The newest so many runs of each workflow are kept; without `runs`, all others are removed. 0: does nothing."""


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """How much of something there may be before it is refused."""

    max_message_bytes: int = field(
        default=64 * 1024 * 1024,
        metadata={
            "least": 64 * 1024 * 1024,
            "why": "the code of a task (up to 32 MiB) and what it gets from others (24 MiB) travel in one message",
        },
    )
    """Largest message; the same on all nodes and clients. The default is what the mesh itself needs."""
    max_queued_messages: int = field(default=10_000, metadata={"least": 1_000})
    """Messages that wait for one peer; further ones are dropped."""
    max_connections: int = field(default=4096, metadata={"least": 16})
    """Connections that a node takes in at a time."""
    max_value_bytes: int = field(
        default=512 * 1024 * 1024,
        metadata={
            "least": 64 * 1024,
            "most": 512 * 1024 * 1024,
            "why": "up to 64 KiB travel with a task, and no store takes more than 512 MiB",
        },
    )
    """Largest value that a task hands on, pickled."""
    max_output_bytes: int = 10 * 1024 * 1024
    """What is kept of what one attempt prints."""


@dataclass(frozen=True, slots=True)
class CliSettings:
    """How the command line shows things."""

    time_format: str = "%d/%m/%Y %H:%M:%S"
    """`strftime` form of local times in tables."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole tree."""

    workflows: tuple[str, ...] = field(default=(), metadata={"is_path": True})
    """Folders with workflow scripts, searched in order; empty: `./workflows`, `./examples` and `.`."""
    libraries: tuple[str, ...] = field(default=(), metadata={"is_path": True})
    """Folders with modules that workflow scripts import, for `sys.path` of clients, nodes and tasks."""
    node: NodeSettings = NodeSettings()
    mesh: MeshSettings = MeshSettings()
    store: StoreSettings = StoreSettings()
    retention: RetentionSettings = RetentionSettings()
    limits: LimitSettings = LimitSettings()
    cli: CliSettings = CliSettings()
    extensions: dict[str, object] = field(default_factory=dict)
    """Settings of extensions, each under its own name; not checked here."""
    logging: dict[str, object] = field(default_factory=dict)
    """`logging.config.dictConfig` form, applied by nodes; empty: messages of level INFO on the terminal."""


@dataclass(frozen=True, slots=True)
class Given:
    """One value as a source gave it. `folder` is where relative paths in it begin."""

    value: object
    origin: str
    """For people: `meshflow.yml line 3`, or `environment variable MESHFLOW_STORE__URL`."""
    folder: Path
    is_text: bool = False
    """The source knows only text, so numbers and lists are read out of it."""


Key = tuple[str, ...]
"""The words that lead to a value, for example `("store", "url")`."""

SECTIONS: dict[str, type] = {
    "node": NodeSettings,
    "mesh": MeshSettings,
    "store": StoreSettings,
    "retention": RetentionSettings,
    "limits": LimitSettings,
    "cli": CliSettings,
}

_FREE_SECTIONS = ("extensions", "logging")
"""Below these any key goes."""


def build(given: Mapping[Key, Given]) -> Settings:
    """The tree with every given value in its place.

    Raises:
        ConfigLoadError: an unknown key or a value of the wrong kind; the text names its origin.
    """
    values: dict[str, dict[str, object]] = {name: {} for name in ("", *SECTIONS)}
    free: dict[str, dict[str, object]] = {name: {} for name in _FREE_SECTIONS}
    for key, what in given.items():
        if key[0] in _FREE_SECTIONS:
            _place_freely(free[key[0]], key, what)
        elif key[0] not in LEGACY_SECTIONS:
            section, setting = _find(key, what)
            if what.value is not None:
                values[section][setting.name] = _convert(setting, key, what)
    sections = {name: kind(**values[name]) for name, kind in SECTIONS.items()}
    settings = Settings(**values[""], **sections, **free)  # type: ignore[arg-type]
    _check_values(settings, given)
    return settings


def _find(key: Key, what: Given) -> tuple[str, "Field[object]"]:
    """The section (empty: none) and the field that a key stands for."""
    section = key[0] if key[0] in SECTIONS else ""
    if section and len(key) == 1:
        raise ConfigLoadError(f"{what.origin}: {section!r} is a section; got {what.value!r}, expected keys below it")
    word = key[1] if section else key[0]
    known = {entry.name: entry for entry in fields(SECTIONS[section] if section else Settings)}
    if word not in known:
        raise ConfigLoadError(f"{what.origin}: {_unknown(word, section, list(known))}")
    if len(key) > (2 if section else 1):
        raise ConfigLoadError(f"{what.origin}: {word!r} is a value, not a section")
    return section, known[word]


def _unknown(word: str, section: str, known: list[str]) -> str:
    where = f"in section {section!r}" if section else "at the top level"
    close = difflib.get_close_matches(word, known, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"known keys are {', '.join(known)}"
    return f"unknown key {word!r} {where}; {hint}"


def _place_freely(branch: dict[str, object], key: Key, what: Given) -> None:
    if len(key) == 1:
        if not isinstance(what.value, dict):
            raise ConfigLoadError(f"{what.origin}: {key[0]!r} is a section; got {what.value!r}, expected keys below it")
        branch.update(what.value)
        return
    for word in key[1:-1]:
        below = branch.setdefault(word, {})
        if not isinstance(below, dict):
            raise ConfigLoadError(f"{what.origin}: {word!r} is a value, not a section")
        branch = below
    branch[key[-1]] = what.value


def _convert(setting: "Field[object]", key: Key, what: Given) -> object:
    reader, expected = _READERS[setting.type]
    value = reader(what)
    if value is None:
        raise ConfigLoadError(f"{what.origin}: {'.'.join(key)!r} is {what.value!r}; expected {expected}")
    least, most = setting.metadata.get("least", value), setting.metadata.get("most", value)
    if isinstance(value, int) and not least <= value <= most:
        border = f"at least {least}" if value < least else f"at most {most}"
        if "why" in setting.metadata:
            border += f": {setting.metadata['why']}"
        raise ConfigLoadError(f"{what.origin}: {'.'.join(key)!r} is {what.value!r}; expected {border}")
    # A URL without a scheme that has a slash or a suffix is the path of a store's file.
    is_file = setting.metadata.get("is_url") and "://" not in str(value) and ("/" in str(value) or "." in str(value))
    return _absolute(value, what.folder) if is_file or setting.metadata.get("is_path") else value


def _absolute(value: object, folder: Path) -> object:
    if isinstance(value, tuple):
        return tuple(_absolute(item, folder) for item in value)
    return str(folder / expand_env_var(str(value))) if value else ""


def expand_env_var(text: str) -> str:
    """`text` with `~` and variables expanded, also those that stand in their values, up to a depth that no sane setting
    reaches (a variable may name itself)."""
    for _ in range(_MAX_EXPANSIONS):
        text = os.path.expandvars(os.path.expanduser(text))
    return text


def _text(what: Given) -> str | None:
    return what.value if isinstance(what.value, str) else None


def _whole(what: Given) -> int | None:
    if what.is_text:
        text = str(what.value).strip()
        return int(text) if text.isdecimal() else None
    value = what.value
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _seconds(what: Given) -> float | None:
    value = what.value
    if not isinstance(value, (str, int, float) if what.is_text else (int, float)) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0 < number < math.inf else None


def _age(what: Given) -> str | None:
    text = what.value.strip() if isinstance(what.value, str) else None
    return text if text == "" or (text is not None and seconds_of(text) is not None) else None


def _texts(what: Given) -> tuple[str, ...] | None:
    if what.is_text:
        return tuple(part.strip() for part in str(what.value).split(",") if part.strip())
    items = what.value if isinstance(what.value, list) else [what.value]
    texts = tuple(item for item in items if isinstance(item, str) and item)
    return texts if len(texts) == len(items) else None


_READERS: dict[object, tuple[Callable[[Given], object], str]] = {
    str: (_text, "text"),
    int: (_whole, "a whole number from 0 on"),
    float: (_seconds, "a number above 0"),
    Age: (_age, f"{EXPECTED}, or an empty text"),
    tuple[str, ...]: (_texts, "a list of texts"),
}


def _check_values(settings: Settings, given: Mapping[Key, Given]) -> None:
    """Rules that go beyond the kind of a value. The defaults keep them, so what breaks one was given."""
    store = settings.store
    if settings.mesh.preset not in PRESETS:
        what = given["mesh", "preset"]
        raise ConfigLoadError(f"{what.origin}: 'mesh.preset' is {what.value!r}; expected one of {', '.join(PRESETS)}")
    if not settings.node.queues:
        raise ConfigLoadError(f"{given['node', 'queues'].origin}: 'node.queues' is empty; name at least one queue")
    if store.url and (store.host or store.database):
        origin = given["store", "url"].origin
        raise ConfigLoadError(f"{origin}: 'store.url' excludes 'store.host' and 'store.database'; keep one way")
    for key, folders in (("workflows", settings.workflows), ("libraries", settings.libraries)):
        for folder in folders:
            if not Path(folder).is_dir():
                raise ConfigLoadError(f"{given[(key,)].origin}: {key!r} lists {folder!r}, which is not a folder")

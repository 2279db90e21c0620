"""The workflow document, as all stores understand it: sections, dotted keys, and what may be asked of them.

A document has two sections, each a tree of dicts. A dotted key walks down dicts; lists and everything else end a walk.
A request is checked by itself first, then against the document: so a malformed one is refused whatever is stored.

Invariants:
1. A refused change leaves the tree as it was: every check comes before the first write.
2. Outcomes do not hang on the order of the items of one request: keys that overlap are refused.
"""

import itertools

from meshflow.core.requests import CreateRun, ExtendField, GetField, Pickled, SetFields
from meshflow.ids import RunId
from meshflow.store.rules import spelled_out
from meshflow.store.values import Kept, Refusal, native

SECTIONS = ("meta", "data")

MAX_KEY_LEVELS = 32
"""How many names a dotted key may have."""

Tree = dict[str, object]
Path = list[str]


# --- requests, checked ---


def path_to_get(request: GetField) -> Path:
    """The path to what is asked for; empty for the whole section.

    Raises:
        Refusal: the section does not exist or the key is malformed.
    """
    _check_section(request.section)
    return path_of(request.key) if request.key else []


def items_to_set(request: SetFields) -> list[tuple[Path, object]]:
    """Paths and the values to store there.

    Raises:
        Refusal: the section does not exist, a key is malformed, two overlap, or a value cannot be stored.
    """
    _check_section(request.section)
    paths = {key: path_of(key) for key in request.items}
    ordered = sorted(paths, key=paths.__getitem__)
    for shorter, longer in itertools.pairwise(ordered):
        if paths[longer][: len(paths[shorter])] == paths[shorter]:
            raise Refusal(f"keys {shorter!r} and {longer!r} overlap; set one after the other")
    return [(paths[key], native(value, key)) for key, value in request.items.items()]


def values_to_add(request: ExtendField) -> tuple[Path, list[object]]:
    """The path of the list and the values to store at its end.

    Raises:
        Refusal: the section does not exist, the key is malformed, or a value cannot be stored.
    """
    _check_section(request.section)
    return path_of(request.key), [native(value, request.key) for value in request.values]


def sections_to_create(request: CreateRun) -> dict[str, Tree] | None:
    """`{section: tree}` of a new document; None if none is asked for.

    Raises:
        Refusal: a value cannot be stored, or there is more than the two sections.
    """
    if request.document is None:
        return None
    for section in request.document:
        _check_section(section)
    return {section: new_section(request.document.get(section, {}), section) for section in SECTIONS}


def new_section(values: object, section: str) -> Tree:
    """The tree of a section that starts with `values`.

    Raises:
        Refusal: a value cannot be stored, or it is not a dict.
    """
    tree = native(values, section)
    if not isinstance(tree, dict):
        raise Refusal(f"section {section!r} cannot be {what(values)}; expected a dict")
    return tree


def no_document(run: RunId) -> Refusal:
    """The answer to who reads where there is nothing."""
    return Refusal(f"run {run!r} has no document; it is removed when its run completes, unless data is to be kept")


def path_of(key: str) -> Path:
    """The names in a dotted key, at least one.

    Raises:
        Refusal: a name is empty, or there are too many.
    """
    path = [spelled_out(name) for name in key.split(".")]
    if "" in path:
        raise Refusal(f"key {key!r} has an empty name; expected names separated by single dots")
    if len(path) > MAX_KEY_LEVELS:
        raise Refusal(f"key {key!r} has {len(path)} levels; at most {MAX_KEY_LEVELS} are possible")
    return path


def _check_section(section: str) -> None:
    if section not in SECTIONS:
        raise Refusal(f"documents have no section {section!r}; expected 'data' or 'meta'")


# --- walks ---


def find(tree: Tree, path: Path) -> tuple[bool, object]:
    """`(True, value)`, or `(False, None)` if the path ends early in a dict.

    Raises:
        Refusal: the path leads through something that is not a dict.
    """
    value: object = tree
    for depth, name in enumerate(path):
        if not isinstance(value, dict):
            raise Refusal(f"key {'.'.join(path)!r} leads through {what(value)} at {'.'.join(path[:depth])!r}")
        if name not in value:
            return False, None
        value = value[name]
    return True, value


def assign(tree: Tree, path: Path, value: object) -> None:
    """Set the value at a path, making levels between.

    Raises:
        Refusal: the path leads through something that is not a dict.
    """
    find(tree, path)
    for name in path[:-1]:
        level = tree.setdefault(name, {})
        assert isinstance(level, dict), f"find() let {path} pass through {level!r}"
        tree = level
    tree[path[-1]] = value


def extend(tree: Tree, path: Path, values: list[object]) -> None:
    """Add values to the end of the list at a path, making it and the levels above if missing. No values: no change.

    Raises:
        Refusal: something else is there, or the path leads through something that is not a dict.
    """
    exists, present = find(tree, path)
    if exists and not isinstance(present, list):
        raise Refusal(f"key {'.'.join(path)!r} holds {what(present)}; only a list can be extended")
    if isinstance(present, list):
        present.extend(values)
    elif values:
        assign(tree, path, values)


def what(value: object) -> str:
    """What to call a value in a sentence."""
    match value:
        case None:
            return "None"
        case dict():
            return "a dict"
        case list():
            return "a list"
        case Pickled() | Kept(is_pickled=True):
            return "a pickled value"
        case Kept():
            return "bytes"
    return f"a value of type {type(value).__name__}"

"""The house rules that a walk over the syntax tree can check: layers, purity of the core, pickles, size, docstrings.

Each test lists every offence as `file:line: what is wrong`, so that one run shows all there is to mend.
"""

import ast
import builtins
import sys
from collections.abc import Iterator

from tests.source_tree import ROOT, Module, check, functions, imports, is_within, module_of, modules, refuse

BASE = ("errors", "ids", "version")
CODEC = ("tags", "leaf_codecs", "columns", "codec", "wire")
VOCABULARY = (
    "core.attempts",
    "core.client_messages",
    "core.graph",
    "core.messages",
    "core.records",
    "core.requests",
    "core.member",
)
BELOW = (*BASE, "core", *CODEC, "models", "tasks", "keyspace")
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "errors": (),
    "ids": (),
    "version": (),
    "core": BASE,
    "tags": ("core",),
    "leaf_codecs": ("core",),
    "columns": ("leaf_codecs",),
    "codec": ("core", "tags", "leaf_codecs", "columns"),
    "wire": ("errors", "core", "tags", "leaf_codecs", "codec"),
    "models": (*BASE, *VOCABULARY, *CODEC),
    "tasks": (*BASE, "models"),
    "store": (*BASE, *VOCABULARY, *CODEC),
    "keyspace": (*BASE, "core", *CODEC),
    "runtime": (*BELOW, "store"),
    "sim": (*BELOW, "store.base", "store.memory"),
    "examples": ("models", "tasks", ""),  # The last is the package itself, of which they take `task` and `workflow`.
}
"""What each part may import beside itself. A part that is not named here (config, client, cli, ...) is on top: it may
import anything, and nothing that is named here may import it."""

PROGRAMS = "examples/programs/"
"""These examples use the package as its users do, and may import anything."""

CORE_MODULES = (
    "bisect",
    "collections",
    "dataclasses",
    "datetime",
    "enum",
    "hashlib",
    "heapq",
    "math",
    "random",
    "typing",
)
CORE_BANNED = ("hash", "id", "input", "open", "print")
"""The first two differ from one process to the next, the rest are I/O."""
CLOCKS = ("now", "today", "utcnow")
"""What tells the time in `datetime`, which the core may import as the type of a native value."""

THIRD_PARTY: dict[str, tuple[str, ...]] = {
    "msgpack": ("wire.py", "runtime/pipes.py", "models/parcels.py"),
    "cloudpickle": ("models/payload.py",),
    "networkx": ("models/dag.py",),
    "pymongo": ("store/mongo.py",),
    "gridfs": ("store/mongo.py",),
    "bson": ("store/mongo.py",),
    "zmq": ("runtime/transport/",),
    "yaml": ("config.py",),
    "click": ("cli/",),
    "joblib": ("joblib_backend.py",),
    "dask": ("dask_get.py",),
    "pytest": ("pytest_plugin.py",),
}
"""Where each may be imported; a path that ends in a slash stands for all files below it."""

UNPICKLERS = ("pickle", "cloudpickle", "dill", "marshal", "shelve")
CANNOT_UNPICKLE = ("core", "tags", "leaf_codecs", "columns", "codec", "wire", "store", "keyspace", "runtime")
"""The parts that a node process runs; only the child that runs a task may unpickle."""
CHILD_SIDE = tuple(
    f"meshflow.runtime.{name}" for name in ("callees", "child", "kept_results", "lease", "link", "template")
)
"""What of the runtime only that child runs, and the process it is forked from."""
PAYLOAD = "meshflow.models.payload"

DRAWERS = ("base_utils", "common", "constants", "helpers", "misc", "utils")
LIGHTFLOW_NAMES = "models/exceptions.py"
"""Keeps names that workflows written for Lightflow import, whether they are raised or not."""
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 70


# --- layers ---


def test_every_part_imports_only_what_lies_below_it() -> None:
    def rule(module: Module) -> Iterator[str]:
        if module.part not in MAY_IMPORT or module.inside.startswith(PROGRAMS):
            return
        for node, target, _ in imports(module):
            found = module_of(target)
            if found is None:
                continue
            inside = found.partition(".")[2]  # empty for `meshflow` itself, whose names come from all layers
            if not any(is_within(inside, each) for each in (module.part, *MAY_IMPORT[module.part])):
                yield f"{module.at(node)}: {module.part} may not import {found}"

    check(rule)


def test_the_core_has_no_import_cycles() -> None:
    done: dict[str, bool] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name in done or modules()[name].part != "core" or name == "meshflow.core":
            return
        for _, target, _ in imports(modules()[name]):
            if (found := module_of(target)) is not None:
                visit(found, (*trail, name))
        done[name] = True

    for name in modules():
        visit(name, ())


def test_each_third_party_library_is_imported_in_its_one_place() -> None:
    def rule(module: Module) -> Iterator[str]:
        for node, target, _ in imports(module):
            library = target.partition(".")[0]
            if library == "meshflow" or library in sys.stdlib_module_names or module.part == "examples":
                continue
            places = THIRD_PARTY.get(library, ())
            if not any(module.inside.startswith(place) for place in places):
                yield f"{module.at(node)}: {library} may be imported in {' '.join(places) or 'no file'} only"

    check(rule)


# --- the core is pure ---


def test_the_core_imports_nothing_that_could_do_io_or_tell_the_time() -> None:
    def rule(module: Module) -> Iterator[str]:
        for node, target, _ in imports(module):
            top = target.partition(".")[0]
            if top != "meshflow" and top not in CORE_MODULES:
                yield f"{module.at(node)}: core may not import {top}, only {' '.join(CORE_MODULES)}"
            elif top == "random" and target not in ("random", "random.Random"):
                yield f"{module.at(node)}: core is given a random.Random and draws from nothing else"

    check(rule, part="core")


def test_the_core_has_no_clock_and_no_random_source_and_prints_nothing() -> None:
    def rule(module: Module) -> Iterator[str]:
        annotations = {
            id(part)
            for node in ast.walk(module.tree)
            for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None))
            if isinstance(annotation, ast.AST)
            for part in ast.walk(annotation)
        }
        for node in ast.walk(module.tree):
            match node:
                case ast.Attribute(value=ast.Name(id="random")) if id(node) not in annotations:
                    yield f"{module.at(node)}: random.{node.attr} outside of an annotation"
                case ast.Call(func=ast.Name(id=name)) if name in CORE_BANNED:
                    yield f"{module.at(node)}: {name}() in core"
                case ast.Call(func=ast.Attribute(attr=name)) if name in CLOCKS:
                    yield f"{module.at(node)}: {name}() in core, which is given the time"

    check(rule, part="core")


def test_the_core_keeps_no_sets() -> None:
    """Their order differs between processes; dict keys keep the order of insertion."""

    def is_set(node: ast.expr | None) -> bool:
        match node:
            case ast.Set() | ast.SetComp():
                return True
            case ast.Call(func=ast.Name(id="set" | "frozenset")):
                return True
        return False

    def rule(module: Module) -> Iterator[str]:
        for node in ast.walk(module.tree):
            match node:
                case ast.AnnAssign(annotation=annotation):
                    names = {part.id for part in ast.walk(annotation) if isinstance(part, ast.Name)}
                    if names & {"set", "frozenset", "Set", "MutableSet"}:
                        yield f"{module.at(node)}: a field annotated as a set"
                case ast.Assign(targets=[ast.Attribute(value=ast.Name(id="self"))], value=value) if is_set(value):
                    yield f"{module.at(node)}: a set kept in self"

    check(rule, part="core")


# --- pickles ---


def test_only_the_payload_module_can_unpickle() -> None:
    def rule(module: Module) -> Iterator[str]:
        for node, target, _ in imports(module):
            if target.partition(".")[0] in UNPICKLERS and module.name != PAYLOAD:
                yield f"{module.at(node)}: {target.partition('.')[0]} may be imported in models/payload.py only"
        for each in ast.walk(module.tree):
            if isinstance(each, ast.Attribute) and each.attr in ("recv_pyobj", "send_pyobj"):
                yield f"{module.at(each)}: {each.attr} unpickles what a peer sent"

    check(rule)


def test_nothing_that_a_node_runs_leads_to_the_payload_module() -> None:
    """Neither by itself nor through what it imports; a package's `__init__` counts with what it imports at once."""
    came_from: dict[str, str] = {}
    waiting = [name for name, module in modules().items() if module.part in CANNOT_UNPICKLE and name not in CHILD_SIDE]
    for name in waiting:  # grows while it is read
        parents = [name.rsplit(".", count)[0] for count in range(1, name.count(".") + 1)]
        module = modules()[name]
        at_once = module.path.name == "__init__.py"
        targets = [target for _, target, is_lazy in imports(module) if not (is_lazy and at_once)]
        for found in [*parents, *map(module_of, targets)]:
            if found is not None and found not in waiting:
                came_from[found] = name
                waiting.append(found)
    trail = [PAYLOAD]
    while trail[-1] in came_from:
        trail.append(came_from[trail[-1]])
    refuse(["a node would import " + " <- ".join(trail)] if PAYLOAD in waiting else [])


# --- style ---


def test_no_bare_except() -> None:
    def rule(module: Module) -> Iterator[str]:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                yield f"{module.at(node)}: name what is caught"

    check(rule)


def test_every_public_name_has_a_docstring() -> None:
    def inside(module: Module, parent: ast.Module | ast.ClassDef, prefix: str) -> Iterator[str]:
        for node in parent.body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
                continue
            decorators = {
                part.id for each in node.decorator_list for part in ast.walk(each) if isinstance(part, ast.Name)
            }
            attributes = {
                part.attr for each in node.decorator_list for part in ast.walk(each) if isinstance(part, ast.Attribute)
            }
            is_exempt = "overload" in decorators or "setter" in attributes or "override" in decorators
            if not is_exempt and ast.get_docstring(node) is None:
                yield f"{module.at(node)}: {prefix}{node.name} has no docstring"
            if isinstance(node, ast.ClassDef):
                yield from inside(module, node, f"{node.name}.")

    def rule(module: Module) -> Iterator[str]:
        if module.tree.body and ast.get_docstring(module.tree) is None:
            yield f"{module.at(module.tree)}: the module has no docstring"
        if module.part != "examples":
            yield from inside(module, module.tree, "")

    check(rule)


def test_every_error_class_is_raised() -> None:
    """Or is a branch of the error tree, that others extend."""
    classes = {
        node.name: (module, node)
        for module in modules().values()
        if module.inside != LIGHTFLOW_NAMES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
    }

    def ancestors(name: str) -> list[str]:
        found = [name]
        for each in found:  # grows while it is read; a class may have the name of the one it extends
            bases = classes[each][1].bases if each in classes else []
            found += [base for base in map(last_name, bases) if base not in found]
        return found[1:]

    errors = [name for name in classes if any(map(is_exception, ancestors(name)))]
    used = {base: None for name in errors for base in ancestors(name)}
    for module in modules().values():
        for node in ast.walk(module.tree):
            made = node.exc if isinstance(node, ast.Raise) else node.func if isinstance(node, ast.Call) else None
            if isinstance(made, ast.Name | ast.Attribute):
                used[last_name(made)] = None
    refuse(f"{classes[name][0].at(classes[name][1])}: nobody raises {name}" for name in errors if name not in used)


def last_name(node: ast.expr) -> str:
    """The name in the end of `errors.PeerError` or `PeerError`."""
    return ast.unparse(node).rpartition(".")[2]


def is_exception(name: str) -> bool:
    """Whether `name` is one of Python's own exceptions."""
    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)


def test_no_file_is_a_drawer_for_odds_and_ends() -> None:
    refuse(
        f"{module.inside}: name it after its one idea" for module in modules().values() if module.path.stem in DRAWERS
    )


def test_no_file_is_too_long() -> None:
    files = [path for folder in ("meshflow", "tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
    counts = {path: len(path.read_text().splitlines()) for path in files}
    refuse(
        f"{path.relative_to(ROOT)}: {count} lines, more than {MAX_FILE_LINES}; make it two"
        for path, count in counts.items()
        if count > MAX_FILE_LINES
    )


def test_no_function_is_too_long() -> None:
    def rule(module: Module) -> Iterator[str]:
        for node in functions(module.tree):
            count = (node.end_lineno or node.lineno) - node.lineno + 1
            if count > MAX_FUNCTION_LINES:
                yield f"{module.at(node)}: {node.name} has {count} lines, more than {MAX_FUNCTION_LINES}"

    check(rule)

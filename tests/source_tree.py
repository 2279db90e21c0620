"""The source of the package as syntax trees, for the tests that hold it to the house rules."""

import ast
import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "meshflow"


class Module(NamedTuple):
    """A file of the package."""

    path: Path
    name: str
    tree: ast.Module

    @property
    def part(self) -> str:
        """The top-level module or package it belongs to, for example `core`; empty for `meshflow` itself."""
        return self.name.partition(".")[2].partition(".")[0]

    @property
    def inside(self) -> str:
        """Its path inside the package, for example `core/queue.py`."""
        return self.path.relative_to(PACKAGE).as_posix()

    def at(self, node: ast.AST) -> str:
        """The place of a node of its tree, as editors understand it."""
        return f"{self.path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


@functools.cache
def modules() -> dict[str, Module]:
    """`{dotted name: module}` of the whole package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(path, name, ast.parse(path.read_text()))
    return found


class Import(NamedTuple):
    """One name that a module imports."""

    node: ast.stmt
    target: str
    """Dotted: a module, or a name in one."""
    is_lazy: bool
    """Whether it does not happen when the module is imported: it is inside a function, or for type checkers only."""


@functools.cache
def imports(module: Module) -> tuple[Import, ...]:
    """All imports of a module, relative ones made absolute."""
    return tuple(_imports(module, module.tree, is_lazy=False))


def _imports(module: Module, parent: ast.AST, *, is_lazy: bool) -> Iterator[Import]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.Import):
            yield from (Import(node, alias.name, is_lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module.name.split(".") if module.path.name == "__init__.py" else module.name.split(".")[:-1]
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield from (Import(node, f"{source}.{alias.name}", is_lazy) for alias in node.names)
        else:
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            is_for_types = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
            yield from _imports(module, node, is_lazy=is_lazy or is_function or is_for_types)


def module_of(target: str) -> str | None:
    """The module of this package that importing `target` runs, or None if it is not one of ours."""
    while target not in modules():
        target, dot, _ = target.rpartition(".")
        if not dot:
            return None
    return target


def is_within(name: str, prefix: str) -> bool:
    """Whether the dotted `name` is `prefix` or below it."""
    return name == prefix or name.startswith(prefix + ".")


def refuse(offences: Iterable[str]) -> None:
    """Fail with all offences, if there are any."""
    if found := list(dict.fromkeys(offences)):
        pytest.fail("\n".join(found), pytrace=False)


def check(rule: Callable[[Module], Iterator[str]], part: str | None = None) -> None:
    """Hold all modules, or those of one part, to a rule that tells their offences."""
    refuse(offence for module in modules().values() if part in (None, module.part) for offence in rule(module))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions and methods below a node."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))

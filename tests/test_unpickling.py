"""Nothing in a node process can turn bytes into code. `tests/system/test_doors.py` tries it on real nodes.

`pickle` itself is in `sys.modules` of every program that uses pyzmq or asyncio. What can be proven is that no module of
ours that a node has loaded uses it, and that those that do are not loaded.
"""

import ast
import functools
import subprocess
import sys
import typing
from collections.abc import Iterator
from dataclasses import is_dataclass

from tests.source_tree import ROOT, Module, check, imports, modules, refuse

EXECUTORS = ("eval", "exec", "compile", "__import__")
IMPORTERS = ("importlib", "runpy", "code", "codeop", "imp")
MAKES_CODE = {
    "meshflow.codec": "functions for the fields of our own dataclasses; nothing that was received is in their text",
}
UNPICKLERS = ("pickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "multiprocessing", "joblib")
TASK_SIDE = ("models.payload", "runtime.child", "runtime.link", "runtime.template")

LOADED = """\
import sys
import meshflow.cli.node, meshflow.runtime.serve, meshflow.workers, meshflow.logger, meshflow.client, yaml
import meshflow.store.sqlite, meshflow.store.mongo, meshflow.store.remote
print(" ".join(sys.modules))
"""
"""All that `meshflow node` imports, early or late."""


@functools.cache
def loaded_by_a_node() -> list[str]:
    """The modules in a fresh process that has imported all that a node does."""
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.split()


def test_what_a_node_has_loaded_holds_nothing_of_ours_that_unpickles() -> None:
    loaded = loaded_by_a_node()
    assert "meshflow.runtime.serve" in loaded
    assert [name for name in ("cloudpickle", "dill", "shelve", "joblib") if name in loaded] == []
    ours = [modules()[name] for name in loaded if name in modules()]
    assert [module.name for module in ours if module.name.partition(".")[2] in TASK_SIDE] == []
    refuse(
        f"{module.at(node)}: a node loads this, and it imports {target}"
        for module in ours
        for node, target, is_lazy in imports(module)
        if target.partition(".")[0] in UNPICKLERS
    )


def test_no_part_of_a_node_runs_text_or_imports_by_name() -> None:
    loaded = loaded_by_a_node()

    def rule(module: Module) -> Iterator[str]:
        if module.name not in loaded or module.name in MAKES_CODE:
            return
        for node in ast.walk(module.tree):
            match node:
                case ast.Call(func=ast.Name(id=name)) if name in EXECUTORS:
                    yield f"{module.at(node)}: {name}() in a module that a node loads"
                case ast.Import(names=names):
                    for each in names:
                        if each.name.partition(".")[0] in IMPORTERS:
                            yield f"{module.at(node)}: {each.name} in a module that a node loads"

    check(rule)


def test_the_one_module_that_makes_code_makes_it_of_names_of_fields() -> None:
    """Its text is built from indices, names of fields, and limits: none may be anything but an identifier."""
    from meshflow.codec import dataclass_codec
    from meshflow.tags import TAGS

    for cls in TAGS.values():
        assert dataclass_codec(cls)
        assert is_dataclass(cls) or hasattr(cls, "_fields")
        assert all(name.isidentifier() for name in typing.get_type_hints(cls))

"""Finding and importing the Python file of a workflow.

Invariants:
1. The script comes from its file, freshly compiled: neither an installed module of the same name nor an old
   `__pycache__` can take its place.
2. After the import, neither the script nor its *neighbours* (modules and packages in its folder) are in `sys.modules`.
   cloudpickle ships by value what it cannot find there, so nodes need none of these files, and the next import sees
   every edit. What was imported of the neighbours before is put back.
3. While a script is imported its folder is on `sys.path`, behind the standard library (a workflow called `queue.py`
   must not break other modules) and ahead of what is installed.
"""

import difflib
import importlib
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from itertools import islice
from pathlib import Path
from types import ModuleType

from meshflow.errors import InvalidGraph, WorkflowImportError, WorkflowNotFound

_MAX_FOLDERS_NAMED = 5
"""An error message lists no more folders than this: `sys.path` can be long."""

_INSTALLED = ("site-packages", "dist-packages")
"""The folders that installers put modules into."""

_importing = threading.RLock()
"""`sys.modules` and `sys.path` belong to the process, so one script is imported at a time."""


def find_script(name: str, directories: Sequence[str | Path] | None) -> Path:
    """The file of the workflow `name`: `name.py` in the first of the folders that has it (None: those of `sys.path`),
    or, where `name` is itself the path of a Python file, that one.

    Raises:
        WorkflowNotFound: there is no such file; the message says where was looked and what has a similar name.
    """
    if name.endswith(".py") or "/" in name:
        if Path(name).is_file():
            return Path(name)
        raise WorkflowNotFound(f"there is no workflow file {name!r}")
    folders = [Path(entry) for entry in (sys.path if directories is None else directories)]
    for folder in folders:
        if (path := folder / f"{name}.py").is_file():
            return path
    known = [path.stem for path in list_scripts(folders)]
    similar = [f"did you mean {match!r}?" for match in difflib.get_close_matches(name, known, n=1)]
    looked = ", ".join(str(folder) for folder in islice(folders, _MAX_FOLDERS_NAMED)) or "no folder"
    more = f" and {len(folders) - _MAX_FOLDERS_NAMED} more" if len(folders) > _MAX_FOLDERS_NAMED else ""
    raise WorkflowNotFound("; ".join([f"there is no workflow {name!r}", *similar, f"looked in {looked}{more}"]))


def list_scripts(directories: Sequence[str | Path]) -> Iterator[Path]:
    """The Python files directly in the folders, folder by folder in order of name; missing folders count as empty."""
    for folder in map(Path, directories):
        yield from sorted(folder.glob("*.py"))


def import_script(path: Path) -> ModuleType:
    """Run the script and return its module. Its `__name__` is the file's stem, unless another module has that name.

    Raises:
        WorkflowImportError: the script cannot be read, compiled or run; the message names file, line and reason.
        InvalidGraph: the script defines a dag that cannot be run.
    """
    path = path.resolve()
    with _importing, _neighbours_hidden(path.parent):
        name = path.stem
        if name in sys.modules or name in sys.stdlib_module_names:
            name += "_workflow"
        loader = SourceFileLoader(name, str(path))
        spec = spec_from_loader(name, loader)
        assert spec is not None, path
        module = module_from_spec(spec)
        # Dataclasses and the like look their module up while the script runs.
        sys.modules[name] = module
        try:
            exec(loader.source_to_code(loader.get_data(str(path)), str(path)), vars(module))
        except InvalidGraph:
            raise
        except (Exception, SystemExit) as exc:
            raise WorkflowImportError(f"workflow {path.stem!r} cannot be imported: {place_of(exc, path)}") from exc
        finally:
            sys.modules.pop(name, None)
    return module


@contextmanager
def _neighbours_hidden(folder: Path) -> Iterator[None]:
    """Within, modules of `folder` can be imported, anew; afterwards it is as if they had not been."""
    importlib.invalidate_caches()
    path, modules = list(sys.path), _take_neighbours(folder)
    installed = (i for i, entry in enumerate(path) if entry.endswith(_INSTALLED))
    sys.path.insert(next(installed, len(path)), str(folder))
    try:
        yield
    finally:
        sys.path[:] = path
        _take_neighbours(folder)
        sys.modules.update(modules)


def _take_neighbours(folder: Path) -> dict[str, ModuleType]:
    """Take the modules of `folder`, and of the packages in it, out of `sys.modules` and return them."""
    if folder.name in _INSTALLED:
        return {}
    # Texts, for a program has hundreds of modules and may submit hundreds of workflows.
    inside = os.path.join(folder, "")
    loaded = dict(sys.modules)
    tops = {name: None for name, module in loaded.items() if "." not in name and _is_neighbour(name, module, inside)}
    taken = {name: module for name, module in loaded.items() if name.partition(".")[0] in tops} if tops else {}
    for name in taken:
        del sys.modules[name]
    return taken


def _is_neighbour(name: str, module: ModuleType, inside: str) -> bool:
    """Whether this is a module, or a package with all its parts, that lies directly in a folder as Python source;
    `inside` is what the paths of that begin with.

    The running program is none, nor is MeshFlow, even where someone works in a checkout of it, nor anything installed,
    even where someone keeps a workflow in `site-packages`.
    """
    if name in ("__main__", "meshflow"):
        return False
    file = getattr(module, "__file__", None)
    # A package without `__init__.py` has no file, but perhaps several folders.
    places = [file] if isinstance(file, str) else list(getattr(module, "__path__", ()))
    expected = (f"{inside}{name}.py", f"{inside}{name}/__init__.py", f"{inside}{name}")
    return bool(places) and all(place in expected for place in places)


def place_of(exc: BaseException, path: Path) -> str:
    """File, line and reason of an exception that came out of the script at `path`."""
    if isinstance(exc, SyntaxError) and exc.filename:
        return f"{exc.filename}, line {exc.lineno}: {exc.msg}"
    line, trace = None, exc.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    place = str(path) if line is None else f"{path}, line {line}"
    return f"{place}: {type(exc).__name__}: {exc}"

"""Importing workflow scripts: from their file, with what lies beside them, and leaving no trace."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from meshflow.errors import InvalidGraph, WorkflowImportError, WorkflowNotFound
from meshflow.models import payload
from meshflow.models.script import find_script, import_script, list_scripts
from tests.models.conftest import WriteScript

TASK = "from meshflow.models import BaseTask\n"


@pytest.fixture(autouse=True)
def _no_trace_is_left() -> object:
    """Every import of a script leaves `sys.path` and `sys.modules` as they were, but for what is installed."""
    path, modules = list(sys.path), dict(sys.modules)
    yield
    assert sys.path == path
    new = [name for name in sys.modules if name not in modules]
    assert not [name for name in new if "pytest-of" in str(getattr(sys.modules[name], "__file__", ""))]
    assert [name for name, module in modules.items() if sys.modules.get(name) is not module] == []


# --- finding ---


def test_the_first_folder_that_has_the_script_wins(write_script: WriteScript, tmp_path: Path) -> None:
    write_script("two/flow.py", "")
    assert find_script("flow", [tmp_path / "missing", tmp_path / "two"]) == tmp_path / "two" / "flow.py"
    one = write_script("one/flow.py", "")
    assert find_script("flow", [str(tmp_path / "one"), tmp_path / "two"]) == one


def test_without_folders_sys_path_is_searched(
    write_script: WriteScript, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_script("a_flow_on_sys_path.py", "")
    with pytest.raises(WorkflowNotFound):
        find_script("a_flow_on_sys_path", None)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        assert find_script("a_flow_on_sys_path", None) == path
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [""])
        assert find_script("a_flow_on_sys_path", None).resolve() == path


def test_a_path_is_taken_as_it_is(write_script: WriteScript, tmp_path: Path) -> None:
    path = write_script("flow.py", "")
    assert find_script(str(path), []) == path
    with pytest.raises(WorkflowNotFound, match="there is no workflow file"):
        find_script(str(tmp_path / "other.py"), [tmp_path])
    with pytest.raises(WorkflowNotFound, match=r"there is no workflow file './flow'"):
        find_script("./flow", [tmp_path])


def test_an_unknown_name_is_answered_with_a_similar_one_and_where_was_looked(
    write_script: WriteScript, tmp_path: Path
) -> None:
    write_script("simple.py", "")
    with pytest.raises(WorkflowNotFound) as raised:
        find_script("simpel", [tmp_path])
    assert str(raised.value) == f"there is no workflow 'simpel'; did you mean 'simple'?; looked in {tmp_path}"
    with pytest.raises(WorkflowNotFound, match=f"there is no workflow 'xyz'; looked in {tmp_path}$"):
        find_script("xyz", [tmp_path])
    with pytest.raises(WorkflowNotFound, match=r"looked in no folder$"):
        find_script("xyz", [])
    with pytest.raises(WorkflowNotFound, match=r"looked in .* and 3 more$"):
        find_script("xyz", [tmp_path / str(index) for index in range(8)])


def test_scripts_are_listed_folder_by_folder_in_order_of_name(write_script: WriteScript, tmp_path: Path) -> None:
    for name in ("two/b.py", "two/a.py", "one/c.py", "two/sub/d.py", "two/e.txt"):
        write_script(name, "")
    folders = [tmp_path / "two", tmp_path / "missing", tmp_path / "one"]
    assert [path.name for path in list_scripts(folders)] == ["a.py", "b.py", "c.py"]


# --- importing ---


def test_a_script_sees_itself_under_the_name_of_its_file(write_script: WriteScript) -> None:
    path = write_script(
        "a_flow.py",
        "import sys\nname, file = __name__, __file__\nis_known = vars(sys.modules[__name__]) is globals()\n",
    )
    module = import_script(path)
    assert (module.name, module.file, module.is_known) == ("a_flow", str(path), True)
    assert "a_flow" not in sys.modules


@pytest.mark.parametrize("name", ["queue", "json", "pytest", "bisect"])
def test_a_script_named_like_an_installed_module_takes_and_gives_no_harm(name: str, write_script: WriteScript) -> None:
    path = write_script(f"{name}.py", f"own = 1\nimport {name}\nother = {name}\nimport asyncio\nname = __name__\n")
    installed = __import__(name)
    module = import_script(path)
    assert module.own == 1
    assert module.other is installed
    assert module.name == f"{name}_workflow"


def test_dataclasses_with_postponed_annotations_work_in_a_script(write_script: WriteScript) -> None:
    text = "from __future__ import annotations\nfrom dataclasses import KW_ONLY, dataclass\n"
    text += "@dataclass\nclass Point:\n    x: int\n    _: KW_ONLY\n    y: int = 0\n"
    assert import_script(write_script("flow.py", text)).Point(1, y=2).y == 2


def test_an_edit_is_seen_at_the_next_import_even_within_a_second_and_of_the_same_size(
    write_script: WriteScript,
) -> None:
    path = write_script("flow.py", "x = 1")
    assert import_script(path).x == 1
    write_script("flow.py", "x = 2")
    assert import_script(path).x == 2
    assert not (path.parent / "__pycache__").exists()


def test_modules_and_packages_beside_the_script_can_be_imported(write_script: WriteScript) -> None:
    write_script("beside.py", "value = 1")
    write_script("package/__init__.py", "from package.inner import value")
    write_script("package/inner.py", "value = 2")
    path = write_script(
        "flow.py", "import beside\nfrom package import value\nimport package.inner\nfirst = beside.value"
    )
    module = import_script(path)
    assert (module.first, module.value) == (1, 2)
    assert not {"beside", "package", "package.inner", "flow"} & set(sys.modules)


def test_each_folder_has_its_own_modules(write_script: WriteScript) -> None:
    for folder in ("one", "two"):
        write_script(f"{folder}/beside.py", f"value = {folder!r}")
        write_script(f"{folder}/flow.py", "from beside import value")
    values = [
        import_script(write_script(f"{folder}/flow.py", "from beside import value")).value for folder in ("one", "two")
    ]
    assert values == ["one", "two"]


def test_a_folder_whose_name_only_begins_alike_is_not_the_scripts(write_script: WriteScript, tmp_path: Path) -> None:
    write_script("folder2/elsewhere.py", "value = 1")
    path = write_script(
        "folder/flow.py", f"import sys\nsys.path.append({str(tmp_path / 'folder2')!r})\nimport elsewhere"
    )
    try:
        import_script(path)
        assert "elsewhere" in sys.modules
    finally:
        sys.modules.pop("elsewhere", None)


def test_what_was_imported_before_is_put_back(write_script: WriteScript, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = write_script("beside_before.py", "value = 1")
    before = ModuleType("beside_before")
    before.__file__ = str(beside)
    monkeypatch.setitem(sys.modules, "beside_before", before)
    module = import_script(write_script("flow.py", "import beside_before"))
    assert module.beside_before is not before
    assert module.beside_before.value == 1
    assert sys.modules["beside_before"] is before


def test_meshflow_is_no_neighbour_even_in_its_own_checkout(write_script: WriteScript) -> None:
    import meshflow

    root = Path(meshflow.__file__).parent.parent
    path = root / "no_such_script.py"
    with pytest.raises(WorkflowImportError, match="FileNotFoundError"):
        import_script(path)
    assert sys.modules["meshflow"] is meshflow


def test_what_is_installed_is_no_neighbour_of_a_script_installed_beside_it(write_script: WriteScript) -> None:
    write_script("site-packages/library.py", "value = 1")
    path = write_script("site-packages/flow.py", "import library\nvalue = library.value")
    try:
        assert import_script(path).value == 1
        assert "library" in sys.modules
    finally:
        sys.modules.pop("library", None)


def test_a_script_may_change_sys_path(write_script: WriteScript, tmp_path: Path) -> None:
    before = list(sys.path)
    import_script(write_script("flow.py", f"import sys\nsys.path.remove({str(tmp_path)!r})"))
    assert sys.path == before


def test_where_nothing_is_installed_the_folder_comes_last(
    write_script: WriteScript, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [entry for entry in sys.path if "-packages" not in entry])
        module = import_script(write_script("flow.py", "import sys\nlast = sys.path[-1]"))
    assert module.last == str(tmp_path)


# --- failing ---


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = 1\n\ndef f(:\n", "line 3: invalid syntax"),
        ("x = 1\nimport no_such_module_anywhere\n", "line 2: ModuleNotFoundError: No module named 'no_such_module_an"),
        ("def f():\n    return 1 / 0\n\nf()\n", "line 2: ZeroDivisionError: division by zero"),
        ("y\n", "line 1: NameError: name 'y' is not defined"),
        ("import sys\nsys.exit(3)\n", "line 2: SystemExit: 3"),
        ("x = '\0'\n", "source code string cannot contain null bytes"),
        (TASK + "BaseTask('t', retries=-1)\n", "line 2: UsageError: task 't': retries is -1"),
        ("import json\njson.loads('x')\n", "line 2: JSONDecodeError"),
    ],
)
def test_what_goes_wrong_in_a_script_is_told_with_file_line_and_reason(
    text: str, reason: str, write_script: WriteScript
) -> None:
    path = write_script("flow.py", text)
    with pytest.raises(WorkflowImportError) as raised:
        import_script(path)
    message = str(raised.value)
    assert message.startswith(f"workflow 'flow' cannot be imported: {path}")
    assert reason in message
    assert "\n" not in message


def test_a_syntax_error_beside_the_script_is_told_with_its_own_place(write_script: WriteScript) -> None:
    beside = write_script("beside.py", "x = (")
    with pytest.raises(WorkflowImportError, match=f"cannot be imported: {beside}, line 1: '\\(' was never closed"):
        import_script(write_script("flow.py", "import beside"))


def test_a_file_that_is_not_there_is_told_without_a_line(tmp_path: Path) -> None:
    with pytest.raises(WorkflowImportError, match=f"cannot be imported: {tmp_path / 'flow.py'}: FileNotFoundError"):
        import_script(tmp_path / "flow.py")


def test_a_dag_that_cannot_be_run_comes_out_as_it_is(write_script: WriteScript) -> None:
    text = "from meshflow.models import BaseTask, Dag\na = BaseTask('a')\nDag('d').define({a: a})"
    with pytest.raises(InvalidGraph, match="a -> a"):
        import_script(write_script("flow.py", text))


def test_an_interrupt_is_not_the_scripts_fault(write_script: WriteScript) -> None:
    with pytest.raises(KeyboardInterrupt):
        import_script(write_script("flow.py", "raise KeyboardInterrupt"))


# --- shipping ---

NEIGHBOURS = {
    "module": {"beside.py": "import math\nOFFSET = 10\ndef shift(x):\n    return math.floor(x) + OFFSET\n"},
    "package": {
        "beside/__init__.py": "from beside.inner import shift\n",
        "beside/inner.py": "def shift(x):\n    return int(x) + 10\n",
    },
    "package whose modules mention each other": {
        "beside/__init__.py": "from beside.inner import shift\n",
        "beside/inner.py": "import beside.other\ndef shift(x):\n    return beside.other.plus(int(x))\n",
        "beside/other.py": "import beside.inner\ndef plus(x):\n    return x + 10 if beside.inner.shift else 0\n",
    },
    "package without an __init__ file": {
        "beside/shift.py": "def shift(x):\n    return int(x) + 10\nshift.shift = shift\n"
    },
}


@pytest.mark.parametrize("kind", NEIGHBOURS)
def test_functions_of_a_script_and_of_its_neighbours_are_shipped_by_value(kind: str, write_script: WriteScript) -> None:
    for name, text in NEIGHBOURS[kind].items():
        write_script(name, text)
    head = "import beside.shift\nbeside.shift = beside.shift.shift\n" if "without" in kind else "import beside\n"
    module = import_script(write_script("flow.py", head + "def f(x):\n    return beside.shift(x)\n"))
    code = "import sys; from meshflow.models.payload import loads; print(loads(sys.stdin.buffer.read())(1.5))"
    done = subprocess.run([sys.executable, "-c", code], input=payload.dumps(module.f), capture_output=True, check=True)
    assert done.stdout == b"11\n"


def test_a_namespace_that_is_only_in_part_beside_the_script_is_not_its_own(
    write_script: WriteScript, tmp_path: Path
) -> None:
    write_script("one/shared/a.py", "")
    write_script("two/shared/b.py", "")
    text = f"import sys\nsys.path.append({str(tmp_path / 'two')!r})\nimport shared.a, shared.b\n"
    try:
        import_script(write_script("one/flow.py", text))
        assert "shared" in sys.modules
    finally:
        for name in ("shared", "shared.a", "shared.b"):
            sys.modules.pop(name, None)

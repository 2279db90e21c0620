"""The pytest plugin, in a pytest of its own."""

import pytest

pytest_plugins = ["pytester"]

pytestmark = pytest.mark.system

TESTS = """
import os, time
import pytest

def double(x):
    return 2 * x

def test_calls(mesh, mesh_slots):
    assert mesh.gather(mesh.map(double, range(5))) == [0, 2, 4, 6, 8]
    assert [report.member.slots for report in mesh.nodes()] == [mesh_slots] == [{slots}]

def test_the_mesh_is_the_same(mesh):
    assert mesh.submit(os.getppid).result() != os.getpid()
    assert mesh.submit(double, 4).result() == 8
"""


@pytest.fixture
def start(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """pytest in a new process in a folder of its own, where the plugin is given by hand unless it is installed."""
    monkeypatch.setenv("PYTHONPATH", str(pytester.path.__class__(__file__).parents[2]))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "meshflow.pytest_plugin")
    return pytester


def test_functions_of_a_test_file_run_on_the_mesh_of_the_fixture(start: pytest.Pytester) -> None:
    start.makepyfile(TESTS.replace("{slots}", "2"))
    start.runpytest_subprocess("-q").assert_outcomes(passed=2)


@pytest.mark.parametrize("way", ["option", "setting", "fixture"])
def test_the_number_of_slots_can_be_set(start: pytest.Pytester, way: str) -> None:
    start.makepyfile(TESTS.replace("{slots}", "3"))
    options = []
    if way == "option":
        options = ["--mesh-slots=3"]
    elif way == "setting":
        start.makeini("[pytest]\nmesh_slots = 3\n")
    else:
        start.makeconftest("import pytest\n@pytest.fixture(scope='session')\ndef mesh_slots():\n    return 3\n")
    start.runpytest_subprocess("-q", *options).assert_outcomes(passed=2)


def test_a_number_that_makes_no_mesh_is_refused(start: pytest.Pytester) -> None:
    start.makepyfile("def test(mesh):\n    pass\n")
    result = start.runpytest_subprocess("-q", "--mesh-slots=0")
    result.stdout.fnmatch_lines(["*a mesh needs at least one slot*"])


def test_a_test_that_does_not_ask_for_a_mesh_has_none(start: pytest.Pytester) -> None:
    start.makepyfile("import sys\ndef test():\n    assert 'meshflow.client' not in sys.modules\n")
    start.runpytest_subprocess("-q").assert_outcomes(passed=1)

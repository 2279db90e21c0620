"""CPython's own tests of executors, run on `meshflow.Executor`: those of any executor, and those of pools of processes.

They are in the package `test` of the standard library, which not every Python has, and are not copied: their mixins are
put on top of classes that make our executor. One local mesh serves them all, but scripts, which start their own. A test
that cannot apply is skipped, with the reason that stands in `DO_NOT_APPLY`.
"""

import os
import sys
import unittest
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import meshflow
from meshflow.client import Client

pytestmark = pytest.mark.system

PACKAGE = "test.test_concurrent_futures"
PARTS = (
    "",
    "util",
    "executor",
    "test_as_completed",
    "test_deadlock",
    "test_init",
    "test_process_pool",
    "test_shutdown",
    "test_wait",
)
"""Up to some release of each version it is one module, later a package."""

SLOTS = 6
"""Of the mesh; CPython's tests make executors of at most five workers."""

LONG = bool(os.environ.get("MESHFLOW_LONG"))

INTERNALS = "it looks into CPython's implementation"
THEIRS = "it is of CPython's own class; test_executor.py has one of ours"
ALIVE = "in CPython a broken call breaks the pool; here it fails by itself, with the error as it is"

DO_NOT_APPLY = {
    "ProcessPoolExecutorTest": {
        "test_max_workers_too_large": "only of Windows",
        "test_killed_child": "the executor is not broken by one call: CPython's pool is",
        "test_traceback": INTERNALS + " (the class of the cause); test_executor.py has one of ours",
        "test_ressources_gced_in_workers": INTERNALS + " (a manager of multiprocessing)",
        "test_saturation": INTERNALS + " (its processes)",
        "test_idle_process_reuse_one": INTERNALS + " (its processes)",
        "test_idle_process_reuse_multiple": INTERNALS + " (its processes)",
        "test_max_tasks_per_child": "there is no max_tasks_per_child",
        "test_max_tasks_per_child_defaults_to_spawn_context": "there is no max_tasks_per_child",
        "test_max_tasks_early_shutdown": "there is no max_tasks_per_child",
        "test_python_finalization_error": INTERNALS + " (its threads)",
    },
    "ProcessPoolShutdownTest": {
        "test_processes_terminate": INTERNALS + " (its processes)",
        "test_context_manager_shutdown": THEIRS,
        "test_del_shutdown": THEIRS,
        "test_shutdown_no_wait": THEIRS,
    },
    "ExecutorDeadlockTest": {
        "test_exit_at_task_unpickle": ALIVE,
        "test_error_at_task_unpickle": ALIVE,
        "test_error_during_result_unpickle_in_result_handler": ALIVE,
        "test_exit_during_result_unpickle_in_result_handler": ALIVE,
        "test_shutdown_deadlock_pickle": INTERNALS + " (its manager thread)",
        "test_gh105829_should_not_deadlock_if_wakeup_pipe_full": INTERNALS + " (its pipe)",
    },
}
"""`{mixin of CPython: {test: why it cannot apply}}`."""

if not LONG:
    DO_NOT_APPLY["ProcessPoolExecutorTest"]["test_map_timeout"] = "it takes six seconds; MESHFLOW_LONG=1 runs it"

MIXINS = (
    "ProcessPoolExecutorTest",
    "ProcessPoolShutdownTest",
    "WaitTests",
    "AsCompletedTests",
    "InitializerMixin",
    "FailingInitializerMixin",
    "ExecutorDeadlockTest",
)

shared: list[Client] = []
"""The client of the mesh, while tests run."""


class Executor(meshflow.Executor):
    """Takes what CPython's tests give to executors. They start scripts with the name of this class, too."""

    def __init__(self, max_workers: int | None = None, mp_context: object = None, **more: Any) -> None:
        super().__init__(max_workers, client=shared[0], **more)


class OurMixin:
    """Has CPython's mixins make our executor."""

    executor_type = Executor

    def get_context(self) -> None:
        """There are no contexts of multiprocessing."""


def parts() -> list[ModuleType]:
    """The modules with CPython's tests; none if this Python lacks them."""
    found = []
    for part in PARTS:
        try:
            found.append(import_module(f"{PACKAGE}.{part}".rstrip(".")))
        except ImportError:
            continue
    return found


def run_script(*arguments: str, **environment: str) -> tuple[int, bytes, bytes]:
    """A script of CPython's tests, with our executor in the place of theirs."""
    option, script = arguments
    script = script.replace("from concurrent.futures import", "from meshflow import")
    environment |= {key: value for key, value in os.environ.items() if key.startswith("MESHFLOW_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(meshflow.__file__).parent.parent), *sys.path])
    code, out, err = import_module("test.support.script_helper").assert_python_ok(option, script, **environment)
    return code, out, err


def nothing(case: unittest.TestCase) -> None:
    """In the place of a test that is skipped."""


def make_tests() -> Iterator[tuple[str, type]]:
    """A class of tests for each of CPython's mixins."""
    modules = parts()
    names = {name: value for module in modules for name, value in vars(module).items()}
    if "BaseTestCase" not in names:
        skipped = {"test_all": unittest.skip(f"this Python has no {PACKAGE}")(nothing)}
        yield "TestCPython", type("TestCPython", (unittest.TestCase,), skipped)
        return
    for module in modules:
        if hasattr(module, "assert_python_ok"):
            module.assert_python_ok = run_script  # type: ignore[attr-defined]
    for mixin in MIXINS:
        reasons = DO_NOT_APPLY.get(mixin, {}).items()
        skipped = {test: unittest.skip(reason)(nothing) for test, reason in reasons if hasattr(names[mixin], test)}
        bases = (names[mixin], OurMixin, names["ExecutorMixin"], names["BaseTestCase"])
        yield f"Test{mixin}", type(f"Test{mixin}", bases, {**skipped, "__module__": __name__})


globals().update(make_tests())


@pytest.fixture(scope="module", autouse=True)
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A mesh for all; scripts find none, and start their own."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        for name in ("MESHFLOW_RUNTIME_DIR", "MESHFLOW_STATE_DIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp("none")))
        shared[:] = [stack.enter_context(meshflow.local(SLOTS))]
        yield

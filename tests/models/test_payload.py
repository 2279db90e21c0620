"""Tasks and data as bytes. Code that nodes do not have comes from a script, as in real life."""

import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import cloudpickle
import pytest

from meshflow.errors import PickleFailed, WorkflowImportError
from meshflow.models import bundles as bundling
from meshflow.models import payload
from meshflow.models.dag import Dag
from meshflow.models.script import import_script
from meshflow.models.task import BaseTask
from meshflow.models.task_data import MultiTaskData, TaskData
from tests.models.conftest import WriteScript

SCRIPT = """
import enum
import threading
from meshflow.models import BaseTask, Dag

FACTOR = 2
CALLS = []
LOCK = threading.Lock()

class Mode(enum.Enum):
    FAST = 1

class FunctionTask(BaseTask):
    def __init__(self, name, function, **more):
        super().__init__(name)
        self.function = function
        self.more = more
        self.mode = Mode.FAST

def double(x):
    CALLS.append(x)
    return len(CALLS), x * FACTOR

def triple(x):
    return x * 3

def current_mode():
    return Mode.FAST

def locked():
    with LOCK:
        return FACTOR

def calls_locked():
    return triple(calls_locked() + locked())

def adds(n):
    return lambda x: x + n

sub_dag = Dag('sub', autostart=False, queue='q')
sub_dag.define({FunctionTask('unpicklable', LOCK): None})

def uses_dag():
    return sub_dag
"""


@pytest.fixture
def script(write_script: WriteScript) -> ModuleType:
    return import_script(write_script("functions.py", SCRIPT))


@pytest.fixture
def pack(script: ModuleType) -> Callable[..., tuple[list[str], dict[str, bytes]]]:
    """Pack tasks of the given names and functions."""

    def packed(*functions: tuple[str, Any], **more: Any) -> tuple[list[str], dict[str, bytes]]:
        return bundling.pack_tasks([script.FunctionTask(name, function, **more) for name, function in functions])

    return packed


THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

Pack = Callable[..., tuple[list[str], dict[str, bytes]]]


def test_a_task_of_a_script_is_made_again_from_bundle_and_name(pack: Pack, script: ModuleType) -> None:
    (digest,), bundles = pack(("t", script.double), unit="mm")
    task = bundling.load_task(bundles[digest], "t")
    assert (task.name, task.more, task.function(4)) == ("t", {"unit": "mm"}, (1, 8))
    assert type(task).__name__ == "FunctionTask"


def test_a_bundle_loads_in_a_process_that_never_saw_the_script(pack: Pack, script: ModuleType) -> None:
    (digest,), bundles = pack(("t", script.double))
    read = "import sys; from meshflow.models.bundles import load_task; "
    show = "task = load_task(sys.stdin.buffer.read(), 't'); print(task.name, task.mode, task.function(4))"
    done = subprocess.run([sys.executable, "-c", read + show], input=bundles[digest], capture_output=True, check=True)
    assert done.stdout == b"t Mode.FAST (1, 8)\n"


def test_tasks_with_the_same_code_share_a_bundle(pack: Pack, script: ModuleType) -> None:
    digests, bundles = pack(("a", script.double), ("b", script.triple), ("c", script.double), ("d", script.triple))
    assert digests[0] == digests[2] != digests[1] == digests[3]
    assert set(bundles) == set(digests)
    assert all(len(digest) == 32 for digest in digests)
    assert bundling.load_task(bundles[digests[3]], "d").function(2) == 6


def test_packing_twice_gives_the_same_digests(pack: Pack, script: ModuleType) -> None:
    functions = [("a", script.triple), ("b", script.triple)]
    assert pack(*functions) == pack(*functions)


def test_ten_thousand_tasks_with_one_callback_pickle_it_once(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    pickled: list[str] = []
    reduce = cloudpickle.Pickler._dynamic_function_reduce

    def counted(self: Any, function: Any) -> Any:
        pickled.append(function.__qualname__)
        return reduce(self, function)

    monkeypatch.setattr(cloudpickle.Pickler, "_dynamic_function_reduce", counted)
    digests, bundles = bundling.pack_tasks([script.FunctionTask(f"t{index}", script.double) for index in range(10_000)])
    assert pickled.count("double") == 1
    assert len(bundles) < 100
    assert max(map(len, bundles.values())) < 2 * 64 * 1024
    assert bundling.load_task(bundles[digests[9_999]], "t9999").function(1) == (1, 2)


def test_large_code_is_not_repeated_for_every_64_kib_of_tasks(script: ModuleType) -> None:
    vars(script)["FACTOR"] = b"x" * 1_000_000
    tasks = [script.FunctionTask(f"t{index}", script.double, filling="y" * 1000) for index in range(1000)]
    _, bundles = bundling.pack_tasks(tasks)
    assert 1 <= len(bundles) <= 2


def test_each_loading_has_globals_of_its_own(pack: Pack, script: ModuleType) -> None:
    (digest,), bundles = pack(("t", script.double))
    bundle = bundling.Bundle(bundles[digest])
    first, second = bundle.task("t"), bundle.task("t")
    assert first.function(1) == (1, 2)
    assert first.function(1) == (2, 2)
    assert second.function(1) == (1, 2)
    assert script.CALLS == []


def test_a_class_means_the_same_to_a_task_and_its_function(pack: Pack, script: ModuleType) -> None:
    (digest,), bundles = pack(("t", script.current_mode))
    task = bundling.load_task(bundles[digest], "t")
    assert task.mode is task.function()


def test_a_function_that_a_task_has_twice_stays_one_function(pack: Pack, script: ModuleType) -> None:
    (digest,), bundles = pack(("t", script.double), again=script.double)
    task = bundling.load_task(bundles[digest], "t")
    assert task.more["again"] is task.function


def test_closures_keep_their_values_apart(pack: Pack, script: ModuleType) -> None:
    digests, bundles = pack(("a", script.adds(1)), ("b", script.adds(10)))
    assert bundling.load_task(bundles[digests[0]], "a").function(1) == 2
    assert bundling.load_task(bundles[digests[1]], "b").function(1) == 11


def test_a_function_mentions_a_dag_without_its_tasks(pack: Pack, script: ModuleType) -> None:
    (digest,), bundles = pack(("t", script.uses_dag))
    dag = bundling.load_task(bundles[digest], "t").function()
    assert isinstance(dag, Dag)
    assert (dag.name, dag.autostart, dag.queue) == ("sub", False, "q")


def test_tasks_behind_a_large_one_share_code_with_those_before_it(script: ModuleType) -> None:
    tasks = [script.FunctionTask(name, script.double) for name in "abc"]
    tasks[1].more = {"table": list(range(100_000))}
    digests, bundles = bundling.pack_tasks(tasks)
    assert len(set(digests)) == 2
    made = [bundling.load_task(bundles[digest], task.name) for digest, task in zip(digests, tasks, strict=True)]
    assert [len(each.more.get("table", ())) for each in made] == [0, 100_000, 0]
    assert [each.function(2) for each in made] == [(1, 4)] * 3


def test_an_empty_list_of_tasks_has_no_bundles() -> None:
    assert bundling.pack_tasks([]) == ([], {})


def test_a_task_of_an_installed_module_needs_no_code_by_value() -> None:
    (digest,), bundles = bundling.pack_tasks([BaseTask("t", retries=3)])
    assert bundling.load_task(bundles[digest], "t").job_options.retries == 3


# --- what cannot be packed ---


@pytest.mark.parametrize(
    ("function", "more", "reason"),
    [
        ("locked", {}, "its function: locked uses 'LOCK': TypeError: cannot pickle '_thread.lock' object"),
        ("calls_locked", {}, "its function: calls_locked uses 'locked': locked uses 'LOCK': TypeError: cannot"),
        ("triple", {"lock": threading.Lock()}, "its more: TypeError: cannot pickle '_thread.lock' object"),
    ],
)
def test_what_cannot_be_pickled_in_a_task_is_named(
    function: str, more: dict[str, Any], reason: str, pack: Pack, script: ModuleType
) -> None:
    with pytest.raises(PickleFailed) as raised:
        pack(("fine", script.triple), ("bad", getattr(script, function)), **more)
    bad = "fine" if more else "bad"
    assert str(raised.value).startswith(f"task '{bad}' cannot be pickled: {reason}")


def test_a_task_that_refuses_as_a_whole_is_named() -> None:
    class Stubborn(BaseTask):
        def __reduce__(self) -> Any:
            raise RuntimeError("I stay here")

    with pytest.raises(PickleFailed, match="task 't' cannot be pickled: RuntimeError: I stay here"):
        bundling.pack_tasks([Stubborn("t")])


def test_a_closure_with_an_empty_cell_is_no_obstacle_to_the_message() -> None:
    lock = threading.Lock()

    def function(*_: object) -> Any:
        return lock, later

    with pytest.raises(PickleFailed, match="task 't' cannot be pickled: its callback_init: TypeError: cannot pickle"):
        bundling.pack_tasks([BaseTask("t", callback_init=function)])
    later = 1


def test_a_task_over_the_limit_is_named_with_its_size(script: ModuleType) -> None:
    tasks = [script.FunctionTask("small", script.triple), script.FunctionTask("big", script.triple, x=b"x" * 10_000)]
    with pytest.raises(PickleFailed, match=r"task 'big' cannot be pickled: it takes 1\d{4} bytes, more than the limit"):
        bundling.pack_tasks(tasks, max_bytes=10_000)


def test_a_task_that_cannot_be_made_here_says_what_is_missing() -> None:
    bundle = pickle.dumps((THIS_PYTHON, pickle.dumps([]), {"t": b"cno_such_module_anywhere\nx\n."}))
    with pytest.raises(
        WorkflowImportError, match=r"task 't' cannot be loaded on this node: ModuleNotFoundError: .*inst"
    ):
        bundling.load_task(bundle, "t")


def test_code_of_another_python_is_told_as_such() -> None:
    (digest,), bundles = bundling.pack_tasks([BaseTask("t")])
    _, code, tasks = pickle.loads(bundles[digest])
    assert bundling.load_task(pickle.dumps(("3.5", code, tasks)), "t").name == "t"
    with pytest.raises(WorkflowImportError, match=r"submitted from Python 3\.5 and this node runs 3"):
        bundling.load_task(pickle.dumps(("3.5", b"no pickle", tasks)), "t")


# --- data ---


def test_data_comes_back_with_aliases_default_and_history() -> None:
    data = MultiTaskData(dataset=TaskData({"x": {1, 2}}, task_history=["a"]), aliases=["a"])
    data.add_dataset("b", TaskData({"y": lambda: 7}))
    data.set_default_by_alias("b")
    back = payload.load_data(payload.dump_data(data))
    assert isinstance(back, MultiTaskData)
    assert (back("a")["x"], back("a").task_history, back["y"]()) == ({1, 2}, ["a"], 7)


PLAIN = {"numbers": [1, -(2**70), 0.5, True, None], "bytes": (b"b", bytearray(b"a")), "text": {"ä"}, 4: {"in": {}}}


def test_plain_data_comes_back_equal_and_cloudpickle_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloudpickle.Pickler, "dump", None)
    shared = [1]
    data = MultiTaskData(dataset=TaskData(PLAIN | {"one": shared, "two": shared}), aliases=["a"])
    back = payload.load_data(payload.dump_data(data))
    assert back.default_dataset.data == data.default_dataset.data
    assert back["one"] is back["two"]


PROGRAM = """
import enum, pickle, sys
from meshflow.models import payload
from meshflow.models.task_data import MultiTaskData, TaskData

def double(x):
    return 2 * x

class Text(str):
    pass

class Table(dict):
    pass

class Mode(enum.IntEnum):
    FAST = 1

class Datasets(MultiTaskData):
    def count(self):
        return len(list(self))

plain = TaskData({"x": 1})
made = [payload.dump_data(Datasets(dataset=plain)), payload.dumps(double)]
values = [double, Text, Text("x"), Text("x").join, Table(a=1), Mode.FAST, [({"k": [Text("y")]},)], {1: {Mode.FAST}}]
for value in values:
    made.append(payload.dump_data(MultiTaskData(dataset=TaskData({"fine": "x" * 10, "v": value}))))
sys.stdout.buffer.write(pickle.dumps(made))
"""


def test_what_a_program_defines_goes_with_its_data_wherever_it_stands() -> None:
    """It can be found by name where it is pickled, as `__main__`, but not where it is read."""
    made = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True).stdout
    read = "import pickle, sys; from meshflow.models.payload import loads; "
    show = "print(*map(loads, pickle.loads(sys.stdin.buffer.read())), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", read + show], input=made, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert len(done.stdout.splitlines()) == len(pickle.loads(made)) == 10


def test_an_object_of_a_class_of_a_script_comes_back_as_the_class_its_tasks_have(
    pack: Pack, script: ModuleType
) -> None:
    """Of a class shipped by value there is one per process, however many tasks and data bring it along."""
    (digest,), bundles = pack(("t", script.current_mode))
    task = bundling.load_task(bundles[digest], "t")
    assert payload.loads(payload.dumps(task.mode)) is bundling.load_task(bundles[digest], "t").mode


def test_the_key_of_a_value_that_cannot_be_pickled_is_named() -> None:
    data = MultiTaskData(dataset=TaskData({"fine": 1, "lock": threading.Lock()}))
    with pytest.raises(
        PickleFailed, match=r"the value under 'lock' \(lock\) cannot be pickled: TypeError: cannot pickle"
    ):
        payload.dump_data(data)


def test_data_that_is_too_large_as_a_whole_has_no_key_to_name() -> None:
    data = MultiTaskData(dataset=TaskData({"a": "x" * 100, "b": "x" * 100}))
    with pytest.raises(
        PickleFailed, match=r"a value of type MultiTaskData cannot be pickled: it takes .* limit of 100"
    ):
        payload.dump_data(data, max_bytes=100)
    assert payload.load_data(payload.dump_data(data)).default_dataset.data == data.default_dataset.data


def test_recursion_too_deep_is_a_failure_like_any_other() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(PickleFailed, match="deep"):
        payload.dumps(value)

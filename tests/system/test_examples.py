"""Every example on a mesh of three nodes, with the results that the Lightflow ones always had.

One mesh runs them all. The example `queues` starts three more nodes, for the queues that it asks for.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from meshflow.core.records import State
from meshflow.errors import WorkflowArgumentError
from meshflow.run_handle import RunHandle
from tests.system.real_mesh import RealMesh, events, finish, printed, words

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMesh]:
    """A node that drives runs, and two that work."""
    mesh = RealMesh(tmp_path_factory.mktemp("examples") / "mesh")
    try:
        mesh.start("driver", ("workflow", "dag"))
        mesh.start("worker1", ("task",))
        mesh.start("worker2", ("task",))
        mesh.await_ready()
        yield mesh
    finally:
        mesh.close()
        print(mesh.logs())


def run(mesh: RealMesh, name: str, state: State = State.COMPLETED, **arguments: object) -> RunHandle:
    """The run of an example, ended in `state`."""
    handle = mesh.submit(name, arguments, keep_data=True)
    assert finish(handle) is state, handle.reason
    return handle


def context(run: RunHandle, task: str, dag: str = "main_dag:1") -> str:
    """How a line begins that tells where a task runs."""
    return f"Task {task} is running in dag {dag} of workflow {run.name} ({run.id})"


def test_simple(mesh: RealMesh) -> None:
    """The value that one task leaves is what the next one finds."""
    handle = run(mesh, "simple")
    first, second = printed(handle)
    assert first.startswith(context(handle, "put_task") + " on worker")
    assert second == "The value is: 5"
    told = [(event.type, event.name, event.word) for event in events(handle) if event.word != "queued"]
    assert sorted(told) == sorted(
        (kind, name, word)
        for kind, name in [("workflow", "simple"), ("dag", "main_dag:1"), ("task", "put_task"), ("task", "print_task")]
        for word in ("started", "succeeded")
    )


def test_sequence(mesh: RealMesh) -> None:
    """Three tasks in a row count to three."""
    handle = run(mesh, "sequence")
    lines = printed(handle)
    assert lines[1::2] == ["This is task #1", "This is task #2", "This is task #3"]
    for number, line in enumerate(lines[::2], 1):
        assert line.startswith(context(handle, f"task_{number}"))


def test_parallel(mesh: RealMesh) -> None:
    """Three lanes in any order between the fork and the join."""
    handle = run(mesh, "parallel")
    lines = printed(handle)
    lanes = [context(handle, f"lane{number}_print_task") for number in (1, 2, 3)]
    assert (lines[0], sorted(lines[1:4]), lines[4]) == (
        context(handle, "branch_task"),
        lanes,
        context(handle, "t_join_me"),
    )


def test_branching(mesh: RealMesh) -> None:
    """Two lanes are chosen, the third is skipped, and the join runs."""
    handle = run(mesh, "branching")
    lines = printed(handle)
    assert lines[0] == context(handle, "put_task")
    assert sorted(lines[1:3]) == [f"Task lane{number}_print_task has the value 5" for number in (1, 2)]
    assert lines[3:] == ["Task t_join_me has the value 5"]
    assert words(handle, "lane3_print_task") == ["skipped"]


def test_decision(mesh: RealMesh) -> None:
    """Exactly one of the two ways is taken, the right one."""
    handle = run(mesh, "decision")
    (line,) = printed(handle)
    kind, _, number = line.partition(" number: ")
    assert kind == ("Small" if float(number) < 0.5 else "Large")
    ends = [words(handle, "small_number_task"), words(handle, "large_number_task")]
    assert sorted(ends) == [["skipped"], ["succeeded"]]


def test_multi_data(mesh: RealMesh) -> None:
    """Each task takes its input from the right dataset."""
    handle = run(mesh, "multi_data")
    assert sorted(printed(handle)) == [
        f"print_task_{number}: {value}" for number, value in enumerate((5, 25, 125, -120), 1)
    ]


def test_data_store(mesh: RealMesh) -> None:
    """What the tasks kept is there afterwards, of the right types."""
    handle = run(mesh, "data_store")
    assert printed(handle) == ["The number is: 5", "The dimension of the image is: (100, 100)"]
    store = handle.store
    assert (store.get("number"), store.get("buffer.observable"), store.get("sample.spectra")) == (50, 20, [7])
    assert store.get("image").shape == (100, 100)
    first, *others = store.get("filenames")
    assert first == "file_a"
    assert "file_b" in others
    others.remove("file_b")
    assert others == [["nested_a", "nested_b"], "file_c", "file_d"]


def test_parameters_without_the_one_that_has_no_default_is_refused(mesh: RealMesh) -> None:
    """The error names it."""
    with pytest.raises(WorkflowArgumentError, match="filepath"):
        mesh.submit("parameters")


def test_parameters(mesh: RealMesh) -> None:
    """Arguments are converted, defaults filled in, and both are in the store."""
    handle = run(mesh, "parameters", filepath="/data")
    assert printed(handle) == ["The filepath is: /data", "The number of iterations is: 1"]
    handle = run(mesh, "parameters", filepath="/data", iterations="3")
    assert printed(handle) == ["The filepath is: /data", "The number of iterations is: 3"]
    assert [handle.store.get(key) for key in ("iterations", "recursive", "threshold")] == [3, True, 0.4]


def test_bash(mesh: RealMesh) -> None:
    """Lines come as they are written, and all of them again at the end."""
    handle = run(mesh, "bash")
    lines = [f"This is line {number}" for number in range(1, 11)]
    told = ["Return code: 0", "Number of lines: 10", "stdout:", *lines, "", "stderr:", ""]
    assert printed(handle) == [*lines, *told]


def test_stop(mesh: RealMesh) -> None:
    """Three tasks stop, one successor runs, and the workflow succeeds."""
    handle = run(mesh, "stop")
    lines = printed(handle)
    assert lines[0] == "Dag main_dag:1 starts"
    expected = [context(handle, "print_task_2"), *(f"The line is: {number}" for number in range(1, 5))]
    assert sorted(lines[1:]) == sorted(expected)
    ends = {name: words(handle, name) for name in ("bash_task", "stop_noskip_task", "stop_task")}
    assert ends == {name: ["stopped"] for name in ends}
    assert [words(handle, f"print_task_{number}") for number in (1, 2, 3)] == [["skipped"], ["succeeded"], ["skipped"]]
    assert words(handle, "main_dag:1") == words(handle, "stop") == ["succeeded"]


def test_abort(mesh: RealMesh) -> None:
    """One task aborts the workflow, with a reason."""
    handle = run(mesh, "abort", State.ABORTED)
    assert "At least 5 images are required" in handle.reason
    assert [words(handle, name) for name in ("check_task", "main_dag:1", "abort")] == [["aborted"]] * 3
    (event,) = [event for event in events(handle) if event.name == "check_task" and event.word == "aborted"]
    assert "At least 5 images are required" in event.reason


def test_sub_dag(mesh: RealMesh) -> None:
    """Five dag runs get the data and are waited for."""
    handle = run(mesh, "sub_dag")
    lines = printed(handle)
    names = [f"sub_dag:{number}" for number in range(1, 6)]
    assert sorted(lines[:5]) == [f"{name}: the dimension of the image is (100, 100)" for name in names]
    assert lines[5:] == [f"Finished: {', '.join(names)}"]


def test_timing(mesh: RealMesh) -> None:
    """The last task reads how long the others took, and where."""
    handle = run(mesh, "timing")
    lines = printed(handle)
    assert len(lines) == 4
    for number, line in enumerate(lines[:3], 1):
        start, _, rest = line.partition(" took ")
        duration, _, worker = rest.partition(" seconds on ")
        assert start == f"sleep_task_{number}"
        assert 0.1 <= float(duration) < 2.0
        assert worker in ("worker1", "worker2")
    assert lines[3].startswith("print_task is still running on worker")


def test_chunking_dag(mesh: RealMesh) -> None:
    """One dag run per scan, in order of the list."""
    handle = run(mesh, "chunking_dag")
    assert sorted(printed(handle)) == [
        "print_dag:1: copper_0001.dat, copper_0002.dat",
        "print_dag:2: silicon_0001.dat, silicon_0002.dat, silicon_0003.dat",
        "print_dag:3: quartz_0001.dat",
        "print_dag:4: quartz_0002.dat",
        "print_dag:5: mica_0001.dat",
    ]


def test_nested_joins(mesh: RealMesh) -> None:
    """Dags that start dags that start dags, on four slots."""
    handle = run(mesh, "nested_joins")
    lines = printed(handle)
    assert sorted(lines[:3]) == [f"Plate {number} is done" for number in (1, 2, 3)]
    assert lines[3:] == ["All plates are done", "Number of stars in 6 fields: 129"]


def test_retries(mesh: RealMesh) -> None:
    """The third attempt works; the events tell of the first two."""
    handle = run(mesh, "retries")
    lines = printed(handle)
    assert lines[0] == "Attempt 3: the detector counted 1234"
    assert sorted(lines[1:]) == ["Alarm: 1234 is too much", "Archived: 1234"]
    assert words(handle, "read_task") == ["failed", "failed", "succeeded"]


def test_decorated(mesh: RealMesh) -> None:
    """The mean decides which way is taken; the other one is None to the last task."""
    for threshold, said in ((100, "100 was archived"), (99, "100 is too much")):
        handle = run(mesh, "decorated", threshold=threshold)
        assert printed(handle) == [f"{said} (task report of survey:1)"]
    assert [words(handle, name) for name in ("read_3", "alarm", "archive")] == [
        ["succeeded"],
        ["succeeded"],
        ["skipped"],
    ]
    assert (handle.result("read_3"), handle.result("mean")) == ([120, 150, 180], 100.0)


def test_mapped(mesh: RealMesh) -> None:
    """There is a task for each chapter, however many there are, and the results are in order."""
    handle = run(mesh, "mapped", chapters=4)
    assert printed(handle) == ["Words in 4 chapters: [4, 6, 3, 5], at most 6"]
    assert (handle.result("count"), handle.result("count[1]")) == ([4, 6, 3, 5], 6)
    handle = run(mesh, "mapped", chapters=0)
    assert printed(handle) == ["Words in 0 chapters: [], at most 0"]


def test_cached(mesh: RealMesh) -> None:
    """What was computed in one run is not computed again in the next."""
    first = run(mesh, "cached", fields=2)
    assert sorted(printed(first)) == [
        "There are 5 stars",
        "adding up 2 fields",
        "counting the stars of field 1",
        "counting the stars of field 2",
    ]
    second = run(mesh, "cached", fields=3)
    assert sorted(printed(second)) == ["There are 14 stars", "adding up 3 fields", "counting the stars of field 3"]
    third = run(mesh, "cached", fields=3)
    assert printed(third) == ["There are 14 stars"]
    assert {each.name for each in third.view().tasks if each.reason.startswith("cached: ")} == {
        *(f"stars[{number}]" for number in range(3)),
        "total",
    }


def test_queues(mesh: RealMesh) -> None:
    """Work goes to the nodes that serve its queues, and waits until they are there, which status tells."""
    handle = mesh.submit("queues", queue="main", keep_data=True)
    status = mesh.cli("status")
    assert "main" in status.stdout.split("!", 1)[-1], status.stdout
    mesh.start("main", ("main",))
    mesh.start("graph", ("graph", "task"))
    mesh.start("big", ("high_memory",))
    mesh.await_ready("main", "graph", "big")
    assert finish(handle) is State.COMPLETED, handle.reason
    first, second = printed(handle)
    assert first.startswith(context(handle, "print_task"))
    assert second == context(handle, "print_memory_task") + " on big"
    mesh.stop("main", "graph", "big")


def test_every_example_is_tried() -> None:
    """A new example needs a test of its own above."""
    folder = Path(__file__).parents[2] / "meshflow" / "examples"
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {path.stem for path in folder.glob("*.py")} <= tests

"""Who descends from whom, and how an end is told."""

import os
import signal
import subprocess

import pytest

from meshflow.runtime import processes


def test_descendants_come_after_their_parents() -> None:
    table = {1: [2, 3], 3: [4], 4: [5, 6], 7: [8]}

    assert processes.descendants(1, table) == [2, 3, 4, 5, 6]
    assert processes.descendants(4, table) == [5, 6]
    assert processes.descendants(8, table) == []


def test_the_table_of_processes_knows_our_children_whatever_their_name() -> None:
    # The name of a process is what it was started as, brackets and spaces included.
    with subprocess.Popen(["bash", "-c", "exec -a 'a) S 1 (b' sleep 60"]) as child:
        assert child.pid in processes.children_by_parent()[os.getpid()]
        child.kill()


def test_a_whole_tree_is_killed() -> None:
    with subprocess.Popen(["sh", "-c", "setsid sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        grandchild = os.pidfd_open(int(child.stdout.readline()))

        processes.kill_trees([child.pid])

        assert child.wait(10) == -signal.SIGKILL
        signal.pidfd_send_signal  # noqa: B018
        os.set_blocking(grandchild, True)
        import select

        assert select.select([grandchild], [], [], 10)[0]
        os.close(grandchild)


def test_has_children_sees_the_living_and_reaps_the_dead() -> None:
    pid = os.fork()
    if pid == 0:
        # A process of its own, so that the children of the test runner do not count.
        os._exit(_tell_children())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _tell_children() -> int:
    """0 if all is as it should be, else the number of what is not."""
    if processes.has_children():
        return 1
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    if not processes.has_children():
        return 2
    os.close(writer)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    return 3 if processes.has_children() else 0


def test_a_signal_to_a_process_that_is_gone_does_nothing() -> None:
    child = subprocess.Popen(["true"])
    child.wait()

    processes.send_signal(child.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "exited with code 0"),
        (3, "exited with code 3"),
        (-9, "was killed by SIGKILL"),
        (-99, "was killed by signal 99"),
    ],
)
def test_exit_codes_are_told_in_words(code: int, text: str) -> None:
    assert processes.describe_exit_code(code) == text

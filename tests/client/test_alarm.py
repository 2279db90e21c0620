"""An alarm wakes, is quiet again, and harms nobody after its end."""

import os
import select

from meshflow.alarm import Alarm


def rings(alarm: Alarm) -> bool:
    """Whether who waits is woken."""
    return bool(select.select([alarm], [], [], 0)[0])


def test_it_rings_until_it_is_told_to_be_quiet() -> None:
    alarm = Alarm()
    assert not rings(alarm)
    alarm.ring()
    alarm.ring()
    assert rings(alarm)
    alarm.quiet()
    alarm.quiet()
    assert not rings(alarm)
    alarm.close()


def test_who_rings_late_does_not_write_to_what_has_its_descriptor_now() -> None:
    reader, writer = os.pipe()
    alarm = Alarm()
    fileno = alarm.fileno()
    alarm.close()
    alarm.close()
    os.dup2(writer, fileno)
    alarm.ring()
    os.close(fileno)
    os.close(writer)
    assert os.read(reader, 8) == b""
    os.close(reader)

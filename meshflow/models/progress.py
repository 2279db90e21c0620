"""How far a task process is with the calls of a packet: a page of memory that it shares with the client which feeds it.

A packet is given to the process as a whole, and the kernel gives nothing of it back. So the process writes down each
call before it begins it, and then looks whether the client wants no more of the packet to be begun. The client says so
first, and reads some milliseconds later how far the process has come: by then it has either seen the one, or shown the
other. So no call is both made there and taken back (`leases.py`).
"""

import mmap
import os

BEGUN, HALT = range(2)
"""Cells in which a process shows which call of which packet it has begun, and is told of which packet to begin no
more."""

BITS = 32
"""Of the number of a call; above them is that of the packet."""

_BYTES = mmap.PAGESIZE


class Progress:
    """The page; `fileno` is what the other side has sent, and is closed. None: a new one."""

    def __init__(self, fileno: int | None = None) -> None:
        """Raises OSError: there is no descriptor or memory for it."""
        self.fileno = os.memfd_create("meshflow-progress") if fileno is None else fileno
        """For the other side; closed with `sent`."""
        try:
            if fileno is None:
                os.ftruncate(self.fileno, _BYTES)
            self.cells = memoryview(mmap.mmap(self.fileno, _BYTES)).cast("Q")
            """For `calls.Callee`."""
        except BaseException:
            os.close(self.fileno)
            raise
        if fileno is not None:
            self.sent()

    def sent(self) -> None:
        """The other side has the page, or does not want it: no further one can."""
        if self.fileno >= 0:
            os.close(self.fileno)
            self.fileno = -1

    def halt(self, packet: int) -> None:
        """Have no more calls of a packet begun, but for its first."""
        self.cells[HALT] = packet

    def begun(self, packet: int) -> int:
        """How many calls of a packet were begun."""
        number, count = divmod(self.cells[BEGUN], 1 << BITS)
        return int(count) if number == packet else 0

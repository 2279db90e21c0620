"""How a client looks after its calls."""

from dataclasses import dataclass

MARGIN_BYTES = 1024 * 1024
"""What a message may hold beside one call, or one result: the rest of a batch, names and numbers."""


@dataclass(frozen=True, slots=True)
class CallerSettings:
    """How a client looks after its calls."""

    lost_s: float = 2.0
    """A batch that its node does not list so long after it was sent was lost on the way."""
    silent_s: float = 3.0
    """Seconds without a word about batches after which their node is asked. Above the worker's `holding_s`."""
    max_losses: int = 3
    """A call whose nodes died so often fails: it may be what kills them."""
    max_batches: int = 1024
    """Batches of a function that are in line for credit at a time."""
    max_out: int | None = None
    """Batches out at a time, so calls that run. None: as many as the mesh takes."""
    max_message_bytes: int = 64 * 1024 * 1024
    """That of the transport."""

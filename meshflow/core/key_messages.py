"""Messages about the keys of the mesh, between clients and the shells of nodes; no machine of the core acts on them."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AskKeys:
    """Which mesh keys do you hold, and could you replace them? Answered by KeysHeld."""

    number: int


@dataclass(frozen=True, slots=True)
class UseKeys:
    """Replace the mesh keys that you hold, if they are still those that I think. Answered by KeysHeld."""

    number: int
    held: tuple[str, ...]
    """Fingerprints of the keys that are to be replaced."""
    keys: tuple[str, ...] = field(repr=False)
    """The new ones as text, the one to be in use first. Secret."""


@dataclass(frozen=True, slots=True)
class KeysHeld:
    """These are my mesh keys now."""

    number: int
    held: tuple[str, ...]
    """Their fingerprints, that of the key in use first."""
    problem: str = ""
    """Why they cannot be replaced, or were not; empty: nothing stands against it."""

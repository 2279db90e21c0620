"""How a broken promise is told."""


class Violation(AssertionError):
    """An invariant does not hold; the text says which, and where."""


def require(condition: bool, text: str) -> None:
    """Insist on `condition`.

    Raises:
        Violation: it does not hold; `text` says what was found.
    """
    if not condition:
        raise Violation(text)

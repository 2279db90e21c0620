"""Lengths of time as people write them: `30d`, `12h`, `45m`, `90s`."""

import re

UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}

EXPECTED = "a number and a unit, such as 30d, 12h, 45m or 90s"
"""What to say to who wrote it another way."""

_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")


def seconds_of(text: str) -> float | None:
    """The length in seconds; None if the text is none. A number without a unit is none: it could mean anything."""
    found = _FORM.fullmatch(text.strip())
    return float(found[1]) * UNITS_S[found[2]] if found else None

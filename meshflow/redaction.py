"""Settings as they may be shown: everything but what is secret.

What is secret is told by the name of its key, and in URLs by its place: the password of the user, and options whose
names say so. Names of files are no secrets (`password_file`).
"""

import re
from typing import Any

_HOST = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(:\d*)?")
_SECRET_WORDS = ("password", "secret", "token", "authmechanismproperties")
_HIDDEN = "***"


def redact(value: Any, word: str = "") -> Any:
    """A copy of `value`, which stands under the key `word`, with every secret in it replaced by `***`."""
    if isinstance(value, dict):
        return {key: redact(below, str(key)) for key, below in value.items()}
    if isinstance(value, list):
        return [redact(below, word) for below in value]
    if value and _is_secret(word):
        return _HIDDEN
    return _shown_url(value) if isinstance(value, str) else value


def _is_secret(word: str) -> bool:
    return any(secret in word.lower() for secret in _SECRET_WORDS) and not word.lower().endswith("_file")


def _shown_url(text: str) -> str:
    """`text` without the secrets of a URL `scheme://user:password@place?option=value`."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        return text
    # The last "@", and the first "?" after it: either should have been escaped in a password, and may not be.
    user, at, place = rest.rpartition("@")
    name, colon, _ = user.partition(":")
    place, mark, options = place.partition("?")
    shown = [
        option if not _is_secret(option.partition("=")[0]) else f"{option.partition('=')[0]}={_HIDDEN}"
        for option in options.split("&")
    ]
    login = f"{name}:{_HIDDEN}" if at and colon else user
    if not at:  # then a password may stand where the port should, because the host was forgotten
        hosts, slash, path = place.partition("/")
        place = ",".join(map(_shown_host, hosts.split(","))) + slash + path
    return f"{scheme}{separator}{login}{at}{place}{mark}{'&'.join(shown)}"


def _shown_host(host: str) -> str:
    return host if _HOST.fullmatch(host) else f"{host.partition(':')[0]}:{_HIDDEN}"

"""MongoDB URLs, read without their secrets. Whether a URL is right is for pymongo to say; this only takes it apart."""

import re
import socket

DEFAULT_DATABASE = "meshflow"
_DEFAULT_PORT = ":27017"
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_HOST = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(:\d*)?")


def store_name(url: str, database: str | None = None) -> str:
    """What may be shown of a MongoDB URL, and tells one store from another: hosts in order, and the database.

    `database` goes before the one in the URL. Loopback addresses become the name of this host, for every host has its
    own. Options are left out: some are secret.
    """
    scheme, hosts, named, _ = _parts(url)
    names = [host.lower().removesuffix(_DEFAULT_PORT) for host in hosts.split(",")]
    here = socket.gethostname()
    for index, name in enumerate(names):
        for loopback in _LOOPBACK:
            if name == loopback or name.startswith(loopback + ":"):
                names[index] = here + name.removeprefix(loopback)
    return f"{scheme}://{','.join(sorted(names))}/{database or named or DEFAULT_DATABASE}"


def shown(url: str, database: str | None = None) -> str:
    """A MongoDB URL as its user wrote it, for messages: without user, password and options, of which some are secret.

    Unlike `store_name` it keeps hosts as they are and in their order, so that who reads it knows them again. What
    stands where a port should may be a password, if the host was forgotten, and is left out.
    """
    scheme, hosts, named, _ = _parts(url)
    names = [host if _HOST.fullmatch(host) else f"{host.partition(':')[0]}:..." for host in hosts.split(",")]
    return f"{scheme}://{','.join(names)}/{database or named or DEFAULT_DATABASE}"


def database_of(url: str) -> str:
    """The database that a MongoDB URL names, or the default one."""
    return _parts(url)[2] or DEFAULT_DATABASE


def options_of(url: str) -> list[str]:
    """Names of the options in a MongoDB URL, in lower case (their case does not matter)."""
    return [option.partition("=")[0].lower() for option in _parts(url)[3].split("&") if option]


def _parts(url: str) -> tuple[str, str, str, str]:
    """Scheme, hosts, database and options."""
    scheme, _, rest = url.partition("://")
    # The last "@": one in the password should have been escaped, but a forgotten one must not let it be seen.
    address, _, options = rest.rpartition("@")[2].partition("?")
    hosts, _, database = address.partition("/")
    return scheme, hosts, database, options

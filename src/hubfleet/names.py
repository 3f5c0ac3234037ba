"""One safe, unique, stable system name for every login name.

A login name may be anything an identity provider hands out: capitals, spaces, ``..``, 200 characters of Unicode.
A system name goes into paths, process listings and cgroup names, so it has 1 to 30 characters out of ``a-z 0-9 _ -``
and starts with a letter.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from urllib.parse import quote

MAX_LENGTH = 30
MAX_LOGIN = 128
TEST_PREFIX = "loadtest-"
"""How the names of a load test's people begin. Nobody else can sign up under such a name."""
MOST_TEST_PEOPLE = 2000
_PLAIN = re.compile(r"[a-z](?:[a-z0-9_]|-(?!-))*")
_HASH_CHARS = 16  # 64 bits: among a million names that share one slug, a collision has odds of 3 in 100 million

# Plain names that mean something to the operating system. They get a hash so that no listing misleads an operator.
_RESERVED = frozenset(
    {"root", "daemon", "bin", "sys", "adm", "sync", "games", "man", "lp", "mail", "news", "uucp", "proxy", "backup"}
    | {"list", "irc", "nobody", "nogroup", "sudo", "wheel", "systemd", "messagebus", "sshd", "hubfleet"}
)


def has_control(text: str) -> bool:
    """Whether the text holds control, format, private or unassigned characters, or a line break."""
    return any(unicodedata.category(char)[0] == "C" or char in "\u2028\u2029" for char in text)


def valid_login(name: str) -> bool:
    """Whether this can be a login name: 1 to 128 characters on one line, no ``/``, no spaces at its edges."""
    plain = name == name.strip() and name not in ("", ".", "..") and len(name) <= MAX_LOGIN
    return plain and "/" not in name and not has_control(name)


def system_name(login: str) -> str:
    """The system name of a login name (or of a named server's name).

    Plain names stay as they are (``alice`` -> ``alice``). Everything else becomes a readable slug, ``--`` and a hash of
    the exact login name (``Ada Lovelace`` -> ``ada-lovelac--5f2e...``). Plain names never contain ``--``, so the two
    kinds cannot meet.

    Raises ValueError for the empty name.
    """
    if not login:
        raise ValueError("a login name must not be empty")
    if len(login) <= MAX_LENGTH and _PLAIN.fullmatch(login) and login not in _RESERVED and not login.endswith("-"):
        return login
    digest = hashlib.sha256(login.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_CHARS]
    ascii_form = unicodedata.normalize("NFKD", login).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_form).strip("-")
    slug = slug[: MAX_LENGTH - _HASH_CHARS - 2].rstrip("-")
    if not slug or not slug[0].isalpha():
        slug = ("u" + slug)[: MAX_LENGTH - _HASH_CHARS - 2]
    return f"{slug}--{digest}"


def in_address(name: str) -> str:
    """A user's or server's name inside an address, written as JupyterHub writes it."""
    return quote(name, safe="@~")


def server_id(login: str, server: str = "") -> str:
    """Identifies one server of one user: the user's system name, and ``.name`` for a named server.

    System names contain no dot, so two different (user, server) pairs never share an id.
    """
    return system_name(login) + (f".{system_name(server)}" if server else "")


def short_id(identifier: str) -> str:
    """A 16-character stand-in for a server id where length matters: a Unix socket path has 107 characters at most."""
    return hashlib.sha256(identifier.encode()).hexdigest()[:16]

"""Where programs look for a user's token: files in the home, and the environment.

Those of a Tapis tenant are in the forms that its command line (`~/.agave/current`) and agavepy (`~/.agpy`) have for it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MARK = "hubfleet"
"""The client's name in files that are ours."""
SAVED = ".saved-by-hubfleet"
"""Ends the name of what was in the place of such a file, and was not ours; further ones have a number after it."""


def variables(told: dict[str, Any]) -> dict[str, str]:
    """What programs look for in their environment: agavepy for TAPIS_*, the older command line for AGAVE_*."""
    if told["kind"] == "oidc":
        return {"OIDC_ISSUER": str(told["issuer"]), "OIDC_ACCESS_TOKEN": str(told["access_token"])}
    found = {
        "TAPIS_BASE_URL": told["base_url"],
        "TAPIS_TENANT_ID": told["tenant"],
        "TAPIS_USERNAME": told["username"],
        "TAPIS_TOKEN": told["access_token"],
        "AGAVE_BASE_URL": told["base_url"],
        "AGAVE_TENANTID": told["tenant"],
        "AGAVE_USERNAME": told["username"],
        "AGAVE_TOKEN": told["access_token"],
        "AGAVE_DISABLE_AUTO_REFRESH": "1",  # it would overwrite the file, and cannot renew this token
    }
    return {name: str(value) for name, value in found.items()}


def write_files(home: Path, told: dict[str, Any]) -> None:
    """Put the token where programs look for it, readable by the user alone. Raises OSError, with the old files intact.

    Not through a link: what it leads to may be read by others.
    """
    with _opened(str(home)) as at_home:
        if told["kind"] == "oidc":
            names = ("issuer", "username", "access_token", "created_at", "expires_at")
            content = {**{name: told[name] for name in names}, "client_name": MARK}
            _replace(at_home, ".oidc-token.json", json.dumps(content))
            return
        current, client = _of_tenant(told)
        with contextlib.suppress(FileExistsError):
            os.mkdir(".agave", 0o700, dir_fd=at_home)
        with _opened(".agave", at_home) as cache:
            _replace(cache, "current", json.dumps(current))
        _replace(at_home, ".agpy", json.dumps([client]))


def _of_tenant(told: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The command line's session, and agavepy's client. Nothing in them renews the token: the hub keeps that."""
    created, ends = int(told["created_at"]), int(told["expires_at"])
    both = {
        "username": told["username"],
        "refresh_token": "",
        "client_name": MARK,
        "created_at": str(created),
        "expires_in": str(max(0, ends - created)) if ends else "",
        "expires_at": time.ctime(ends) if ends else "",
    }
    current = {"tenantid": told["tenant"], "baseurl": told["base_url"], "devurl": "", "apikey": "", "apisecret": ""}
    client = {"tenant_id": told["tenant"], "api_server": told["base_url"], "api_key": "", "api_secret": ""}
    token = told["access_token"]
    return {**current, "access_token": token, **both}, {**client, "token": token, "verify": True, **both}


@contextlib.contextmanager
def _opened(path: str, above: int | None = None) -> Iterator[int]:
    """A directory of the user's own; with ``above``, no link to one."""
    link = 0 if above is None else os.O_NOFOLLOW
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | link, dir_fd=above)
    try:
        if above is not None and os.fstat(descriptor).st_uid != os.geteuid():
            raise PermissionError(f"{path} is somebody else's")
        yield descriptor
    finally:
        os.close(descriptor)


def _replace(directory: int, name: str, text: str) -> None:
    """Write a file whole or not at all; one that is not ours is kept under another name."""
    # Another server of this user's may write at the same time, with the same process id in a container of its own.
    part = f".{name.lstrip('.')}.{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(part, flags, 0o600, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fchmod(file.fileno(), 0o600)
            os.fsync(file.fileno())
        if _is_foreign(directory, name):
            _save(directory, name)
        os.replace(part, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part, dir_fd=directory)
        raise


def _save(directory: int, name: str) -> None:
    """Give what is there a name that nothing has."""
    taken = set(os.listdir(directory))
    further = (f"{name}{SAVED}-{number}" for number in itertools.count(2))
    free = next(one for one in itertools.chain([f"{name}{SAVED}"], further) if one not in taken)
    with contextlib.suppress(FileNotFoundError):  # another server of this user's has just done so
        os.replace(name, free, src_dir_fd=directory, dst_dir_fd=directory)


def _is_foreign(directory: int, name: str) -> bool:
    """Whether something is there that this did not write."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except FileNotFoundError:
        return False
    except OSError:  # a link, or what may not be read
        return True
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return True
        try:
            found = json.loads(file.read(65_536))
        except ValueError:
            return True
    found = found[0] if isinstance(found, list) and found else found
    return not (isinstance(found, dict) and found.get("client_name") == MARK)

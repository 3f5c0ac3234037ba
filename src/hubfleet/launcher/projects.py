"""The projects that somebody belongs to: of the configuration's groups, and of a REST service.

The service is asked in the hub's name, with a token of its own, at each start. What it said before is not kept: who has
left a project must not find it again because the service is away.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from hubfleet.config import Config, Mount
from hubfleet.config.belonging import NOWHERE, Belonging
from hubfleet.config.effective import groups_of
from hubfleet.config.projects import is_project_id
from hubfleet.errors import ConfigError
from hubfleet.launcher.rest import LIMIT_S, NoAnswer, Rest

log = logging.getLogger("hubfleet.launcher")

MOST = 200
_MOST_NAME = 100  # bytes; with an id of 128 behind it less than the 255 that file systems take


@dataclass(frozen=True)
class Membership:
    """Somebody's part in a project."""

    id: str
    title: str
    mode: Literal["ro", "rw"]


@dataclass(frozen=True)
class Found:
    """Mounts of projects, and what to tell about those that are not there."""

    mounts: tuple[Mount, ...]
    problem: str = ""


class Projects:
    """Finds them. ``token``: that the hub shows the service. ``limit``: seconds."""

    def __init__(self, config: Config, token: str, limit: float = LIMIT_S) -> None:
        self._config = config
        self._token = token
        self._rest = Rest(limit)

    async def close(self) -> None:
        """Let go of the service."""
        await self._rest.close()

    async def of(self, user: str, folder: str, belonging: Belonging = NOWHERE) -> Found:
        """Somebody's projects, as mounts in ``folder``. Never fails: a start goes on without."""
        settings = self._config.storage.projects
        assert settings is not None
        members = list(_of_groups(self._config, user, belonging))
        problem = ""
        if settings.service is not None:
            try:
                members += await self._asked(settings.service, user)
            except NoAnswer as away:
                log.warning("%s: projects are left out: the project service: %s", user, away)
                problem = "your projects, since the project service cannot be asked now. Start again later to see them"
        mounts = []
        for name, member in named(members).items():
            try:
                mount = Mount(f"{settings.path}/{member.id}", f"{folder}/{name}", member.mode)
                mounts.append(mount.expand("", ""))
            except ConfigError as error:
                log.warning("%s: %s", user, error)
        return Found(tuple(mounts), problem)

    async def _asked(self, service: str, user: str) -> list[Membership]:
        url = service.replace("{username}", quote(user, safe=""))
        status, told = await self._rest.get(url, {"Authorization": f"Bearer {self._token}"})
        if status in (401, 403):
            raise NoAnswer("it does not accept the token (projects_token)")
        if status == 404:
            return []  # it does not know them, so they are in none
        if status != 200:
            raise NoAnswer(f"it answered with status {status}")
        items = told.get("projects", told.get("result")) if isinstance(told, dict) else told
        if not isinstance(items, list) or len(items) > MOST:
            raise NoAnswer("its answer is not in the form expected")
        return [_member(item) for item in items]


def _of_groups(config: Config, user: str, belonging: Belonging) -> list[Membership]:
    found = []
    for key in groups_of(config, user, belonging):
        project = config.groups[key].project
        if project is not None:
            identifier = project.id or key
            found.append(Membership(identifier, project.title or identifier, project.mode))
    return found


def _member(item: Any) -> Membership:
    """One entry of an answer. Raises NoAnswer for one that could lead elsewhere."""
    if not isinstance(item, dict) or not is_project_id(item.get("id")):
        raise NoAnswer("its answer has a project without a usable id")
    title = item.get("title")
    # Whoever does not say that somebody may write has not allowed it.
    return Membership(item["id"], title if isinstance(title, str) else "", "rw" if item.get("mode") == "rw" else "ro")


def named(members: list[Membership]) -> dict[str, Membership]:
    """The members by the names of their directories: readable, and one for each project.

    Of two memberships in one project the one that may write counts.
    """
    projects: dict[str, Membership] = {}
    for member in members:
        if member.id not in projects or member.mode == "rw":
            projects[member.id] = member
    plain = {one.id: _readable(one.title) or one.id for one in projects.values()}
    taken: dict[str, int] = {}
    for name in plain.values():
        taken[name.casefold()] = taken.get(name.casefold(), 0) + 1
    ids = {identifier.casefold() for identifier in projects}
    found: dict[str, Membership] = {}
    for identifier, one in projects.items():
        name = plain[identifier]
        alone = taken[name.casefold()] == 1 and (name == identifier or name.casefold() not in ids)
        # No two ids are the same, and a title ends before the bracket that is put here.
        found[name if alone else f"{name} ({identifier})"] = one
    return found


def _readable(title: str) -> str:
    """A title as the name of a directory: letters, digits and a few signs."""
    text = unicodedata.normalize("NFC", title)
    text = "".join(letter if letter.isalnum() or letter in " ._,-+&" else " " for letter in text)
    text = re.sub(r"\s+", " ", text).strip(" .-")
    return text.encode()[:_MOST_NAME].decode(errors="ignore").strip(" .-")

"""The settings of projects: directories that belong to several people, and who is in which."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import PlainValidator

from hubfleet.config.fields import BadValue, Form, Line
from hubfleet.config.owner import service_url
from hubfleet.config.paths import HostDirectory
from hubfleet.config.section import Section, setting

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}", re.ASCII)


def is_project_id(text: object) -> bool:
    """Whether this can be the name of a project's directory."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def _project_id(raw: object) -> str:
    if isinstance(raw, str) and is_project_id(raw):
        return raw
    raise BadValue(f"`{raw}` is not the id of a project", "letters, digits, `.`, `-` and `_`, such as PRJ-1234")


def _folder(raw: object) -> str:
    if isinstance(raw, str) and _FOLDER.fullmatch(raw) and raw == raw.strip():
        return raw
    raise BadValue(f"`{raw}` is not the name of a directory in a home", "projects")


Url = Annotated[
    str,
    service_url(
        "https", "http", example="https://projects.example.edu/api/members/{username}", variables=("username",)
    ),
    Form("https address"),
]


class Projects(Section):
    """Directories of projects, which those find in their home who belong to them."""

    path: HostDirectory = setting(..., "Host directory that holds them, one for each project's id.", "/corral/projects")
    directory: Annotated[str, PlainValidator(_folder), Form("name")] = setting(
        "projects", "The directory in the home where they appear.", "Projects"
    )
    service: Url | None = setting(
        None,
        "A REST service that is asked at each start, with the secret `projects_token`: `GET` answers a list of "
        "`{id, title, mode}`. {username} stands for who starts.",
        "https://projects.example.edu/api/members/{username}",
    )


class Project(Section):
    """A project that a group works on."""

    id: Annotated[str, PlainValidator(_project_id), Form("id")] | None = setting(
        None, "Its directory below `storage.projects.path`. Default: the key of the group.", "PRJ-1234"
    )
    title: Line = setting("", "What its members see. Default: the id.", "Shake table, 2026")
    mode: Literal["ro", "rw"] = setting("rw", "Whether members may write.", "ro")

"""Checks of the login that single settings cannot make: who may enter, and what a provider can tell.

They work on plain data, as those of `checks` do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hubfleet.config.checks import Finding
from hubfleet.config.document import dig
from hubfleet.config.login import PROVIDERS, WAYS, Allow, Login, listed
from hubfleet.config.problems import inner_model
from hubfleet.errors import ConfigError

_RULES = tuple(Allow.model_fields)
_ALWAYS = ("users", "file", "everybody")
"""Rules for which a provider has to tell nothing but a name."""


def logins(data: dict[str, Any]) -> Iterator[Finding]:
    """Rules that let in nobody, or that nobody can answer. Which of several ways in is meant, has its own sentence."""
    login = data.get("login")
    if not isinstance(login, dict):
        return
    given = [key for key in WAYS if login.get(key) is not None]
    if len(given) == 1:
        yield from _at_a_provider(login, given[0]) if given[0] in PROVIDERS else _with_passwords(login)


def _with_passwords(login: dict[str, Any]) -> Iterator[Finding]:
    allow = login.get("allow")
    for key, remedy in {"block": "remove it; hubfleet users block NAME", "when_removed": "", "recheck": ""}.items():
        if login.get(key) is not None:
            yield ("login", key), "is for logins at a provider", remedy or "remove it"
    if not isinstance(allow, dict):
        return
    for rule in _given(allow):
        if rule != "users":
            yield ("login", "allow", rule), "is for logins at a provider", "users: [ada], or remove it"
    if not _given(allow):
        remedy = (
            "name users under login.allow.users, or remove login.allow to let in everybody who knows the class password"
        )
        yield ("login", "allow"), "nobody could log in", remedy


def _at_a_provider(login: dict[str, Any], kind: str) -> Iterator[Finding]:
    allow = login.get("allow")
    if allow is None or (isinstance(allow, dict) and not _given(allow)):
        place = ("login", kind) if allow is None else ("login", "allow")
        what = "nobody could log in: nobody is let in for having an account there"
        yield place, what, "allow: {users: [ada]}, allow: {file: people.txt}, or allow: {everybody: true}"
    elif isinstance(allow, dict):
        yield from _rules(login, allow, kind)
    admins, block = login.get("admins"), login.get("block")
    for index, name in enumerate(block if isinstance(block, list) else []):
        if isinstance(admins, list) and str(name).lower() in [str(admin).lower() for admin in admins]:
            yield ("login", "block", str(index)), f"`{name}` is one of login.admins", "one of the two"


def _rules(login: dict[str, Any], allow: dict[str, Any], kind: str) -> Iterator[Finding]:
    given = _given(allow)
    if allow.get("everybody") is True and len(given) > 1:
        others = [rule for rule in given if rule != "everybody"]
        yield ("login", "allow", others[0]), "says nothing beside `everybody: true`", "remove one of the two"
    model = inner_model(Login.model_fields[kind])[0]
    tells: tuple[str, ...] = getattr(model, "tells", ())
    for rule in given:
        if kind == "oidc" and rule == "groups" and not dig(login, ("oidc", "groups_claim")):
            yield ("login", "allow", rule), "nobody has said which claim tells of groups", "groups_claim: groups"
        if kind == "ldap" and rule == "groups" and not dig(login, ("ldap", "groups")):
            yield ("login", "allow", rule), "nobody has said where groups are", "ldap: {groups: ou=groups,...}"
        if kind == "google" and rule == "groups":
            for what, remedy in _of_a_workspace(login, allow[rule]):
                yield ("login", "allow", rule), what, remedy
        if rule in _ALWAYS or rule in tells:
            continue
        able = [key for key in _RULES if key in (*_ALWAYS, *tells)]
        yield ("login", "allow", rule), f"`{kind}` tells nothing of {rule}", " or ".join(able)


def groups(data: dict[str, Any]) -> Iterator[Finding]:
    """Groups that nobody tells of."""
    given = data.get("groups")
    login = data.get("login")
    login = login if isinstance(login, dict) else {}
    kinds = [key for key in WAYS if login.get(key) is not None] or ["password"]
    for name, group in given.items() if isinstance(given, dict) else ():
        if not isinstance(group, dict):
            continue
        theirs = group.get("provider")
        if theirs and len(kinds) == 1:
            for what, remedy in _unanswered(login, kinds[0], theirs):
                yield ("groups", name, "provider"), what, remedy


def _unanswered(login: dict[str, Any], kind: str, theirs: Any) -> Iterator[tuple[str, str]]:
    """Why the way in does not tell of groups, and what to write."""
    if kind not in PROVIDERS:
        yield "is for logins at a provider", "members: [...], or hub: true"
        return
    tells: tuple[str, ...] = getattr(inner_model(Login.model_fields[kind])[0], "tells", ())
    if not {"groups", "teams"} & set(tells):
        yield f"`{kind}` tells nothing of groups", "members: [...], or hub: true"
    elif kind == "oidc" and not dig(login, ("oidc", "groups_claim")):
        yield "nobody has said which claim tells of groups", "login: {oidc: {groups_claim: groups}}"
    elif kind == "ldap" and not dig(login, ("ldap", "groups")):
        yield "nobody has said where groups are", "login: {ldap: {groups: ou=groups,...}}"
    elif kind == "google":
        yield from _of_a_workspace(login, theirs)
    elif kind == "github":
        for team in theirs if isinstance(theirs, list) else ():
            if isinstance(team, str) and team.count("/") != 1:
                yield f"`{team}` is not a team", "organization/team, both as they are in addresses of their pages"


def _of_a_workspace(login: dict[str, Any], groups: Any) -> Iterator[tuple[str, str]]:
    if not dig(login, ("google", "groups")):
        remedy = "login: {google: {groups: {administrator: admin@example.edu}}}, with the secret google_key"
        yield "nobody has said who may ask Google for groups", remedy
    for group in groups if isinstance(groups, (list, tuple)) else ():
        if isinstance(group, str) and group and "@" not in group.strip("@"):
            yield f"`{group}` is not the address of a group", "the whole e-mail address, physics-101@example.edu"


def _given(allow: dict[str, Any]) -> list[str]:
    return [rule for rule in _RULES if allow.get(rule) not in (None, False, [], ())]


def lists(data: dict[str, Any], base: Path) -> Iterator[ConfigError]:
    """What is wrong in the file of `login.allow.file`, by its own lines. One that is missing has its own sentence."""
    name = dig(data, ("login", "allow", "file"))
    path = os.path.join(base, name) if isinstance(name, str) and "\0" not in name else ""
    if not os.path.isfile(path):
        return
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        yield ConfigError(f"cannot be read: {why}", where=Path(path).name, remedy=f"ls -l {path}")
        return
    yield from (found for found in listed(text, Path(path).name) if isinstance(found, ConfigError))

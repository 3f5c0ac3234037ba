"""Who could log in until now, and could not after a change of the rules: told with the plan."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hubfleet.admission import Person, Rules
from hubfleet.cli.talk import ask_hub, people
from hubfleet.engines import logins
from hubfleet.errors import NotRunningError
from hubfleet.resources import File
from hubfleet.unixhttp import Refused

if TYPE_CHECKING:
    from hubfleet.cli.deployment import Deployment

_SHOWN = 8


def locked_out(deployment: Deployment) -> Iterator[str]:
    """Sentences about them; none where nothing changes for anybody, or there was no deployment before."""
    config, last = deployment.config, _last(deployment)
    provider, before = config.login.provider, last.get("hub.json")
    if before is None:
        return
    settings = json.loads(before)
    was = settings.get("provider") or {}
    if provider is None:
        if was:
            yield (
                f"people choose their names from now on, and no longer log in with {was['title']}; "
                "a home goes to the first one who signs up under its name"
            )
        elif "allow" in settings:
            allow = config.login.allow.users if config.login.allow else None
            old, new = _by_name(settings["allow"], settings["admins"]), _by_name(allow, config.login.admins)
            yield from _told(deployment, old, new, "left (hubfleet users block NAME stops them)")
        return
    now = logins.told(config) or {}
    if was.get("provider") != now.get("provider"):
        yield (
            f"people log in with {provider.called} from now on; "
            "a home goes to the first one whose name there is the home's"
        )
        return
    try:
        old, new = Rules.from_text(last.get("rules.json", "")), logins.rules(config, deployment.site.listed)
    except ValueError:  # of another release
        return
    becomes = (
        "stopped (login.when_removed: stop)" if new.stop else "left until they are idle (login.when_removed: keep)"
    )
    yield from _told(deployment, old, new, becomes)


def _by_name(allow: Iterable[str] | None, admins: Iterable[str]) -> Rules:
    """The rules of a hub with passwords of its own. ``allow``: None for everybody who has one."""
    return Rules(admins=frozenset(admins), names=frozenset(allow or ()), everybody=allow is None)


def _told(deployment: Deployment, old: Rules, new: Rules, becomes: str) -> Iterator[str]:
    """Who is locked out by a change of the rules, and what becomes of their servers."""
    if old == new:
        return
    config, known = deployment.config, _known(deployment)
    line = config.line("login.allow" if config.login.allow else "login")
    out = list(_lost(known or {}, old, new))
    if out:
        yield f"{line}could not log in any more: {_names([name for name, _ in out])}"
    serving = [name for name, servers in out if servers]
    if serving:
        yield f"running servers of these would be {becomes}: {_names(serving)}"
    if known is None and _narrower(old, new):
        who = "who else" if out else "who"
        yield f"{line}{who} could not log in any more is known only while the hub runs"


def _narrower(old: Rules, new: Rules) -> bool:
    """Whether the change may lock out somebody whom no rule names."""
    fewer = old.groups - new.groups or old.organizations - new.organizations or old.domains - new.domains
    by_others = old.everybody or old.groups or old.organizations or old.domains
    return bool((not new.everybody and (old.everybody or fewer)) or (by_others and new.block - old.block))


def _known(deployment: Deployment) -> dict[str, tuple[Person | None, list[str]]] | None:
    """The people of the hub that runs, with their running servers; None: no hub answers.

    Each as the provider told of them last, or by name; None for somebody whom an admin has not let in.
    """
    try:
        entries: list[dict[str, Any]] = people(deployment)
        if deployment.config.login.provider:
            return {
                entry["name"]: (Person.from_json(entry["person"]), entry["servers"])
                for entry in entries
                if entry.get("person")
            }
        signed_up = ask_hub(deployment, "GET", "/hubfleet/people")["people"]
    except (NotRunningError, Refused, OSError):
        return None
    servers = {entry["name"]: entry["servers"] for entry in entries}
    return {
        one["name"]: (Person(one["name"]) if one["approved"] else None, servers.get(one["name"], []))
        for one in signed_up
    }


def _lost(
    known: Mapping[str, tuple[Person | None, list[str]]], old: Rules, new: Rules
) -> Iterator[tuple[str, list[str]]]:
    """Names of those who are let in now and not by the new rules, with their running servers.

    Of people who have come in, by what is known of them; of others, by their names.
    """
    persons: dict[str, tuple[Person | None, list[str]]] = {
        name: (Person(name), []) for name in old.names | old.admins | new.block
    }
    for name, (person, servers) in sorted({**persons, **known}.items()):
        if person and old.why_not(person) is None and new.why_not(person) is not None:
            yield name, servers


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _last(deployment: Deployment) -> dict[str, str]:
    """What the hub was told by the last deployment, by the file's name."""
    number, folder = deployment.generations.current(), f"{deployment.layout.hub_dir}/"
    placed = deployment.generations.read(number).values() if number else ()
    found = (item for items in placed for item in items if isinstance(item, File) and item.path.startswith(folder))
    return {item.path.removeprefix(folder): item.content for item in found if not item.secret}

"""Who could log in until now, and could not after a change of the rules: told with the plan."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hubfleet.admission import Person, Rules
from hubfleet.cli.talk import people
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
    was = json.loads(before).get("provider") or {}
    if provider is None:
        if was:
            yield (
                f"people choose their names from now on, and no longer log in with {was['title']}; "
                "a home goes to the first one who signs up under its name"
            )
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
    if old == new:
        return
    out = list(_lost(deployment, old, new))
    if not out:
        return
    line = config.line("login.allow" if config.login.allow else "login")
    yield f"{line}could not log in any more: {_names([name for name, _ in out])}"
    serving = [name for name, servers in out if servers]
    if serving:
        what = (
            "stopped (login.when_removed: stop)" if new.stop else "left until they are idle (login.when_removed: keep)"
        )
        yield f"running servers of these would be {what}: {_names(serving)}"


def _lost(deployment: Deployment, old: Rules, new: Rules) -> Iterator[tuple[str, list[str]]]:
    """Names of those who are let in now and not by the new rules, with their running servers.

    Of people who have come in, by what the provider told of them last; of others, by their names.
    """
    try:
        known: list[dict[str, Any]] = people(deployment)
    except (NotRunningError, Refused, OSError):
        known = []
    persons: dict[str, tuple[Person, list[str]]] = {name: (Person(name), []) for name in sorted(old.names | old.admins)}
    for entry in known:
        if entry.get("person"):
            persons[entry["name"]] = (Person.from_json(entry["person"]), entry["servers"])
    for name, (person, servers) in sorted(persons.items()):
        if old.why_not(person) is None and new.why_not(person) is not None:
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

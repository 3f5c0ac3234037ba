"""What every engine tells the hub about who vouches for people, and who of them may enter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from hubfleet.admission import Rules
from hubfleet.config import Config
from hubfleet.config.belonging import told_of
from hubfleet.config.campus import Platform
from hubfleet.config.owner import is_loopback
from hubfleet.config.vouching import CALLBACK, LAUNCH, Provider
from hubfleet.engines.base import Site
from hubfleet.resources import File

GOOGLE_KEY = "google_key"


def rules(config: Config, listed: tuple[str, ...]) -> Rules:
    """Who may enter. ``listed``: the names in the file of `login.allow.file`."""
    login, allow = config.login, config.login.allow
    return Rules(
        admins=frozenset(login.admins),
        names=frozenset([*(allow.users if allow else ()), *listed]),
        groups=frozenset(name.lower() for name in ((*allow.groups, *allow.teams) if allow else ())),
        organizations=frozenset(allow.organizations if allow else ()),
        domains=frozenset(allow.domains if allow else ()),
        block=frozenset(login.block),
        everybody=bool(allow and allow.everybody),
        stop=login.when_removed == "stop",
    )


def callback(config: Config) -> str:
    """Where the provider sends people back to."""
    from hubfleet.engines import engine  # engines write with this what they tell the hub

    provider = config.login.provider
    given = provider.callback if isinstance(provider, (Provider, Platform)) else None
    path = LAUNCH if isinstance(provider, Platform) else CALLBACK
    return given or f"{engine(config.engine).url(config)}{path}"


def told(config: Config) -> dict[str, Any] | None:
    """See `hub.providers`, which reads it; None where people have passwords of this hub's own. Holds no secret."""
    provider, kind = config.login.provider, config.login.kind
    if provider is None:
        return None
    oauth: dict[str, Any] = {}
    if isinstance(provider, Provider):
        endpoints = provider.endpoints()
        oauth = {"client_id": provider.client_id or "", "endpoints": asdict(endpoints) if endpoints else None}
    return {
        **provider.told(),
        **oauth,
        "kind": kind,
        "provider": f"{kind}:{provider.place}",
        "title": provider.called,
        "callback": callback(config),
        "recheck_s": int(config.login.recheck),
        "asks": sorted(rules(config, ()).asks | ({"groups"} if "provider" in told_of(config) else set())),
    }


def problems(config: Config, site: Site, *, contained: bool = False) -> list[str]:
    """What the hub needs to ask the provider and has not, and what it cannot reach from a container (``contained``)."""
    provider, found = config.login.provider, []
    path = f"login.{config.login.kind}"
    if provider is None:
        return []
    if isinstance(provider, Provider) and not provider.client_id:
        found.append(
            f"{config.line(path)}{path} has no client_id. "
            "Try: hubfleet oauth register, which gets one, or client_id: ..."
        )
    for name, needed in config.login.secrets.items() if not found else ():
        if not site.passwords.get(name):
            text = "!command cat key.json" if name == GOOGLE_KEY else "..."
            found.append(
                f"{config.line(needed)}{needed} needs the secret {name}. "
                f"Try: write `{name}: {text}` into the file of secrets, hubfleet.secrets.yaml"
            )
    key = site.passwords.get(GOOGLE_KEY) if GOOGLE_KEY in config.login.secrets else None
    if key:
        found += [f"{config.line(path)}{path}: the secret {GOOGLE_KEY} {wrong}" for wrong in _wrong_of(key)]
    for address in provider.asked() if contained else ():
        if not is_loopback(urlsplit(address).hostname or ""):
            continue
        found.append(
            f"{config.line(path)}{path}: {address} leads a container to itself. "
            "Try: the name that other machines know it by"
        )
    return found


def _wrong_of(key: str) -> Iterator[str]:
    # Only here: what reads keys takes its time to be imported.
    from hubfleet.googlegroups import ServiceKey

    try:
        ServiceKey.from_text(key)
    except ValueError as error:
        yield f"{error}. Try: {GOOGLE_KEY}: !command cat key.json, the file that Google made for the service account"


def file(config: Config, site: Site, owner: str) -> dict[str, File]:
    """The rules, by short name. Nothing is restarted for them: the hub looks whether they change."""
    if config.login.provider is None:
        return {}
    text = rules(config, site.listed).to_text()
    return {"rules": File(str(site.layout.rules), text, owner, owner, 0o644)}

"""What every engine tells the hub about itself: the content of ``hub.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hubfleet.config import Config
from hubfleet.config.belonging import told_of
from hubfleet.config.effective import home_limit
from hubfleet.engines import logins
from hubfleet.homes.settings import Limits, settings
from hubfleet.layout import Layout
from hubfleet.names import system_name


def hub_settings(config: Config, layout: Layout) -> dict[str, Any]:
    """See ``hub.settings.HubSettings``, which reads it. Holds no secret."""
    return {
        **hub_places(layout),
        "address": config.listen.address,
        "port": config.listen.port,
        "login_kind": "provider" if config.login.provider else "approval" if config.login.signup else "password",
        "provider": logins.told(config),
        "hub_groups": "hub" in told_of(config),
        "admins": list(config.login.admins),
        "allow": _listed(config),
        "named_servers": config.servers.named_servers,
        "homes_kept": config.storage.homes is not None,
        "isolated": layout.privileged,
    }


def _listed(config: Config) -> list[str] | None:
    """Names that may sign up; None for all. At a provider that is asked of `logins.rules`, which restart nothing."""
    allow = config.login.allow
    return None if allow is None or config.login.provider is not None else list(allow.users)


def keeping(config: Config, layout: Layout, skeleton: Path | None) -> dict[str, Any]:
    """What a keeper of homes is told, see `homes.settings`. ``skeleton``: where that is on its machine."""
    place = config.homes(layout.homes)
    if place is None:
        raise ValueError("homes are not kept, and somebody to keep them")
    kept = config.storage.homes
    counted = bool(config.all_quotas() or (kept and kept.disk))
    return settings(place, skeleton, config.storage.owner.minimum, limits(config), counted)


def limits(config: Config) -> Limits:
    """How much each home may hold, as its keeper is told."""
    usual = config.storage.homes.quota if config.storage.homes else None
    named = {*config.users, *(name for group in config.groups.values() for name in group.members)}
    found = {system_name(name): home_limit(config, name) for name in sorted(named)}
    others = {name: group.storage.quota for name, group in config.groups.items() if group.provider or group.hub}
    groups = {name: int(quota) for name, quota in others.items() if quota is not None}
    return Limits(usual, {name: limit for name, limit in found.items() if limit != usual}, groups)


def hub_places(layout: Layout) -> dict[str, Any]:
    """By what hub, launcher and engine find the hub's files."""
    return {"hub": layout.hub, "base": str(layout.base), "privileged": layout.privileged}

"""What every engine tells the hub about itself: the content of ``hub.json``."""

from __future__ import annotations

from typing import Any

from hubfleet.config import Config
from hubfleet.layout import Layout


def hub_settings(config: Config, layout: Layout) -> dict[str, Any]:
    """See ``hub.settings.HubSettings``, which reads it. Holds no secret."""
    return {
        **hub_places(layout),
        "address": config.listen.address,
        "port": config.listen.port,
        "login_kind": "approval" if config.login.signup else "password",
        "admins": list(config.login.admins),
        "allow": None if config.login.allow is None else list(config.login.allow.users),
        "named_servers": config.servers.named_servers,
        "homes_kept": config.storage.homes is not None,
        "isolated": layout.privileged,
    }


def hub_places(layout: Layout) -> dict[str, Any]:
    """By what hub, launcher and engine find the hub's files."""
    return {"hub": layout.hub, "base": str(layout.base), "privileged": layout.privileged}

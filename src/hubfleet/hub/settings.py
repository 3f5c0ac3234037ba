"""What `hub.json` tells the hub about itself, and the secrets beside it. Written by hubfleet, read once at start."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubfleet.layout import Layout

SETTINGS_VARIABLE = "HUBFLEET_HUB_SETTINGS"


@dataclass(frozen=True)
class HubSettings:
    """``login_kind``: "password" (a class password lets people sign up), "approval" (an admin approves each one), or
    "provider", which vouches for people: ``provider`` says who that is.

    ``allow``: the names that may sign up and enter; None for everybody who passes. ``fleet_address``: IP address and
    port at which servers on other machines reach the hub; "" where there are none. ``hub_groups``: whether groups that
    the hub's admins keep decide what people get. ``secrets``: not in `hub.json` but
    in a file of its own that only the hub can read.
    """

    layout: Layout
    address: str
    port: int
    login_kind: str
    admins: tuple[str, ...]
    allow: tuple[str, ...] | None
    named_servers: int
    homes_kept: bool
    isolated: bool
    fleet_address: str
    provider: dict[str, Any] | None
    hub_groups: bool
    secrets: dict[str, str]

    @classmethod
    def read(cls, path: Path | None = None) -> HubSettings:
        """Read the file named by ``HUBFLEET_HUB_SETTINGS`` (or ``path``) and the secrets beside it."""
        path = path or Path(os.environ[SETTINGS_VARIABLE])
        data = json.loads(path.read_text())
        layout = Layout(data["hub"], Path(data["base"]), data["privileged"])
        return cls(
            layout=layout,
            address=data["address"],
            port=data["port"],
            login_kind=data["login_kind"],
            admins=tuple(data["admins"]),
            allow=None if data["allow"] is None else tuple(data["allow"]),
            named_servers=data["named_servers"],
            homes_kept=data["homes_kept"],
            isolated=data["isolated"],
            fleet_address=data.get("fleet_address", ""),
            provider=data.get("provider"),
            hub_groups=data.get("hub_groups", False),
            secrets=json.loads(path.with_name("hub-secrets.json").read_text()),
        )

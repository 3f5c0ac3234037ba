"""Services of the site that the launcher asks: what it needs for that, and what stands in the way."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

from hubfleet.config import Config
from hubfleet.config.owner import is_loopback
from hubfleet.engines.base import Site
from hubfleet.layout import SECRETS
from hubfleet.resources import File


def problems(config: Config, site: Site, *, contained: bool = False) -> list[str]:
    """Secrets that are missing, what needs root, and what a launcher in a container cannot reach (``contained``)."""
    found = []
    for path, address in config.storage.services.items() if contained else ():
        if is_loopback(urlsplit(address).hostname or ""):
            found.append(
                f"{config.line(path)}{path}: {address} leads a container to itself. "
                "Try: the name that other machines know it by"
            )
    for name, path in config.storage.secrets.items():
        if path and not site.service_secrets.get(name):
            found.append(
                f"{config.line(path)}{path} needs the secret {name}. "
                f"Try: write `{name}: ...` into the file of secrets, hubfleet.secrets.yaml"
            )
    if config.storage.owner.command is not None and not site.owner_command.startswith("#!"):
        path = "storage.owner.command"
        found.append(
            f"{config.line(path)}{path} is no script: its first line does not name a program. "
            "Try: a first line such as #!/usr/bin/env python3"
        )
    if not site.layout.privileged:
        given = {"storage.owner": config.storage.owner.kind != "range" or config.storage.owner.range is not None}
        given["storage.projects"] = config.storage.projects is not None
        for path in (path for path, there in given.items() if there):
            found.append(
                f"{config.line(path)}{path}: without root all files are the account's that runs hubfleet. "
                f"Try: run hubfleet as root (sudo), or remove {path}"
            )
    return found


def files(config: Config, site: Site, *, returns: bool = False) -> dict[str, File]:
    """What the launcher reads of them at start, by short name. ``returns``: see `File`."""
    made, folder, root = {}, site.layout.launcher_dir, "root" if site.layout.privileged else ""
    secrets = {name: site.service_secrets[name] for name in config.storage.secrets if name in site.service_secrets}
    if secrets:
        text = json.dumps(secrets, indent=1, sort_keys=True) + "\n"
        made["launcher_secrets"] = File(str(folder / SECRETS), text, root, root, 0o600, secret=True, returns=returns)
    if config.storage.owner.command is not None:
        place: Path = folder / "owner-command"
        made["owner_command"] = File(str(place), site.owner_command, root, root, 0o755, returns=returns)
    return made

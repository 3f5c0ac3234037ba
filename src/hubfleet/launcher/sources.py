"""The service that knows who owns a user's files, as the configuration names it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hubfleet.config import Config
from hubfleet.launcher.ownercommand import CommandSource
from hubfleet.launcher.owners import Owners, Source
from hubfleet.launcher.projects import Projects
from hubfleet.launcher.tas import TasSource
from hubfleet.layout import OWNERS


def owners_of(config: Config, secrets: Mapping[str, str], directory: Path) -> Owners:
    """Who owns files, by the configuration. ``directory``: the launcher's own."""
    options, password = config.storage.owner, secrets.get("owner_password", "")
    source: Source | None = None
    if options.tas is not None:
        source = TasSource(options.tas.url, options.tas.account, password)
    elif options.ldap is not None:
        # Only here: it takes its time to be imported.
        from hubfleet.launcher.ldapsource import LdapSource

        source = LdapSource(options.ldap, password)
    elif options.command is not None:
        source = CommandSource(directory / "owner-command", password)
    return Owners(options, source, directory / OWNERS)


def projects_of(config: Config, secrets: Mapping[str, str]) -> Projects | None:
    """Where projects are found, if the configuration has any."""
    return Projects(config, secrets.get("projects_token", "")) if config.storage.projects else None

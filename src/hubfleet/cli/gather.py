"""Facts and secrets that a desired state is made from: of this machine, and of the last deployment."""

from __future__ import annotations

import json
import os
import pwd
import secrets as random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import hubfleet
from hubfleet import link
from hubfleet.config.login import read_list
from hubfleet.engines.base import TOKENS, Site
from hubfleet.resources.environment import tree_digest

if TYPE_CHECKING:
    from hubfleet.cli.deployment import Deployment


def gathered(deployment: Deployment) -> Site:
    """All of them. What was made up for an earlier deployment stays as it was."""
    package, config = Path(hubfleet.__file__).parent, deployment.config
    requirements, command = config.servers.requirements, config.storage.owner.command
    python = getattr(sys, "_base_executable", sys.executable)
    spans, apart = deployment.engine.spans(config), config.edge_apart
    return Site(
        layout=deployment.layout,
        account=pwd.getpwuid(os.geteuid()).pw_name,
        python=os.path.realpath(python),
        python_version=f"{sys.version_info[0]}.{sys.version_info[1]}",
        interpreter=Path(sys.base_prefix).resolve(),
        package=package,
        package_digest=tree_digest(((str(package), "hubfleet"),)),
        singleuser_digest=tree_digest(((str(package / "singleuser"), "hubfleet_singleuser"),)),
        supervision=deployment.supervision,
        limits_problem=deployment.engine.limits_problem(config.hub),
        tokens=_tokens(deployment),
        passwords=deployment.passwords,
        requirements=requirements.read_text() if requirements else "",
        owner_command=command.read_text(errors="replace") if command else "",
        service_secrets=deployment.service_secrets,
        listed=read_list(config.login.list_file),
        link=_link(deployment, "link.json") if apart else None,
        hub_address=deployment.hub_address if apart or spans else "",
        registry=_link(deployment, "registry.json", deployment.hub_address) if spans else None,
        addresses=_addresses(deployment) if spans else {},
        reached=frozenset(one.address for one in deployment.machines.values()) if spans else frozenset(),
        homes=_link(deployment, "homes.json") if config.homes_apart else None,
        drained=deployment.drained() if spans else frozenset(),
    )


def _link(deployment: Deployment, file: str, name: str = link.NAME) -> link.Link:
    """Both ends of a line between machines: those of the last deployment, unless their time is nearly up."""
    return link.kept(deployment.machine.store.read(str(deployment.layout.secrets_dir / file)), name=name)


def _addresses(deployment: Deployment) -> dict[str, str]:
    """Where machines reach each other, by name."""
    given = deployment.config.machines
    return {name: given[name].private_ip or one.address for name, one in deployment.machines.items() if name in given}


def _tokens(deployment: Deployment) -> dict[str, str]:
    """hubfleet's own tokens: those of the last deployment, new ones before the first."""
    path = str(deployment.layout.secrets_dir / "tokens.json")
    known: dict[str, str] = json.loads(deployment.machine.store.read(path) or "{}")
    return {name: known.get(name) or random.token_hex(32) for name in TOKENS}

"""A hub that another engine has deployed on its machine: what runs of it has to stop before this one takes over.

Homes, accounts, user ids and the hub's database are in the same places with every engine, and stay.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from hubfleet.checks import Finding
from hubfleet.cli.begin import supervision_of
from hubfleet.cli.console import counted
from hubfleet.cli.deployment import Deployment
from hubfleet.engines import engine
from hubfleet.resources import Process


def deployed_before(deployment: Deployment) -> Deployment | None:
    """The hub as another engine has deployed it there last; None where it was this engine, or none."""
    text = deployment.machine.store.read(str(deployment.layout.launcher_dir / "launcher.json"))
    if text is None:
        return None
    try:
        name = engine(json.loads(text)["config"]["engine"]).name
    except (ValueError, KeyError):  # damaged, or of another release
        return None
    if name == deployment.config.engine:
        return None
    config = deployment.config.model_copy(update={"engine": name})
    return replace(deployment, config=config, supervision=supervision_of(config, deployment.layout))


def check(deployment: Deployment) -> list[Finding]:
    """What could go wrong on the hub's machine, and whether another engine's hub is in the way."""
    runs = still_runs(deployment)
    return [*deployment.check(), *([Finding("problem", runs)] if runs else [])]


def still_runs(deployment: Deployment) -> str | None:
    """In a sentence with what to type, that the other engine's hub runs yet; None where nothing of it does."""
    before = deployed_before(deployment)
    if before is None:
        return None
    kept = "homes, accounts and people stay"
    runs = f"hub {before.config.hub} still runs with engine {before.config.engine}"
    wanted = f"the configuration says engine {deployment.config.engine}"
    if _out_of_reach(before):
        if not any(_processes(before)):
            return None
        return f"{runs} on {before.machine.name}, and {wanted}. Try: stop it there (sudo hubfleet down); {kept}"
    servers = before.parts.servers()
    if before.parts.statuses() is None and not servers:
        return None
    them = f", with {counted(len(servers), 'running server')}" if servers else ""
    return f"{runs}{them}, and {wanted}. Try: hubfleet down, then hubfleet up; {kept}"


def deployed_last(deployment: Deployment) -> Deployment:
    """The hub as it was deployed last, which knows what may run of it: another engine's if that can be asked from
    here, or else this one."""
    before = deployed_before(deployment)
    return deployment if before is None or _out_of_reach(before) else before


def forget_servers(deployment: Deployment) -> None:
    """Remove the other engine's records of servers, which nothing runs of any more: no launcher of this one can read
    them. The lock must be held."""
    if deployed_before(deployment) is None:
        return
    folder, store = deployment.layout.launcher_dir / "servers", deployment.machine.store
    for name in store.names(str(folder)):
        if name.endswith(".json"):
            store.remove(str(folder / name))


def _out_of_reach(before: Deployment) -> bool:
    """Processes are found and stopped on their own machine only."""
    return before.remote and not before.engine.containers(before.config)


def _processes(before: Deployment) -> Iterator[object]:
    """Those of the hub's own that the machine has, by what its generations say."""
    known = before.generations.known().resources.get(before.machine.name, ())
    here = [item for items in before.generations.known().resources.values() for item in items]
    wanted = [item for item in known or here if isinstance(item, Process)]
    yield from (found for found in before.machine.observe(wanted).values() if found is not None)

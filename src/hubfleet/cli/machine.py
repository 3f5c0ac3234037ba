"""`hubfleet machine`: which machines have users' servers, and how one comes and goes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from hubfleet.cli.console import as_typed, confirm, counted, draw, say, say_json, table
from hubfleet.cli.deployment import Deployment, Options, open_deployment
from hubfleet.cli.fleetparts import FleetParts
from hubfleet.cli.talk import ask_hub
from hubfleet.config import load
from hubfleet.config.edit import add_machine, remove_machine, write
from hubfleet.errors import ConfigError
from hubfleet.names import in_address
from hubfleet.resources import SwarmNode
from hubfleet.sshcommand import CONFIGURATIONS

_LOOK_EVERY_S = 2.0
Name = Annotated[str, typer.Argument(metavar="NAME", help="The machine's name in the configuration file.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def listing(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Show the machines, and who is on each.

    Example: hubfleet machine
    """
    if context.invoked_subcommand is not None:
        return
    deployment = _fleet(context.obj)
    found = _machines(deployment)
    if as_json:
        say_json({"hub": deployment.config.hub, "machines": found})
        return
    shown = table("machine", "roles", "state", "servers")
    for entry in found:
        shown.add_row(entry["name"], ", ".join(entry["roles"]), entry["state"], ", ".join(entry["servers"]) or "none")
    draw(shown)


def add(
    context: typer.Context,
    name: Name,
    ssh: Annotated[
        str, typer.Option("--ssh", metavar="DESTINATION", help="How `ssh` reaches it, such as ubuntu@203.0.113.12.")
    ] = "",
    private_ip: Annotated[
        str, typer.Option("--private-ip", metavar="ADDRESS", help="Its address in the network of the machines.")
    ] = "",
) -> None:
    """Write a machine for users' servers into the file, or use one again that was drained.

    Example: hubfleet machine add worker3 --ssh ubuntu@203.0.113.13
    """
    deployment = _fleet(context.obj)
    if name in deployment.config.machines and not ssh:
        _mark(deployment, name, drained=False)
        say(f"{name} takes servers again.")
        return
    if not ssh:
        raise ConfigError(f"{name} is new, and it is not said how to reach it", remedy="--ssh ubuntu@203.0.113.13")
    file = deployment.file
    if file is None:
        raise ConfigError("there is no configuration file to write it into", remedy="hubfleet init")
    before = file.read_text(encoding="utf-8")
    write(file, add_machine(file, name, {"ssh": ssh, "private_ip": private_ip, "roles": ["worker"]}))
    try:
        load(context.obj.config, context.obj.hub)
    except ConfigError as error:
        write(file, before)
        raise ConfigError(
            error.what, where=error.where, state=f"{file.name} was left as it is", remedy=error.remedy
        ) from error
    say(f"{name} is in {file.name}. To look at what will be done, and do it:")
    say(as_typed("  hubfleet check, then hubfleet up"))


def drain(
    context: typer.Context,
    name: Name,
    wait: Annotated[bool, typer.Option("--wait", help="Come back when the last server has gone by itself.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the servers there now; files are kept.")] = False,
    yes: Yes = False,
) -> None:
    """Start no more servers on a machine, and show whose run there. They go on unless --stop is given.

    Example: hubfleet machine drain worker2 --wait
    """
    deployment = _fleet(context.obj)
    _worker(deployment, name)
    if set(deployment.config.worker_machines) - {name} <= deployment.drained():
        say(f"note: {name} is the last machine that takes servers; nobody can start one now.", "yellow")
    _mark(deployment, name, drained=True)
    say(f"No more servers are started on {name}. Undo: " + as_typed(f"hubfleet machine add {name}"))
    people = _on(deployment, name)
    if not people:
        say(f"No server runs there. To take it out: {as_typed(f'hubfleet machine remove {name}')}")
        return
    say(f"{counted(len(people), 'server')} there: {', '.join(_words(server) for server in people)}")
    if stop:
        if not yes:
            confirm("Stop them now? Unsaved work in open cells is lost.", f"hubfleet machine drain {name} --stop --yes")
        _stop(deployment, people)
    if wait or stop:
        _await_empty(deployment, name)
        say(f"No server runs on {name} any more.")
    else:
        say("They go on until their users stop them or they are idle for long. To wait for that: --wait", "dim")


def remove(context: typer.Context, name: Name, yes: Yes = False) -> None:
    """Take a machine out of the file, once no server runs on it.

    Example: hubfleet machine remove worker2
    """
    deployment = _fleet(context.obj)
    _worker(deployment, name)
    if "hub" in deployment.config.machines[name].roles:
        raise ConfigError(f"{name} has the hub", state="Nothing was changed", remedy="roles: [hub], without worker")
    people = _on(deployment, name)
    if people:
        raise ConfigError(
            f"{counted(len(people), 'server')} on {name}: {', '.join(_words(server) for server in people)}",
            state="Nothing was changed",
            remedy=f"hubfleet machine drain {name} --wait (or --stop), then this again",
        )
    file = deployment.file
    assert file is not None  # or there would be no machine
    text = remove_machine(file, name)
    if not yes:
        confirm(f"Take {name} out of {file.name}?", f"hubfleet machine remove {name} --yes")
    write(file, text)
    say(f"{name} is no more in {file.name}. It leaves the hub with the next: {as_typed('hubfleet up')}")


def _fleet(options: Options) -> Deployment:
    deployment = open_deployment(options)
    if not deployment.engine.spans(deployment.config):
        where = deployment.config.where("engine") or CONFIGURATIONS[0]
        raise ConfigError(
            f"engine {deployment.config.engine} has users' servers on one machine only",
            where=where,
            remedy="engine: swarm, then hubfleet up",
        )
    return deployment


def _worker(deployment: Deployment, name: str) -> None:
    workers = deployment.config.worker_machines
    if name not in workers:
        raise ConfigError(f"there is no machine {name!r} with users' servers", remedy=" or ".join(workers))


def _mark(deployment: Deployment, name: str, *, drained: bool) -> None:
    """Note it for every later `up`, and have the swarm know now."""
    machine, note = deployment.machine, str(deployment.drained_note)
    with machine.hold(str(deployment.layout.state)):
        known = deployment.drained()
        machine.store.write(note, json.dumps(sorted(known | {name} if drained else known - {name})) + "\n")
        deployment.__dict__.pop("site", None)  # it was made of the note as it was before
        node = _node(deployment, name)
        change = node.diff(machine.observe([node])[node.id]) if node else None
        if change is not None:
            machine.apply(change, lambda text: None)


def _node(deployment: Deployment, name: str) -> SwarmNode | None:
    here = deployment.desired().machines[deployment.machine.name]
    return next((one for one in here if isinstance(one, SwarmNode) and one.name == name), None)


def _machines(deployment: Deployment) -> list[dict[str, Any]]:
    config, drained = deployment.config, deployment.drained()
    parts = _parts(deployment)
    states, on = parts.machine_states(), parts.servers_by_machine()
    return [
        {
            "name": name,
            "roles": list(machine.roles or ("hub", "edge", "worker", "storage")),
            "state": "drained" if name in drained else states.get(name, "not in the swarm"),
            "servers": [_words(server) for server in on.get(name, [])],
        }
        for name, machine in config.machines.items()
    ]


def _parts(deployment: Deployment) -> FleetParts:
    parts = deployment.parts
    assert isinstance(parts, FleetParts)  # `_fleet` has made sure
    return parts


def _on(deployment: Deployment, name: str) -> list[Mapping[str, str]]:
    """Servers on a machine: user and name of each."""
    return _parts(deployment).servers_by_machine().get(name, [])


def _words(server: Mapping[str, str]) -> str:
    return server["user"] + (f" ({server['server']})" if server["server"] else "")


def _stop(deployment: Deployment, servers: list[Mapping[str, str]]) -> None:
    """By way of the hub, so that it tells their users and cleans up."""
    for server in servers:
        place = f"servers/{in_address(server['server'])}" if server["server"] else "server"
        ask_hub(deployment, "DELETE", f"/users/{in_address(server['user'])}/{place}")


def _await_empty(deployment: Deployment, name: str) -> None:
    told = -1
    while people := _on(deployment, name):
        if len(people) != told:
            told = len(people)
            say(f"  {counted(told, 'server')} on {name} yet", "dim")
        time.sleep(_LOOK_EVERY_S)

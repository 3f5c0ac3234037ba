"""`hubfleet machine`: which machines have users' servers, and how one comes and goes."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer

from hubfleet.cli.begin import open_deployment
from hubfleet.cli.console import as_typed, confirm, counted, draw, say, say_json, table
from hubfleet.cli.deployment import Deployment
from hubfleet.cli.draining import Emptying, Server, called, clock, fleet_parts, listed, until
from hubfleet.cli.reading import Options, writable
from hubfleet.config import load
from hubfleet.config.edit import add_machine, remove_machine, write
from hubfleet.errors import ConfigError
from hubfleet.resources import SwarmNode
from hubfleet.sshcommand import CONFIGURATIONS
from hubfleet.units import UnitError, parse_duration

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
    ssh_config: Annotated[
        str,
        typer.Option(
            "--ssh-config",
            metavar="FILE",
            help="For `ssh -F`, from the file's directory; else as the hub's machine has.",
        ),
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
    remedy = f"{{host_id: {name}, ssh_host: ..., roles: [worker]}} under hosts there, then hubfleet up"
    writable(file, remedy, deployment.config.where("machines"))
    before = file.read_text(encoding="utf-8")
    settings = {"ssh": ssh, "ssh_config": ssh_config, "private_ip": private_ip, "roles": ["worker"]}
    write(file, add_machine(file, name, settings, like=str(deployment.config.hub_machine)))
    try:
        load(context.obj.config, context.obj.hub)
    except ConfigError as error:
        write(file, before)
        raise ConfigError(
            error.what, where=error.where, state=f"{file.name} was left as it is", remedy=error.remedy
        ) from error
    _forget(deployment, name)  # it may have been drained before it was taken out, as another machine of this name
    say(f"{name} is in {file.name}. To look at what will be done, and do it:")
    say(as_typed("  hubfleet check, then hubfleet up"))


def drain(
    context: typer.Context,
    name: Name,
    wait: Annotated[bool, typer.Option("--wait", help="Come back when the last server has gone by itself.")] = False,
    stop_after: Annotated[
        str, typer.Option("--stop-after", metavar="TIME", help="Wait, and stop after this time who is still there.")
    ] = "",
    stop: Annotated[bool, typer.Option("--stop", help="Stop the servers there now; files are kept.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say who is there and what would be done.")] = False,
    yes: Yes = False,
) -> None:
    """Start no more servers on a machine, and show whose run there. They go on unless --stop or --stop-after is given.

    Example: hubfleet machine drain worker2 --stop-after 2h
    """
    if stop and stop_after:
        raise typer.BadParameter("--stop stops at once, so there is nothing to wait for with --stop-after")
    at = time.time() + _seconds(stop_after) if stop_after else None
    deployment = _fleet(context.obj)
    _worker(deployment, name)
    emptying = Emptying(deployment, name, at)
    people = emptying.people() or []
    last = set(deployment.config.worker_machines) - {name} <= deployment.drained()
    if dry_run or ((stop or at) and people and not yes):
        say(f"No more servers will be started on {name}.")
        _tell_who(people, name)
        if people:
            say(_outlook(at, stop))
    if last:
        say(f"note: {name} is the last machine that takes servers; nobody can start one then.", "yellow")
    if dry_run:
        say("Nothing was changed.")
        return
    if (stop or at) and people and not yes:
        option = "--stop" if stop else f"--stop-after {stop_after}"
        confirm("Do this? Unsaved work in open cells is lost.", f"hubfleet machine drain {name} {option} --yes")
    _mark(deployment, name, drained=True)
    say(f"No more servers are started on {name}. Undo: " + as_typed(f"hubfleet machine add {name}"))
    people = emptying.people() or []
    _tell_who(people, name)
    if not people:
        say(f"To take it out: {as_typed(f'hubfleet machine remove {name}')}")
        return
    say(_outlook(at, stop))
    if not (wait or stop or at):
        say("To wait for that: --wait. To wait for a time, and stop then who is still there: --stop-after 2h", "dim")
        return
    left = "due" if stop else emptying.wait()
    if left == "undone":
        say(f"{name} is not drained any more: somebody has undone that, or taken it out. Nobody was stopped.", "yellow")
        return
    if left == "due":
        say(f"Stopping {listed(emptying.people() or [])} ...")
        emptying.stop()
    say(f"No server runs on {name} any more.")


def _tell_who(people: Sequence[Server], name: str) -> None:
    if people:
        say(f"{counted(len(people), 'server')} on {name}: {listed(people)}")
    else:
        say(f"No server runs on {name}.")


def _outlook(at: float | None, stop: bool) -> str:
    """What becomes of those who are there."""
    if stop:
        return "They are stopped at once, and told why; files are kept."
    if at is not None:
        return f"Who is still there at {clock(at)} (in {until(at)}) is stopped then, and told why; files are kept."
    return "They go on until their users stop them, or they are idle for long."


def _seconds(text: str) -> float:
    try:
        return float(parse_duration(text))
    except UnitError as error:
        raise typer.BadParameter(f"--stop-after: {error}") from error


def remove(context: typer.Context, name: Name, yes: Yes = False) -> None:
    """Take a machine out of the file, once no server runs on it. One that is dead is taken out in the same way.

    Example: hubfleet machine remove worker2
    """
    deployment = _fleet(context.obj)
    _worker(deployment, name)
    remedy = f"hubfleet machine drain {name}, take it out there by hand, then hubfleet up"
    writable(deployment.file, remedy, deployment.config.where("machines"))
    if "hub" in deployment.config.machines[name].roles:
        raise ConfigError(f"{name} has the hub", state="Nothing was changed", remedy="roles: [hub], without worker")
    drained = name in deployment.drained()
    there = name in fleet_parts(deployment).machine_states()
    if there and not drained:
        _mark(deployment, name, drained=True)  # before it is looked who is there: nobody comes after that
    out = False
    try:
        _take_out(deployment, name, yes)
        out = True
    finally:
        if there and not drained and not out:
            _mark(deployment, name, drained=False)
    _forget(deployment, name)  # its node stays marked until it leaves
    assert deployment.file is not None  # or there would have been no machine
    say(f"{name} is no more in {deployment.file.name}. It leaves the hub with the next: {as_typed('hubfleet up')}")


def _take_out(deployment: Deployment, name: str, yes: bool) -> None:
    """Of the file. Raises ConfigError when somebody is on it."""
    people = Emptying(deployment, name).people()
    if people:
        raise ConfigError(
            f"{counted(len(people), 'server')} on {name}: {listed(people)}",
            state="Nothing was changed",
            remedy=f"hubfleet machine drain {name} --wait (or --stop), then this again",
        )
    file = deployment.file
    assert file is not None  # or there would be no machine
    text = remove_machine(file, name)
    if not yes:
        confirm(f"Take {name} out of {file.name}?", f"hubfleet machine remove {name} --yes")
    write(file, text)


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
        deployment.gather_again()
        node = _node(deployment, name)  # it may be dead
        change = node.diff(machine.observe([node])[node.id]) if node else None
        if change is not None:
            machine.apply(change, lambda text: None)


def _forget(deployment: Deployment, name: str) -> None:
    """No `up` to come takes a machine of this name for one that was drained."""
    if name in deployment.drained():
        with deployment.machine.hold(str(deployment.layout.state)):
            known = deployment.drained() - {name}
            deployment.machine.store.write(str(deployment.drained_note), json.dumps(sorted(known)) + "\n")


def _node(deployment: Deployment, name: str) -> SwarmNode | None:
    here = deployment.desired().machines[deployment.machine.name]
    found = (one for one in here if isinstance(one, SwarmNode) and one.name == name)
    return next((replace(one, awaited=False) for one in found), None)


def _machines(deployment: Deployment) -> list[dict[str, Any]]:
    config, drained = deployment.config, deployment.drained()
    parts = fleet_parts(deployment)
    states, on = parts.machine_states(), parts.servers_by_machine()
    return [
        {
            "name": name,
            "roles": list(machine.roles or ("hub", "edge", "worker", "storage")),
            "state": "drained" if name in drained else states.get(name, "not in the swarm"),
            "servers": [called(server) for server in on.get(name, [])],
        }
        for name, machine in config.machines.items()
    ]

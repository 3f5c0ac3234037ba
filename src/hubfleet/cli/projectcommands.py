"""What commands do with a deployment of a project that is no hub. What they share with a hub's is in `carry`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

import hubfleet
from hubfleet.checks import Finding, failures
from hubfleet.cli import carry, goback
from hubfleet.cli.belongings import ever_made, of_others, own_folders, still_there
from hubfleet.cli.console import as_typed, confirm, counted, say
from hubfleet.cli.erase import ask_for, counts, remove
from hubfleet.cli.parts import Part, parts_table
from hubfleet.cli.projectdeployment import ProjectDeployment
from hubfleet.cli.projectformer import find_left
from hubfleet.config import changed_settings
from hubfleet.errors import ApplyError, CheckError, ConfigError, NotRunningError, UnreachableError
from hubfleet.layout import MIN_FREE_BYTES
from hubfleet.plan import Plan
from hubfleet.projects import Asked
from hubfleet.resources import Container, File, Image, Resource
from hubfleet.units import rounded

_NOT_CHANGED = "Nothing was changed"


def check(deployment: ProjectDeployment) -> list[Finding]:
    """What could go wrong, and whether a desired state can be made of it at all."""
    findings = deployment.check()
    if not failures(findings):
        _ = deployment.resources
    return findings


def up(deployment: ProjectDeployment, *, yes: bool) -> None:
    """Check, plan, ask, and do it."""
    problems = failures(deployment.check())
    if problems:
        raise CheckError("\n".join(finding.text for finding in problems), state=_NOT_CHANGED)
    plan = deployment.plan()
    carry.confirm_plan(plan, yes)
    carry.make_state(deployment)
    with deployment.machine.hold(str(deployment.layout.state)):
        for name, text in deployment.new_passwords.items():
            deployment.secrets.ensure(name, partial(str, text))
        deployment.machine.store.write(str(deployment.layout.state / "origin"), f"{deployment.file.resolve()}\n")
        if not plan.empty or deployment.generations.unfinished():
            carry.carry_out(deployment, plan)
            carry.tidy_up(deployment.plan, partial(carry.carry_out, deployment))
    if problem := _problems(deployment, deployment.parts().statuses() or {}):
        raise ApplyError("\n".join(problem), remedy="hubfleet status")
    if plan.empty:
        say(f"{plan.hub} is as the configuration says.")
        return
    say()
    say(f"{plan.hub} is up.", "bold green")
    for name in deployment.new_passwords:
        say(f"  The secret {name} was made up; it is in {deployment.secrets.path} (readable by you only).", "dim")
    say(as_typed("  See: hubfleet status, hubfleet logs NAME. Stop it: hubfleet down"), "dim")


def down(deployment: ProjectDeployment, *, yes: bool) -> None:
    """Stop all containers, those that wait for others first. Data stays."""
    parts, name = deployment.all_parts(), deployment.name
    known = deployment.generations.known().resources
    runs = {there: items for there, items in known.items() if any(isinstance(item, Container) for item in items)}
    left = find_left(deployment, runs)
    for there in left.machines:
        say(f"on {there} stays: what it has of {name}, for the configuration does not name that machine.", "yellow")
        say(as_typed(f"To stop that too: name {there} under machines again, then hubfleet down"), "dim")
    for line in left.notes:
        say(f"stays: {line}", "yellow")
    if parts.statuses() is None:
        say(f"{name} is not running." if parts.names else f"Nothing of {name} runs.")
        return
    if not yes:
        confirm(f"Stop {name}?", "hubfleet down --yes")
    with deployment.machine.hold(str(deployment.layout.state)):
        count = parts.stop()
    say(f"{name} is stopped: {counted(count, 'container')}. Files stay in {deployment.layout.state}.")
    say(as_typed("Come back with: hubfleet up"))


def delete_data(deployment: ProjectDeployment, given: str | None) -> None:
    """Tell what there is, ask for its name, and delete all of it. ``given``: the name, where there is nobody to ask."""
    name, state = deployment.name, deployment.layout.state
    if given is not None and given != name:
        raise ConfigError(f"it is called {name}, not {given}", state="Nothing was deleted")
    deployment.check_places()
    known, ids = ever_made(deployment.generations), {item.id for item in of_others(deployment)}
    _check_left(deployment, known)
    doomed: dict[str, tuple[list[Resource], list[str]]] = {}
    sizes = {}
    for there, machine in deployment.machines.items():
        resources, kept = still_there(deployment, machine, known.get(there, []), ids)
        folders, sizes[there] = own_folders(machine, deployment.layout, resources)
        resources += _files(deployment, known.get(there, []), ids)
        doomed[there] = (resources, folders)
        for line in kept:
            say(f"on {there} stays: {line}", "dim")
    if not any(resources or folders for resources, folders in doomed.values()):
        say(f"There is nothing of {name} on {' and '.join(doomed)}.")
        return
    for there, (resources, folders) in doomed.items():
        say(f"From {there} this is deleted, and cannot be had back:", "red")
        for folder in folders:
            say(f"  all data, secrets, generations: {folder} ({rounded(sizes[there])})", "red")
        for line in (*counts(resources), *(f"  {item.title}" for item in resources if isinstance(item, File))):
            say(line, "red")
    if given is None:
        ask_for(name, "deployment")
    with deployment.machine.hold(str(state)):
        # The machine with the records last: with them goes what is known of the others.
        for there, (resources, folders) in reversed(list(doomed.items())):
            machine = deployment.machines[there]
            remove(machine, resources)
            for folder in dict.fromkeys([*folders, str(state)]):
                say(f"deleting {folder} on {there}")
                machine.store.erase(folder)
    say(f"{name} is gone from {' and '.join(doomed)}.")


def _check_left(deployment: ProjectDeployment, known: Mapping[str, list[Resource]]) -> None:
    """Raises CheckError where a machine that is not named any more has something of it; tells of one that cannot be
    asked, which may be no more."""
    left = find_left(deployment, known)
    if left.machines:
        where = " and ".join(left.machines)
        raise CheckError(
            f"{where} still has data of {deployment.name}, and the configuration does not name that machine: it would "
            "stay, and nothing would know of it",
            state="Nothing was deleted",
            remedy=f"name {where} under machines again, then the same command",
        )
    for line in left.notes:
        say(f"stays: {line}", "yellow")


def _files(deployment: ProjectDeployment, known: list[Resource], others: set[str]) -> list[Resource]:
    """Files outside its directory, which goes as a whole."""
    base = deployment.layout.base
    files = [item for item in known if isinstance(item, File) and item.id not in others]
    return [item for item in files if not Path(item.path).is_relative_to(base)]


def gather(deployment: ProjectDeployment) -> dict[str, Any]:
    """Everything `status` shows. ``state``: running, degraded (a part is down or does not answer), stopped; or
    deployed, where nothing of it runs."""
    current = deployment.generations.current()
    parts = deployment.parts()
    statuses = parts.statuses()
    found: dict[str, Any] = {
        "name": deployment.name,
        "project": deployment.project.name,
        "state": "stopped",
        "version": hubfleet.__version__,
        "generation": current,
        "rolled_back_to": deployment.generations.again(current) or None if current else None,
        "parts": {
            name: {
                **{key: value for key, value in vars(part).items() if key != "why"},
                "machine": parts.machine_of(name).name,
            }
            for name, part in (statuses or {}).items()
        },
        "problems": [],
    }
    if statuses is not None or (current and not parts.names):
        found["problems"] = _problems(deployment, statuses or {})
        found["state"] = "degraded" if found["problems"] else "running" if parts.names else "deployed"
    return found


def picture(found: dict[str, Any]) -> RenderableType:
    """The same for people."""
    colour = {"running": "green", "deployed": "green", "degraded": "yellow", "stopped": "red"}[found["state"]]
    back = f", rolled back to generation {found['rolled_back_to']}" if found["rolled_back_to"] else ""
    lines: list[RenderableType] = [
        Text.assemble((found["name"], "bold"), "  ", (found["state"], colour), f"  project {found['project']}"),
        Text(f"hubfleet {found['version']}, generation {found['generation']}{back}", style="dim"),
        *(Text(as_typed(problem), style="yellow") for problem in found["problems"]),
    ]
    if found["state"] == "stopped":
        return Group(*lines, Text(as_typed("Start it with: hubfleet up")))
    return Group(*lines, Text(), parts_table("part", found["parts"])) if found["parts"] else Group(*lines)


def _problems(deployment: ProjectDeployment, statuses: Mapping[str, Part]) -> list[str]:
    """Parts that are down, each with what it said last; and full disks."""
    parts, lines = deployment.parts(), []
    for name in parts.names:
        part = statuses.get(name)
        if part is None:
            lines.append(f"{name} is gone. Try: hubfleet up")
        elif part.why:
            lines.append(f"{name}: {part.why}")
        elif part.state != "running":
            said = [line for line in parts.log(name, 3, follow=False) or () if line.strip()]
            last = said[-1] if said else "nothing"
            lines.append(f"{name} is {part.state}; {parts.keeper} starts it again. It said last: {last}")
    for machine in deployment.machines.values():
        with contextlib.suppress(UnreachableError):  # which is told of its parts
            free = machine.store.room(str(deployment.layout.state))
            if free is not None and free < MIN_FREE_BYTES:
                lines.append(f"{machine.name}: the disk of {deployment.layout.state} is full. Try: free some space")
    return lines


def logs(deployment: ProjectDeployment, what: str | None, *, follow: bool, lines: int) -> None:
    """Show the log of one part; of the only one, where nobody says which."""
    parts = deployment.parts()
    if not deployment.generations.current() and not parts.names:
        raise NotRunningError(f"{deployment.name} has no logs: it was never started", remedy="hubfleet up")
    chosen = what or (parts.names[0] if len(parts.names) == 1 else "")
    said = parts.log(chosen, lines, follow)
    if said is None:
        known = " or ".join(parts.names) or "nothing"
        raise ConfigError(
            f"there is no log of {chosen!r}" if chosen else "of which part?", remedy=f"hubfleet logs {known}"
        )
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how following ends
        for line in said:
            say(line)


def rollback(
    deployment: ProjectDeployment, number: int | None, *, listing: bool, database: bool | None, yes: bool
) -> None:
    """Make it what a generation was. What is in volumes stays as it is."""
    generations = deployment.generations
    if listing:
        goback.listed(deployment)
        return
    if database is not None:
        raise ConfigError("--database is for hubs: what services keep stays as it is", state=_NOT_CHANGED)
    target = goback.target(generations, number)
    make = partial(_back, deployment, target)
    plan = make()
    if plan.empty and not generations.unfinished():
        say(f"{plan.hub} is as in generation {target}: there is nothing to change.")
        return
    if not plan.empty:
        goback.confirm_back(target, plan, yes)
    with deployment.machine.hold(str(deployment.layout.state)):
        try:
            carry.carry_out(deployment, plan)
            carry.tidy_up(make, partial(carry.carry_out, deployment))
        except ApplyError as error:
            raise goback.failed(error, target, generations.current()) from error
    say(f"{plan.hub} is as in generation {target} again. That is now generation {generations.current()}.")
    say(as_typed("What the configuration says instead: hubfleet plan. Make it so: hubfleet up"), "dim")


def _back(deployment: ProjectDeployment, number: int) -> Plan:
    """What leads there. Raises CheckError for what is not possible any more."""
    generations, machines = deployment.generations, deployment.generations.read(number)
    if lost := [name for name in machines if name not in deployment.machines]:
        what = f"generation {number} was on {', '.join(lost)} too, and the configuration does not name that machine now"
        raise CheckError(what, state=_NOT_CHANGED)
    wants = goback.wanted_now(deployment)
    images = {item.tag: item for items in wants.values() for item in items if isinstance(item, Image)}
    made: dict[str, tuple[Resource, ...]] = {}
    notes: tuple[str, ...] = ("what is in volumes is kept as it is now",)
    for name, then in machines.items():
        made[name], words = goback.remade(deployment.machines[name], number, then, (wants.get(name, ()),), images)
        notes += words
    before, after = deployment.dump_of(generations.current()), deployment.dump_of(number)
    settings = changed_settings(before, after) if before and after else ()
    return deployment.plan_for(deployment.wanted(made, notes, settings, number))


def do(deployment: ProjectDeployment, name: str, arguments: list[str]) -> None:
    """Run an action of the project. Raises ConfigError for one that it has not."""
    action = deployment.project.actions.get(name)
    if action is None or action.run is None:
        known = ", ".join(deployment.project.actions) or "none"
        raise ConfigError(f"project {deployment.project.name} has no action `{name}`", remedy=f"one of: {known}")
    if not deployment.generations.current():
        raise NotRunningError(f"{deployment.name} was never started", remedy="hubfleet up")
    asked = Asked(deployment.config, deployment.layout, deployment.machines, arguments, say)
    blamed = deployment.blamed(f"fails in action {name}", begun=True)
    with deployment.machine.hold(str(deployment.layout.state)), blamed:
        action.run(asked)

"""`hubfleet rollback`: what a generation was, once more."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer

from hubfleet.cli import goback, projectcommands
from hubfleet.cli.begin import open_deployment
from hubfleet.cli.console import as_typed, counted, say
from hubfleet.cli.deployment import Deployment
from hubfleet.cli.moving import reached
from hubfleet.cli.projectdeployment import opened
from hubfleet.cli.talk import hear
from hubfleet.cli.up import carry_out, tidy_up
from hubfleet.config import Config, changed_settings
from hubfleet.errors import ApplyError, CheckError
from hubfleet.machines import Machine
from hubfleet.plan import Desired, Plan
from hubfleet.plan.generations import DATABASE
from hubfleet.resources import Change, Database, File, Image, Resource
from hubfleet.unixhttp import Refused

_MARKS = 10_000  # more than there are generations a rollback could lead to, from each
_STOP_LIMIT_S = 60.0
NOT_CHANGED = "Nothing was changed"


def rollback(
    context: typer.Context,
    number: Annotated[
        int | None,
        typer.Argument(metavar="N", min=1, help="The generation to go back to; by default the one before."),
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="Show the generations, and change nothing.")] = False,
    database: Annotated[
        bool | None,
        typer.Option(
            "--database/--keep-database",
            help="Put the hub's database back too, or keep it. By default it is kept, unless the hub of then could "
            "not read it.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; show the plan's summary only.")] = False,
) -> None:
    """Go back to an earlier generation: settings, images, and where need be the hub's database. Running servers stay.

    Example: hubfleet rollback
    """
    if (other := opened(context.obj)) is not None:
        projectcommands.rollback(other, number, listing=listing, database=database, yes=yes)
        return
    deployment = open_deployment(context.obj)
    generations = deployment.generations
    if listing:
        goback.listed(deployment)
        return
    target = goback.target(generations, number)
    back = _Back.to(deployment, target, database)
    plan = back.plan()
    if plan.empty and not generations.unfinished():
        say(f"Hub {plan.hub} is as in generation {target}: there is nothing to change.")
        return
    if not plan.empty:
        goback.confirm_back(target, plan, yes)
    with deployment.machine.hold(str(deployment.layout.state)):
        if back.database is not None:
            _end(deployment, back.lost)
        try:
            carry_out(back.then, plan)
            tidy_up(back.then, back.plan)
        except ApplyError as error:
            raise goback.failed(error, target, generations.current()) from error
    _, silent = hear(back.then, {})
    if silent:
        raise ApplyError(
            "\n".join(silent), state="Users' running servers are not touched", remedy="hubfleet rollback --list"
        )
    say(f"Hub {plan.hub} is as in generation {target} again. That is now generation {generations.current()}.")
    say(as_typed("What the configuration says instead: hubfleet plan. Make it so: hubfleet up"), "dim")


@dataclass(frozen=True)
class _Back:
    """What going back to a generation takes.

    then:   the deployment with the configuration of then. machines: what it consists of, by machine. database: the
    step that puts it back; None where it is kept. lost: users' servers that the hub of then would not know.
    """

    deployment: Deployment
    number: int
    then: Deployment
    machines: dict[str, tuple[Resource, ...]]
    database: Database | None
    notes: tuple[str, ...]
    lost: tuple[dict[str, Any], ...]

    @classmethod
    def to(cls, deployment: Deployment, number: int, wanted: bool | None) -> _Back:
        """Changes nothing. Raises CheckError for what is not possible any more."""
        machine, generations = deployment.machine, deployment.generations
        machines = generations.read(number)
        then = machines.get(machine.name, ())
        dump, engine = _dump(deployment, then), deployment.engine
        if dump is None and machine.name not in machines:
            raise CheckError(f"generation {number} was on {', '.join(machines)}, and the hub is on {machine.name} now")
        if dump is None or dump.get("engine") != engine.name or not engine.containers(deployment.config):
            raise CheckError(
                "going back is for engine docker, and to generations of the same engine", state="Nothing was changed"
            )
        config = _config(dump, number)
        others = {
            name: deployment.others.get(name) or reached(name, settings)
            for name, settings in config.machines.items()
            if name != config.hub_machine
        }
        back = replace(deployment, config=config, others=others)
        wants = goback.wanted_now(deployment)
        images = {item.tag: item for items in wants.values() for item in items if isinstance(item, Image)}
        links = back.engine.link_files(back.config, back.site)
        made: dict[str, tuple[Resource, ...]] = {}
        notes: tuple[str, ...] = ()
        for name, there in _reachable(back, machines, number).items():
            wanted_there = (wants.get(name, ()), links.get(name, ()))
            made[name], words = goback.remade(there, number, machines[name], wanted_there, images)
            notes += words
        database, words, lost = _database(deployment, number, wanted)
        return cls(deployment, number, back, made, database, (*words, *notes), lost)

    def plan(self) -> Plan:
        deployment, generations = self.deployment, self.deployment.generations
        hub = f"container:{deployment.engine.containers(deployment.config)['hub']}"
        resources = list(self.machines[deployment.machine.name])
        if self.database is not None:
            at = next(index for index, item in enumerate(resources) if item.id == hub)
            resources.insert(at, self.database)
        current = generations.current()
        before = _dump(deployment, generations.read(current).get(deployment.machine.name, ()))
        settings = changed_settings(before, self.then.config.dump()) if before else ()
        holds = f"file:{deployment.layout.launcher_dir / 'launcher.json'}"
        here = {**self.machines, deployment.machine.name: tuple(resources)}
        state = deployment.layout.state
        desired = Desired(deployment.config.hub, state, here, self.notes, settings, holds, self.number)
        plan = self.then.plan_for(desired)
        return replace(plan, changes=tuple(_started(plan, hub)))


def _started(plan: Plan, hub: str) -> Iterator[tuple[str, Change]]:
    """The plan's changes, and that the hub is started again where it is stopped for its database only."""
    replaced = any(change.resource.id == hub for _, change in plan.changes)
    for name, change in plan.changes:
        yield name, change
        if change.resource.kind == Database.kind and not replaced:
            container = next(item for item in plan.desired.machines[name] if item.id == hub)
            yield name, Change(container, "start", ("it was stopped for its database",))


def _dump(deployment: Deployment, then: tuple[Resource, ...]) -> dict[str, Any] | None:
    """The configuration that a generation was made of, as it was recorded; None in one of another engine."""
    path = str(deployment.layout.launcher_dir / "launcher.json")
    for item in then:
        if isinstance(item, File) and item.path == path:
            return dict(json.loads(item.content)["config"])
    return None


def _config(dump: dict[str, Any], number: int) -> Config:
    try:
        return Config.from_dump(dump)
    except ValueError as error:
        raise CheckError(
            f"the settings of generation {number} are of another release of hubfleet, and this one cannot read them",
            state="Nothing was changed",
            remedy="the same command with that release",
        ) from error


def _reachable(back: Deployment, machines: Iterable[str], number: int) -> dict[str, Machine]:
    """The machines of a generation. Raises CheckError for one that its configuration does not say how to reach."""
    known = {back.machine.name: back.machine, **back.others}
    if lost := [name for name in machines if name not in known]:
        names = ", ".join(lost)
        raise CheckError(f"generation {number} was on {names} too, and there is no way to it", state=NOT_CHANGED)
    return {name: known[name] for name in machines}


def _database(
    deployment: Deployment, number: int, wanted: bool | None
) -> tuple[Database | None, tuple[str, ...], tuple[dict[str, Any], ...]]:
    """The step that puts the database back, or None; what to tell; and servers that the hub would not know then."""
    generations, store, path = deployment.generations, deployment.machine.store, str(deployment.layout.database)
    copy, current = generations.database(number), generations.current()
    if copy is None:
        if wanted:
            raise CheckError(f"there is no copy of the database from generation {number}", state="Nothing was changed")
        return None, ("the hub's database is kept: accounts, passwords and logins are as they are now",), ()
    then, now = store.database(copy), store.database(path)
    if then is None:
        raise CheckError(f"{copy} is gone", state="Nothing was changed", remedy="hubfleet rollback --keep-database")
    readable = now is not None and now["form"] == then["form"]
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(then["changed"]))
    if wanted is False and not readable:
        raise CheckError(
            f"the hub of generation {number} cannot read the database as it is now", state="Nothing was changed"
        )
    if readable and not wanted:
        kept = "the hub's database is kept: accounts, passwords and logins are as they are now"
        return None, (f"{kept} (--database puts that of {when} back)",), ()
    folder, mark = generations.folder(current), current * _MARKS + number
    if now is not None and now["mark"] == mark:
        return None, ("the hub's database was put back before this was interrupted",), ()
    beside = str(folder / DATABASE)
    beside = f"{beside}.replaced" if beside == copy else beside
    lost = tuple(record for record in deployment.parts.servers() if record["started"] > then["changed"])
    words = [f"the hub's database becomes that of {when}: who signed up, was let in or blocked, or changed their"]
    words = [f"{words[0]} password after that is forgotten, and has to do it again. Homes stay"]
    if lost:
        names = ", ".join(f"{record['user']} {record['server']}".rstrip() for record in lost)
        words.append(f"{counted(len(lost), 'server')} started after that will be stopped: {names}")
    container = deployment.engine.containers(deployment.config)["hub"]
    return Database(path, copy, beside, container, mark), tuple(words), lost


def _end(deployment: Deployment, servers: tuple[dict[str, Any], ...]) -> None:
    """Stop servers that the hub would not know: nobody could enter them, nor stop them."""
    for record in servers:
        say(f"stopping the server of {record['user']} {record['server']}".rstrip())
        body = {"user": record["user"], "server": record["server"]}
        # a launcher that is away stops it at its owner's next start
        with contextlib.suppress(OSError, Refused):
            socket = str(deployment.layout.launcher_socket)
            deployment.machine.request(socket, "POST", "/v1/stop", body, None, _STOP_LIMIT_S)

"""`hubfleet up`: make it so, and either stay in front of the hub or leave it running."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from hubfleet.checks import failures
from hubfleet.cli import carry, moved, projectcommands
from hubfleet.cli.begin import open_deployment, save_choices
from hubfleet.cli.console import as_typed, ask, out, say
from hubfleet.cli.deployment import Deployment
from hubfleet.cli.down import stopped_words
from hubfleet.cli.projectdeployment import opened
from hubfleet.cli.talk import hear, people
from hubfleet.config import starter_text
from hubfleet.config.campus import Platform
from hubfleet.config.vouching import Provider, Voucher
from hubfleet.engines.logins import callback
from hubfleet.errors import ApplyError, CheckError, ConfigError
from hubfleet.plan import Event, Plan
from hubfleet.plan.generations import DATABASE
from hubfleet.resources import Database
from hubfleet.sshcommand import CONFIGURATIONS

_DISTURBING = {"container", "process"}
"""Kinds of resources after whose change another hub may have the database."""


def up(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; show the plan's summary only.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Leave the hub running and come back. Hubs of containers always do.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="PORT", min=1, max=65535, help="Listen there instead, until told otherwise."),
    ] = None,
) -> None:
    """Check, plan, ask, and do it. Then stay in front of the hub until Ctrl-C stops it; --detach leaves it running.

    Example: hubfleet up --detach
    """
    if (other := opened(context.obj)) is not None:
        if port is not None:
            raise ConfigError("--port is for hubs", state="Nothing was changed", remedy="the ports in the file")
        projectcommands.up(other, yes=yes)
        return
    deployment = open_deployment(context.obj, port=port, detach=detach)
    if detach and deployment.supervision == "containers":
        say("note: a hub of containers is always detached; --detach changes nothing.", "blue")
    before = deployment.parts.statuses()
    problems = failures(moved.check(deployment))
    if problems:
        raise CheckError("\n".join(finding.text for finding in problems), state="Nothing was changed")
    plan = deployment.plan()
    carry.confirm_plan(plan, yes)
    carry.make_state(deployment)
    with deployment.machine.hold(str(deployment.layout.state)):
        _write_files(deployment, yes)
        moved.forget_servers(deployment)
        if not plan.empty or deployment.generations.unfinished():
            carry_out(deployment, plan)
            tidy_up(deployment, deployment.plan)
    _, silent = hear(deployment, {})
    silent = [*(deployment.fleet_problems() if not plan.empty else []), *silent]
    if silent:
        state = "Users' running servers are not touched"
        raise ApplyError("\n".join(silent), state=state, remedy="hubfleet check")
    _tell(deployment, plan, detach)
    if before is None and deployment.supervision == "attached":
        _stay(deployment)


def _write_files(deployment: Deployment, yes: bool) -> None:
    """Before the first change: new passwords, and a file for a hub that has none."""
    if deployment.file is None:
        path = Path(CONFIGURATIONS[0])
        if yes or ask(f"Write this hub's settings to {path}, so that you can change them?"):
            path.write_text(starter_text(deployment.config.hub))
            say(f"Wrote {path}.")
    for name, password in deployment.new_passwords.items():
        deployment.secrets.ensure(name, partial(str, password))
    save_choices(deployment)


def carry_out(deployment: Deployment, plan: Plan) -> None:
    """Record a plan, and carry it out, with a copy of the database from before. The lock must be held."""
    kinds = {change.resource.kind for _, change in plan.changes}
    # a rollback that puts a database back keeps the present one itself, when the hub is stopped
    kept = Database.kind in kinds or deployment.generations.current() == 0

    def keep(event: Event) -> None:
        nonlocal kept
        here = event.machine == deployment.machine.name
        if here and event.change.resource.kind in _DISTURBING and not kept:
            kept = True
            _keep_database(deployment)

    carry.carry_out(deployment, plan, keep)


def _keep_database(deployment: Deployment) -> None:
    """Keep the hub's database as the present generation leaves it, before another hub has it. It costs no deployment
    that this fails: what is wrong with the database may be what the deployment is to mend."""
    current = deployment.generations.current()
    target = deployment.generations.folder(current) / DATABASE
    try:
        deployment.machine.store.keep_database(str(deployment.layout.database), str(target))
    except (ApplyError, OSError) as error:
        say(f"note: {error}. A rollback to generation {current} can only keep the database as it is then", "blue")


def tidy_up(deployment: Deployment, plan: Callable[[], Plan]) -> None:
    """Remove what was in use when the plan was made, and no longer is."""
    carry.tidy_up(plan, partial(carry_out, deployment))


def _tell(deployment: Deployment, plan: Plan, detach: bool) -> None:
    """The address, how to log in, and where things are."""
    if detach and deployment.supervision == "attached":
        say("note: the hub runs in front of a terminal. To detach it: Ctrl-C there, then this command again.", "blue")
    if plan.empty:
        say(f"Hub {plan.hub} is at {deployment.url}")
        _tell_of_servers_left(deployment)
        return
    say()
    say(f"Hub {plan.hub} is ready: {deployment.url}", "bold green")
    new = deployment.new_passwords
    for name in (name for name in new if name.startswith("admin_password.")):
        admin = name.partition(".")[2]
        say(f"  Log in as {admin} with password {new[name]}")
    if "class_password" in new:
        say(f"  Others sign up at {deployment.url}/hub/signup with class password {new['class_password']}")
    if deployment.config.login.signup:
        remedy = as_typed("hubfleet users approve NAME")
        say(f"  Others sign up at {deployment.url}/hub/signup; let them in with: {remedy}")
    if provider := deployment.config.login.provider:
        say(f"  People {_way_in(provider, callback(deployment.config))}")
    elif new:
        say(f"  Shown only now; kept in {deployment.secrets.path} (readable by you only).", "dim")
    else:
        say(f"  Passwords are in {deployment.secrets.path}.", "dim")
    there = f" (on {deployment.machine.name})" if deployment.remote else ""
    apart = f" (on {deployment.homes_machine.name})" if deployment.remote else ""
    say(f"  Homes: {deployment.homes}{apart}" if deployment.homes else "  Homes are not kept.", "dim")
    say(f"  Database, settings, logs: {deployment.layout.state}{there}", "dim")
    if deployment.supervision != "attached":
        say(as_typed("  It keeps running. See: hubfleet status, hubfleet logs. Stop it: hubfleet down"), "dim")
    _tell_of_servers_left(deployment)


def _way_in(provider: Voucher, back: str) -> str:
    """How people come in whom somebody vouches for. ``back``: where these are sent to."""
    if isinstance(provider, Provider):
        return f"log in with {provider.called}, which sends them back to {back}"
    if isinstance(provider, Platform):
        begin = back.replace("oauth_callback", "oauth_login")
        return f"come from {provider.called}, whose log-ins begin at {begin} and end at {back}"
    return f"log in with their password of {provider.called}"


def _tell_of_servers_left(deployment: Deployment) -> None:
    """Name those whose server goes on although they may not enter: nothing is lost to a slip in the file."""
    login = deployment.config.login
    # Where a provider vouches for people, the configuration says what becomes of their servers.
    for entry in people(deployment) if login.allow and not login.provider else []:
        if entry["servers"] and not entry["approved"]:
            name = entry["name"]
            remedy = as_typed(f"hubfleet users block {name}")
            say(f"  {name} may not enter any more, but has a running server. To stop it: {remedy}", "yellow")


def _stay(deployment: Deployment) -> None:
    """Wait in front of the hub. Ctrl-C (or the end of the terminal) stops it, and says how to come back."""
    say("  Ctrl-C stops the hub.", "dim")
    leave = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: leave.set())
    while not leave.wait(0.5):
        if deployment.parts.statuses() is None:
            raise ApplyError("the hub was stopped by another command, or its supervisor died", remedy="hubfleet status")
    out.line()
    say("Stopping the hub and its servers ...")
    stopped = deployment.parts.stop()
    say(f"{stopped_words(deployment.config.hub, stopped)} Files and accounts stay in {deployment.layout.state}.")
    say(f"Come back with: {_make_up() if 'MAKELEVEL' in os.environ else carry.typed()}")


def _make_up() -> str:
    """How `make up` was typed."""
    port = sys.argv[sys.argv.index("--port") + 1] if "--port" in sys.argv else ""
    return f"make up PORT={port}" if port else "make up"

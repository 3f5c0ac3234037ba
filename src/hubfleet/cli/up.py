"""`hubfleet up`: make it so, and either stay in front of the hub or leave it running."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from hubfleet import agent
from hubfleet.checks import failures
from hubfleet.cli.console import as_typed, ask, counted, out, program, report, say, show
from hubfleet.cli.deployment import Deployment, open_deployment, save_choices
from hubfleet.cli.down import stop_everything
from hubfleet.cli.talk import hear, people
from hubfleet.config import starter_text
from hubfleet.config.load import NAMES
from hubfleet.errors import ApplyError, CancelledError_, CheckError
from hubfleet.plan import Line, Plan, apply_plan, plan_lines, summary


def up(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; show the plan's summary only.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Leave the hub running and come back.")] = False,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="PORT", min=1, max=65535, help="Listen there instead, until told otherwise."),
    ] = None,
) -> None:
    """Check, plan, ask, and do it. Then stay in front of the hub until Ctrl-C stops it; --detach leaves it running.

    Example: hubfleet up --detach
    """
    deployment = open_deployment(context.obj, port=port, detach=detach)
    before = deployment.supervisor()
    problems = failures(deployment.check())
    if problems:
        raise CheckError("\n".join(finding.text for finding in problems), state="Nothing was changed")
    plan = deployment.plan()
    _confirm(deployment, plan, yes)
    _make_state(deployment)
    with agent.hold(deployment.layout.state):
        _write_files(deployment, yes)
        if not plan.empty:
            _carry_out(deployment, plan)
            _sweep(deployment)
    _, silent = hear(deployment, {})
    if silent:
        state = "Users' running servers are not touched"
        raise ApplyError("\n".join(silent), state=state, remedy="hubfleet check")
    _tell(deployment, plan, detach)
    if before is None and deployment.supervision == "attached":
        _stay(deployment)


def _confirm(deployment: Deployment, plan: Plan, yes: bool) -> None:
    if yes or plan.empty:
        say(f"{plan.hub}: {summary(plan)}", "bold")
        show(Line(f"note: {note}", "note") for note in plan.notes)
        return
    show(plan_lines(plan))
    if not ask("Do this?"):
        raise CancelledError_("not done", state="Nothing was changed", remedy=f"{_typed()} --yes")


def _make_state(deployment: Deployment) -> None:
    """The directory that holds the lock."""
    state = deployment.layout.state
    for path, mode in ((state.parent, 0o755), (state, 0o711)):
        if not path.is_dir():
            path.mkdir(parents=True)
            path.chmod(mode if deployment.layout.privileged else 0o700)


def _write_files(deployment: Deployment, yes: bool) -> None:
    """Before the first change: new passwords, and a file for a hub that has none."""
    if deployment.file is None:
        path = Path(NAMES[0])
        if yes or ask(f"Write this hub's settings to {path}, so that you can change them?"):
            path.write_text(starter_text(deployment.config.hub))
            say(f"Wrote {path}.")
    for name, password in deployment.new_passwords.items():
        deployment.secrets.ensure(name, partial(str, password))
    save_choices(deployment)


def _carry_out(deployment: Deployment, plan: Plan) -> None:
    number = deployment.generations.begin(plan)
    apply_plan(plan, deployment.machines, report)
    deployment.generations.switch(number)


def _sweep(deployment: Deployment) -> None:
    """Remove environments that were in use when the plan was made, and no longer are."""
    plan = deployment.plan()
    if not plan.empty and all(change.action == "remove" for _, change in plan.changes):
        _carry_out(deployment, plan)


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
    if new:
        say(f"  Shown only now; kept in {deployment.secrets.path} (readable by you only).", "dim")
    else:
        say(f"  Passwords are in {deployment.secrets.path}.", "dim")
    say(f"  Homes: {deployment.homes}" if deployment.homes else "  Homes are not kept.", "dim")
    say(f"  Database, settings, logs: {deployment.layout.state}", "dim")
    if deployment.supervision != "attached":
        say(as_typed("  It keeps running. See: hubfleet status, hubfleet logs. Stop it: hubfleet down"), "dim")
    _tell_of_servers_left(deployment)


def _tell_of_servers_left(deployment: Deployment) -> None:
    """Name those whose server goes on although they may not enter: nothing is lost to a slip in the file."""
    for entry in people(deployment) if deployment.config.login.allow else []:
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
        if deployment.supervisor() is None:
            raise ApplyError("the hub was stopped by another command, or its supervisor died", remedy="hubfleet status")
    out.line()
    say("Stopping the hub and its servers ...")
    stopped = stop_everything(deployment)
    say(
        f"Stopped, with {counted(stopped, 'running server')}. Files and accounts are kept in {deployment.layout.state}."
    )
    say(f"Come back with: {_make_up() if 'MAKELEVEL' in os.environ else _typed()}")


def _make_up() -> str:
    """How `make up` was typed."""
    port = sys.argv[sys.argv.index("--port") + 1] if "--port" in sys.argv else ""
    return f"make up PORT={port}" if port else "make up"


def _typed() -> str:
    """The command as it was typed."""
    return shlex.join([*program(), *sys.argv[1:]])

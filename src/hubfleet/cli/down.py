"""`hubfleet down`: stop a hub. Nothing is deleted."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from typing import Annotated

import typer

from hubfleet import agent
from hubfleet.cli.console import ask, counted, say
from hubfleet.cli.deployment import Deployment, Options, open_deployment
from hubfleet.cli.talk import ask_launcher
from hubfleet.errors import ApplyError, CancelledError_, NotRunningError
from hubfleet.supervisor.spec import SupervisorStatus

STOP_LIMIT_S = 60


def down(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Stop the hub and every user's server. Files, accounts and settings stay.

    Example: hubfleet down
    """
    deployment = open_deployment(context.obj)
    if deployment.supervisor() is None:
        say(f"Hub {deployment.config.hub} is not running.")
        return
    try:
        servers = ask_launcher(deployment, "GET", "/v1/servers")["servers"]
    except NotRunningError:
        servers = []
    if servers:
        say(
            f"{counted(len(servers), 'running server')} will be stopped; what kernels hold in memory is lost:",
            "yellow",
        )
        for entry in servers:
            say(f"  {entry['user']} {entry['server']}".rstrip())
    if not yes and not ask(f"Stop hub {deployment.config.hub}?"):
        raise CancelledError_("not stopped", state="Nothing was changed", remedy="hubfleet down --yes")
    with agent.hold(deployment.layout.state):
        stopped = stop_everything(deployment)
    say(f"Stopped, with {counted(stopped, 'running server')}. Files stay in {deployment.layout.state}.")
    options: Options = context.obj
    words = [
        "hubfleet",
        *(["-c", str(options.config)] if options.config else []),
        *(["-H", options.hub] if options.hub else []),
    ]
    say(f"Come back with: {shlex.join(words)} up{'' if deployment.supervision == 'attached' else ' --detach'}")


def stop_everything(deployment: Deployment) -> int:
    """Stop users' servers, then the hub's processes; returns how many servers there were.

    Raises ApplyError when something does not end.
    """
    supervisor = deployment.supervisor()
    if supervisor is None:
        return 0
    try:
        stopped = int(ask_launcher(deployment, "POST", "/v1/stop-all", {}, timeout=STOP_LIMIT_S)["stopped"])
    except NotRunningError as error:
        raise ApplyError(
            "users' servers could not be stopped, because the launcher does not answer",
            state="Nothing was changed",
            remedy="hubfleet logs launcher, then hubfleet down again",
        ) from error
    unit = deployment.layout.unit
    if deployment.supervision == "systemd":
        done = subprocess.run(["systemctl", "disable", "--now", unit], capture_output=True, text=True)
        if done.returncode != 0:
            raise ApplyError(
                f"systemctl disable --now {unit}: {done.stderr.strip()}", remedy=f"systemctl status {unit}"
            )
        deployment.layout.unit_file.unlink(missing_ok=True)
        subprocess.run(["systemctl", "daemon-reload"], check=False)
    else:
        os.kill(supervisor.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_LIMIT_S
    while SupervisorStatus.read(deployment.layout.supervisor_dir) is not None:
        if time.monotonic() > deadline:
            raise ApplyError(
                f"the supervisor (process {supervisor.pid}) does not end", remedy="hubfleet logs supervisor"
            )
        time.sleep(0.1)
    return stopped

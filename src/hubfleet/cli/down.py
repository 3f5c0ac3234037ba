"""`hubfleet down`: stop a hub. Nothing is deleted."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import Annotated

import typer

from hubfleet import agent
from hubfleet.cli.console import as_typed, ask, counted, say
from hubfleet.cli.deployment import Deployment, open_deployment
from hubfleet.cli.servers import running_servers, stop_servers
from hubfleet.errors import ApplyError, CancelledError_
from hubfleet.supervisor.spec import SupervisorStatus

STOP_LIMIT_S = 60


def down(context: typer.Context, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Stop the hub and every user's server. Files, accounts and settings stay.

    Example: hubfleet down
    """
    deployment = open_deployment(context.obj)
    servers = running_servers(deployment)
    if deployment.supervisor() is None and not servers:
        say(f"Hub {deployment.config.hub} is not running.")
        return
    if servers:
        say(
            f"{counted(len(servers), 'running server')} will be stopped; what kernels hold in memory is lost:", "yellow"
        )
        for record in servers:
            say(f"  {record.user} {record.server}".rstrip())
    if not yes and not ask(f"Stop hub {deployment.config.hub}?"):
        raise CancelledError_("not stopped", state="Nothing was changed", remedy="hubfleet down --yes")
    with agent.hold(deployment.layout.state):
        stopped = stop_everything(deployment)
    say(f"Stopped, with {counted(stopped, 'running server')}. Files stay in {deployment.layout.state}.")
    say(as_typed(f"Come back with: hubfleet up{'' if deployment.supervision == 'attached' else ' --detach'}"))


def stop_everything(deployment: Deployment) -> int:
    """Stop the hub's processes, then users' servers; returns how many servers there were.

    The servers come last and need no launcher, so that one that hangs is no obstacle. Raises ApplyError when something
    does not end.
    """
    supervisor = deployment.supervisor()
    if supervisor is not None:
        _stop_supervisor(deployment, supervisor)
    return stop_servers(deployment)


def _stop_supervisor(deployment: Deployment, supervisor: SupervisorStatus) -> None:
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
    while deployment.supervisor() is not None:
        if time.monotonic() > deadline:
            raise ApplyError(
                f"the supervisor (process {supervisor.pid}) does not end", remedy="hubfleet logs supervisor"
            )
        time.sleep(0.1)

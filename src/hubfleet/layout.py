"""Where a hub's files are on this machine.

Started by root, everything is under ``/var/lib/hubfleet/<hub>``; started by an ordinary user, under
``~/.local/share/hubfleet/<hub>``. ``HUBFLEET_STATE_DIR`` replaces the part before ``<hub>``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT_BASE = Path("/var/lib/hubfleet")
MIN_FREE_BYTES = 1024 * 1024
"""With less room than this for its own files a hub does not start."""
SECRETS = "launcher-secrets.json"
"""Beside the launcher's settings: what it shows to services."""
OWNERS = "owners.json"
"""In the launcher's directory: what a service has said of who owns whose files."""
# What is added to `run` for the longest socket path: /servers/<16>/server.sock, and for an ordinary user, whose servers
# have no private /run, a kernel's /servers/<16>/kernel-<36>-ipc-5 too.
_SOCKET_ROOM = {True: 40, False: 76}
_SOCKET_LIMIT = 107  # bytes: sun_path of Linux, less the final zero


@dataclass(frozen=True)
class Layout:
    """The places of one hub. ``privileged``: started by root, so users can be isolated from each other."""

    hub: str
    base: Path
    privileged: bool

    @classmethod
    def here(cls, hub: str, environ: Mapping[str, str] = os.environ) -> Layout:
        """The layout for the account that runs this process."""
        privileged = os.geteuid() == 0
        if override := environ.get("HUBFLEET_STATE_DIR"):
            base = Path(override).absolute()
        elif privileged:
            base = ROOT_BASE
        else:
            data = environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
            base = Path(data) / "hubfleet"
        return cls(hub, base, privileged)

    @property
    def state(self) -> Path:
        """Everything of this hub that must outlive a reboot."""
        return self.base / self.hub

    @property
    def trial(self) -> Layout:
        """Of the second hub that a new generation is tried out with: no hub's own, for no name has an underscore."""
        return Layout(f"{self.hub}_try", self.base, self.privileged)

    @property
    def run(self) -> Path:
        """Sockets. Normally inside the state directory.

        JupyterHub keeps a server's address in lower case, and a socket path has a length limit; where the state
        directory fits neither, a directory of this account under /tmp is used.
        """
        run = self.state / "run"
        if str(run) == str(run).lower() and len(os.fsencode(run)) + _SOCKET_ROOM[self.privileged] <= _SOCKET_LIMIT:
            return run
        owner = 0 if self.privileged else os.geteuid()
        return Path("/tmp") / f"hubfleet-{owner}-{hashlib.sha256(str(run).encode()).hexdigest()[:8]}"

    @property
    def project_record(self) -> Path:
        """Of what is no hub: which project it is of, and its configuration."""
        return self.state / "project.json"

    @property
    def called(self) -> Path:
        """On a machine without the hub: what the last deployment called it."""
        return self.state / "machine"

    # What belongs to whom: hub/ is the hub's own, launcher/ and secrets/ are the operator's (root's), logs/ too.
    @property
    def hub_dir(self) -> Path:
        """The hub's own files: database, cookie secret, `hub.json`."""
        return self.state / "hub"

    @property
    def database(self) -> Path:
        return self.hub_dir / "jupyterhub.sqlite"

    @property
    def rules(self) -> Path:
        """Who of those that a provider vouches for may enter; the hub reads it again when it changes."""
        return self.hub_dir / "rules.json"

    @property
    def launcher_dir(self) -> Path:
        """The launcher's configuration and its record of running servers."""
        return self.state / "launcher"

    @property
    def secrets_dir(self) -> Path:
        """Tokens that hubfleet makes for itself."""
        return self.state / "secrets"

    @property
    def supervisor_dir(self) -> Path:
        return self.state / "supervisor"

    @property
    def unit(self) -> str:
        """The systemd unit that keeps the supervisor running, where there is systemd."""
        return f"hubfleet-{self.hub}.service"

    @property
    def unit_file(self) -> Path:
        return Path("/etc/systemd/system") / self.unit

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def homes(self) -> Path:
        """Where users' homes are unless the configuration names another place."""
        return self.state / "homes"

    @property
    def passing_homes(self) -> Path:
        """Homes of running servers, where homes are not kept."""
        return self.state / "passing-homes"

    @property
    def keeper_dir(self) -> Path:
        """What the keeper of homes is told, where that is a service of its own."""
        return self.state / "keeper"

    @property
    def keeper_socket(self) -> Path:
        return self.run / "keeper" / "keeper.sock"

    @property
    def environments(self) -> Path:
        return self.state / "environments"

    @property
    def hub_socket(self) -> Path:
        return self.run / "hub" / "hub.sock"

    @property
    def proxy_socket(self) -> Path:
        return self.run / "proxy" / "api.sock"

    @property
    def proxy_routes(self) -> Path:
        """Where the proxy keeps its routes for the next one: the directory is the proxy's own."""
        return self.run / "proxy" / "routes.json"

    @property
    def launcher_socket(self) -> Path:
        return self.run / "launcher" / "launcher.sock"

    @property
    def servers_run(self) -> Path:
        """One directory a running server, with its socket."""
        return self.run / "servers"

    @property
    def uids(self) -> Path:
        """The machine's table of user ids handed out to users, shared by all hubs on it, wherever their state is."""
        return ROOT_BASE / "uids.json"

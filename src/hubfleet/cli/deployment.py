"""Everything a command needs to know about one hub: its configuration, this machine, and what is there already."""

from __future__ import annotations

import json
import os
import pwd
import secrets as random
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import hubfleet
from hubfleet.checks import Finding, run_checks
from hubfleet.config import Config, Secrets, default_config, generate_password, load
from hubfleet.config.document import read_document
from hubfleet.config.load import NAMES
from hubfleet.engines import engine
from hubfleet.engines.base import TOKENS, Engine, Site, Supervision
from hubfleet.errors import CheckError
from hubfleet.layout import Layout
from hubfleet.machines import LocalMachine, Machine
from hubfleet.plan import Desired, Generations, Plan, make_plan
from hubfleet.privatefiles import write_private
from hubfleet.resources.environment import tree_digest
from hubfleet.supervisor.spec import SupervisorStatus

SYSTEMD = Path("/run/systemd/system")


@dataclass(frozen=True)
class Options:
    """What was given before the command: the file, the hub's name, and whether to show tracebacks."""

    config: Path | None = None
    hub: str | None = None
    debug: bool = False


@dataclass(frozen=True)
class Deployment:
    """One hub on this machine.

    ``file``: the configuration file, None for the built-in default. ``new_passwords``: generated for this run and not
    yet written. ``file_port``: the file's own value, where `up --port` chose another that the configuration has now.
    """

    config: Config
    file: Path | None
    secrets: Secrets
    layout: Layout
    passwords: Mapping[str, str]
    new_passwords: Mapping[str, str]
    file_port: int
    supervision: Supervision

    @property
    def engine(self) -> Engine:
        return engine(self.config.engine)

    @property
    def url(self) -> str:
        """Where people go, as seen from this machine."""
        address = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.config.listen.address, self.config.listen.address)
        return f"http://{address}:{self.config.listen.port}"

    @property
    def homes(self) -> Path | None:
        """Where homes are kept; None when they are not."""
        return self.config.homes(self.layout.homes)

    @property
    def file_path(self) -> str:
        """The configuration file, or where it would be."""
        return str((self.file or Path(NAMES[0])).resolve())

    @property
    def generations(self) -> Generations:
        return Generations(self.layout.state)

    @property
    def machines(self) -> dict[str, Machine]:
        machine = LocalMachine("this machine")
        return {machine.name: machine}

    def supervisor(self) -> SupervisorStatus | None:
        """The running supervisor's status, or None."""
        return SupervisorStatus.read(self.layout.supervisor_dir)

    def check(self) -> list[Finding]:
        """What could go wrong on this machine."""
        supervisor = self.supervisor()
        processes = supervisor.processes.values() if supervisor else ()
        own = frozenset(entry.pid for entry in processes if entry.pid)
        settings = self.layout.hub_dir / "hub.json"
        own_port = json.loads(settings.read_text())["port"] if own and settings.exists() else None
        return run_checks(self.config, self.site, own=own, own_port=own_port)

    @cached_property
    def site(self) -> Site:
        """The facts of this machine."""
        package = Path(hubfleet.__file__).parent
        requirements = self.config.servers.requirements
        python = getattr(sys, "_base_executable", sys.executable)
        return Site(
            layout=self.layout,
            account=pwd.getpwuid(os.geteuid()).pw_name,
            python=os.path.realpath(python),
            python_version=f"{sys.version_info[0]}.{sys.version_info[1]}",
            interpreter=Path(sys.base_prefix).resolve(),
            package=package,
            package_digest=tree_digest(((str(package), "hubfleet"),)),
            singleuser_digest=tree_digest(((str(package / "singleuser"), "hubfleet_singleuser"),)),
            supervision=self.supervision,
            limits_problem=self.engine.limits_problem(self.config.hub),
            tokens=self._tokens(),
            passwords=self.passwords,
            requirements=requirements.read_text() if requirements else "",
        )

    def _tokens(self) -> dict[str, str]:
        """hubfleet's own tokens: those of the last deployment, new ones before the first."""
        path = self.layout.secrets_dir / "tokens.json"
        known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        return {name: known.get(name) or random.token_hex(32) for name in TOKENS}

    def desired(self) -> Desired:
        """What should be there. Raises CheckError for what this engine cannot do here."""
        problems = self.engine.problems(self.config, self.site)
        if problems:
            raise CheckError("\n".join(problems), state="Nothing was changed")
        notes: tuple[str, ...] = ()
        if self.config.listen.port != self.file_port:
            notes += (f"port {self.config.listen.port} was chosen on the command line",)
        origin = _origin(self.layout)
        if origin and origin != self.file_path:
            notes += (f"this hub was deployed from {origin} before; hubs of different files need different names",)
        if not self.layout.privileged:
            notes += ("started without root: people on this hub are not isolated from each other",)
        resources = self.engine.desired(self.config, self.site)
        return Desired(self.config.hub, self.layout.state, {"this machine": resources}, notes)

    def plan(self) -> Plan:
        """What would change."""
        return make_plan(self.desired(), self.machines, self.generations.known())


def open_deployment(options: Options, *, port: int | None = None, detach: bool = False) -> Deployment:
    """Read configuration, secrets and the traces of earlier runs; changes nothing."""
    file = options.config or next((Path(name) for name in NAMES if Path(name).exists()), None)
    config = load(options.config, options.hub) if file or options.hub else default_config()
    layout = Layout.here(config.hub)
    file_port = config.listen.port
    listen = config.listen.model_copy(update={"port": port or _chosen_port(layout, file_port)})
    config = config.model_copy(update={"listen": listen})
    several = file is not None and "hubs" in read_document(file).data
    secrets = Secrets.beside(file or Path(NAMES[0]), config.hub if several else None)
    names = [f"admin_password.{name}" for name in config.login.admins]
    names += ["class_password"] if config.login.password else []
    known = {name: secret.reveal() for name in names if (secret := secrets.get(name)) is not None}
    new = {name: generate_password() for name in names if name not in known}
    supervision = _supervision(layout, detach)
    return Deployment(config, file, secrets, layout, {**known, **new}, new, file_port, supervision)


def _chosen_port(layout: Layout, file_port: int) -> int:
    """A port chosen with `up --port` holds until another is chosen or the file's own value changes."""
    path = layout.state / "overrides.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    return int(known["port"]) if known.get("instead_of") == file_port else file_port


def _origin(layout: Layout) -> str:
    """The configuration file of the last deployment, or ""."""
    path = layout.state / "origin"
    return path.read_text().strip() if path.exists() else ""


def save_choices(deployment: Deployment) -> None:
    """Remember from which file the hub is deployed, and remember (or forget) what the command line chose instead."""
    write_private(deployment.layout.state / "origin", f"{deployment.file_path}\n")
    path = deployment.layout.state / "overrides.json"
    port, instead_of = deployment.config.listen.port, deployment.file_port
    if port == instead_of:
        path.unlink(missing_ok=True)
    else:
        write_private(path, json.dumps({"port": port, "instead_of": instead_of}) + "\n")


def _supervision(layout: Layout, detach: bool) -> Supervision:
    """A hub that runs keeps the way it runs; a new one is attached to the terminal unless detached."""
    if layout.unit_file.exists():
        return "systemd"
    running = SupervisorStatus.read(layout.supervisor_dir)
    if running is not None:
        return "attached" if running.attached else "daemon"
    if not detach:
        return "attached"
    return "systemd" if layout.privileged and SYSTEMD.is_dir() and shutil.which("systemctl") else "daemon"

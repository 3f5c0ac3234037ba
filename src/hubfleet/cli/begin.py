"""What each command begins with: the hub of its file, with its secrets and its machines. Changes nothing there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from hubfleet.cli.carry import secrets_of
from hubfleet.cli.deployment import Deployment
from hubfleet.cli.moving import reached, way
from hubfleet.cli.reading import Options, read
from hubfleet.config import Config, generate_password
from hubfleet.engines import engine
from hubfleet.engines.base import Supervision
from hubfleet.errors import CheckError
from hubfleet.layout import Layout
from hubfleet.machines import LocalMachine, Machine
from hubfleet.plan import Generations
from hubfleet.projects import DEFAULT, project
from hubfleet.sshcommand import remember
from hubfleet.supervisor.spec import SupervisorStatus

SYSTEMD = Path("/run/systemd/system")


def open_deployment(options: Options, *, port: int | None = None, detach: bool = False) -> Deployment:
    """Read configuration, secrets and the traces of earlier runs; changes nothing."""
    files = read(options)
    config, file, secrets = files.config, files.file, files.secrets
    layout, (machine, others) = engine(config.engine).layout(config), _machines(config)
    if file is not None and files.alone:
        remember(file, options.hub, [way(settings) for settings in config.machines.values()])
    machine.store.ahead(_looks(layout, machine))
    if machine.store.read(str(layout.project_record)) is not None:
        what = f"{config.hub} on {machine.name} is another project, not a hub"
        raise CheckError(what, state="Nothing was changed", remedy="another name, or its own file")
    file_port = config.listen.port
    listen = config.listen.model_copy(update={"port": port or _chosen_port(layout, machine, file_port)})
    config = config.model_copy(update={"listen": listen})
    known, new, given = secrets_of(secrets, project(DEFAULT).secrets(config), generate_password)
    shown = {name: text for name, text in given.items() if name in (*config.storage.secrets, *config.https_secrets)}
    supervision = supervision_of(config, layout, detach)
    vouching = {name: text for name, text in given.items() if name in config.login.secrets}
    passwords = {**known, **new, **vouching}
    return Deployment(
        config, file, secrets, layout, machine, others, passwords, new, shown, file_port, supervision, files.said
    )


def _looks(layout: Layout, machine: Machine) -> list[tuple[str, str]]:
    """What nearly every command wants to know of the last deployment."""
    notes = (layout.state / name for name in ("overrides.json", "origin", "drained.json", layout.project_record.name))
    kept = (layout.secrets_dir / name for name in ("tokens.json", "link.json", "registry.json"))
    texts = [*notes, *kept, layout.launcher_dir / "launcher.json"]
    return [*(("read", str(path)) for path in texts), *Generations(layout.state, machine.store).looks()]


def _machines(config: Config) -> tuple[Machine, dict[str, Machine]]:
    """The hub's, which is this one if the configuration names none, and the others. All are being connected to."""
    named: dict[str, Machine] = {name: reached(name, settings) for name, settings in config.machines.items()}
    for machine in named.values():
        machine.open()
    hub = named.pop(config.hub_machine) if config.hub_machine else LocalMachine("this machine")
    return hub, named


def _chosen_port(layout: Layout, machine: Machine, file_port: int) -> int:
    """A port chosen with `up --port` holds until another is chosen or the file's own value changes."""
    known = json.loads(machine.store.read(str(layout.state / "overrides.json")) or "{}")
    return int(known["port"]) if known.get("instead_of") == file_port else file_port


def save_choices(deployment: Deployment) -> None:
    """Remember from which file the hub is deployed, and remember (or forget) what the command line chose instead."""
    store, state = deployment.machine.store, deployment.layout.state
    store.write(str(state / "origin"), f"{deployment.file_path}\n")
    port, instead_of = deployment.config.listen.port, deployment.file_port
    if port == instead_of:
        store.remove(str(state / "overrides.json"))
    else:
        store.write(str(state / "overrides.json"), json.dumps({"port": port, "instead_of": instead_of}) + "\n")


def supervision_of(config: Config, layout: Layout, detach: bool = False) -> Supervision:
    """A hub that runs keeps the way it runs; a new one of processes is attached to the terminal unless detached."""
    if engine(config.engine).containers(config):
        return "containers"
    if layout.unit_file.exists():
        return "systemd"
    running = SupervisorStatus.read(layout.supervisor_dir)
    if running is not None:
        return "attached" if running.attached else "daemon"
    if not detach:
        return "attached"
    return "systemd" if layout.privileged and SYSTEMD.is_dir() and shutil.which("systemctl") else "daemon"

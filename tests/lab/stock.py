"""Machines whose Docker engine has a hub's images already, for tests whose subject is not how these are built.

What was made for other sources is begun from: what is locked is in it, and the rest is built in seconds.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

import dockerd
from machines import Lab, Machine

from hubfleet.config import Config
from hubfleet.engines.docker.images import edge_image, hub_image, user_image
from hubfleet.machines import SSHMachine
from hubfleet.resources import Image
from sites import site

SETTINGS = {"hub": "lab", "engine": "docker", "base_image": dockerd.BASE}
"""All that decides what is in the images of a hub without packages of its own."""
_SERVICES = "docker.socket docker.service containerd.service"
_PARTIAL = ".new"
_KEPT = 3
"""Of how many sources what was made is kept: several may be tried out by turns."""


def stocked(lab: Lab, name: str = "hub1", shared: Path | None = None) -> Machine:
    """A new machine with Docker running, and the images that a hub with `SETTINGS` needs: the first builds them.

    ``shared``: as of `Lab.start`.
    """
    machine = lab.start(name, docker_installed=True, shared=shared)
    config = Config.model_validate({**SETTINGS, "login": {"password": "file"}})
    images = [hub_image(config, site("lab")), edge_image(config), user_image(config, site("lab"))]
    tags = hashlib.sha256("".join(image.tag for image in images).encode()).hexdigest()[:16]
    shelf = lab.engine.place / "stock"
    shelf.mkdir(exist_ok=True)
    with (shelf / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shelf / tags).exists():
            made = [entry for entry in shelf.iterdir() if entry.is_dir() and not entry.name.endswith(_PARTIAL)]
            made.sort(key=lambda one: one.stat().st_ctime)
            if made:
                _copy(made[-1], volume(machine))
            for old in made[: 1 - _KEPT]:
                shutil.rmtree(old)
            _fill(machine, images, shelf / tags)
            return machine
        _copy(shelf / tags, volume(machine))
    machine.start_docker()
    return machine


def _fill(machine: Machine, images: list[Image], place: Path) -> None:
    machine.start_docker()
    machine.load(dockerd.BASE)
    there = SSHMachine(machine.name, f"root@{machine.address}", machine.options())
    for image in images:
        change = image.diff(there.observe([image])[image.id])
        assert change is None or there.apply(change, lambda line: None)
    there.close()
    wanted = {image.tag for image in images}
    have = machine.docker("images", "--format", "{{.Repository}}:{{.Tag}}", "hubfleet/*").split()
    if others := [tag for tag in have if tag not in wanted]:
        machine.docker("rmi", *others)
    machine.run(f"systemctl stop {_SERVICES}")
    partial = place.with_name(f"{place.name}{_PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    _copy(volume(machine), partial)
    partial.rename(place)
    machine.run(f"systemctl start {_SERVICES}")


def volume(machine: Machine) -> Path:
    """Where a machine's engine keeps all it has, as seen from here."""
    mounts = machine.lab.engine.inspect(machine.container)["Mounts"]
    return Path(next(mount["Source"] for mount in mounts if mount["Destination"] == "/var/lib/docker"))


def _copy(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    subprocess.run(["cp", "--archive", "--reflink=auto", f"{source}/.", target], check=True)

"""A disk with what the Docker engines of a fleet have after `hubfleet up`: the images, and those that a registry gives.

A guest would take an hour to build them. They are made on a machine of the lab, once, and kept for the next runs.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import tempfile
from pathlib import Path

import dockerd
from guestimages import CACHE
from machines import Lab, Machine
from stock import SETTINGS, stocked, volume

from hubfleet.config import Config
from hubfleet.config.fleet import REGISTRY_PORT
from hubfleet.engines.docker.images import edge_image, guard_image, hub_image, registry_image, user_image
from hubfleet.engines.swarm.registry import PROGRAM
from hubfleet.machines import SSHMachine
from hubfleet.resources import Image
from sites import site

PLACE = "/var/lib/docker"
"""Where a machine has the disk."""
REGISTRY = f"{PLACE}/hubfleet-registry"
"""There: what the registry of the hub's machine keeps."""
_SIZE = "12G"
_KEPT = 2
"""Of how many sources it is kept: guests may run from the one before."""


def disk(address: str) -> Path:
    """For the fleet of a hub with `stock.SETTINGS` that has its registry at this address. No guest writes to it."""
    config = Config.model_validate({**SETTINGS, "login": {"password": "file"}})
    given = [make(config, site("lab")) for make in (hub_image, user_image, guard_image)]
    own = [registry_image(config), edge_image(config)]
    decisive = [address, _SIZE, Path(__file__).read_text(), *(image.tag for image in (*given, *own))]
    digest = hashlib.sha256("\n".join(decisive).encode()).hexdigest()[:16]
    CACHE.mkdir(parents=True, exist_ok=True)
    made = CACHE / f"stock-{digest}.disk"
    with (CACHE / "stock.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if made.exists():
            os.utime(made)
            return made
        for old in sorted(CACHE.glob("stock-*.disk"), key=lambda one: one.stat().st_mtime)[: 1 - _KEPT]:
            old.unlink()
        with dockerd.shared() as engine, tempfile.TemporaryDirectory() as keys:
            lab = Lab(engine, Path(keys), owner=str(os.getpid()))
            try:
                machine = stocked(lab)
                _fill(machine, given, own, f"{address}:{REGISTRY_PORT}")
                new = made.with_suffix(".new")
                new.unlink(missing_ok=True)
                make = ["mke2fs", "-q", "-t", "ext4", "-d", volume(machine), new, _SIZE]
                subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
                new.rename(made)
            finally:
                lab.close()
    return made


def _fill(machine: Machine, given: list[Image], own: list[Image], registry: str) -> None:
    """``given``: to a registry of this name, which is the machine's own meanwhile."""
    there = SSHMachine(machine.name, f"root@{machine.address}", machine.options())
    for image in (*given, *own):
        change = image.diff(there.observe([image])[image.id])
        assert change is None or there.apply(change, lambda line: None)
    there.close()
    machine.run(f"ip address add {registry.partition(':')[0]}/32 dev lo")
    machine.run("cat >/etc/docker/daemon.json", text=json.dumps({"insecure-registries": [registry]}))
    machine.run("systemctl restart docker")
    settings = {"version": "0.1", "http": {"addr": registry}, "storage": {"filesystem": {"rootdirectory": REGISTRY}}}
    machine.run(f"mkdir {REGISTRY} && cat >{REGISTRY}.yml", text=json.dumps(settings))
    shown = ["--network", "host", "--volume", f"{PLACE}:{PLACE}"]
    machine.docker("run", "--detach", "--name", "registry", *shown, own[0].tag, PROGRAM, "serve", f"{REGISTRY}.yml")
    for image in given:
        machine.docker("tag", image.tag, f"{registry}/{image.tag}")
        machine.docker("push", "--quiet", f"{registry}/{image.tag}")
    machine.docker("rm", "--force", "registry")
    machine.run("systemctl stop docker.socket docker containerd")
    # Whose the registry is, is decided on the machine that has it; and each engine has networks of its own.
    machine.run(f"chmod --recursive a+rwX {REGISTRY} && rm -rf {REGISTRY}.yml {PLACE}/network {PLACE}/swarm")

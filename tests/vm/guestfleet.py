"""A hub on guests, as an operator types it: the command here, the machines over SSH."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import dockerd
import stockdisk
from guestimages import Image
from guests import Guest, Guests, address
from harness import Kernel, Person, RunningHub
from shares import SOONER

from hubfleet.cli.begin import open_deployment
from hubfleet.cli.reading import Options
from hubfleet.layout import ROOT_BASE
from hubfleet.resources import Trial

HOMES = "/srv/homes"
QUOTA = "40M"
PORT = 8000
UP_LIMIT_S = 1500.0
STATE = f"{ROOT_BASE}/lab"
_MIB = 1024**2
_FSTAB = f"/dev/vdb {stockdisk.PLACE} ext4 defaults 0 2\n"
_REGISTRY = f"{stockdisk.REGISTRY} {STATE}/registry/images none bind 0 0\n"
_PIECES = """\
[Service]
ExecStartPre=/bin/sh -c 'echo 1048576 >/proc/fs/nfsd/max_block_size'
"""
"""Those by which a storage with more memory answers, and says how much room there is."""
_XFS = f"/dev/vdc {HOMES} xfs defaults,prjquota 0 2\n"
"""As docs/how-to/quotas.md has it."""


class GuestFleet(RunningHub):
    """``hub`` has the hub and users' servers, ``worker`` has servers, ``storage`` the homes, on an XFS of its own."""

    def __init__(self, guests: Guests, image: Image, folder: Path) -> None:
        stock = stockdisk.disk(address(len(guests.all)))
        self.hub = guests.begin("hub1", image, disks=[stock], memory="2560M")
        self.storage = guests.begin("files1", image, disks=[stock, 1024 * _MIB])
        self.worker = guests.begin("worker1", image, disks=[stock], memory="2G")
        self.all = (self.hub, self.storage, self.worker)
        self.guests, self.folder, self.as_user, self.name = guests, folder, None, "lab"
        self.base, self.python = ROOT_BASE, Path(sys.executable)
        self.homes, self.url = Path(HOMES), ""
        self.encrypted = True
        with ThreadPoolExecutor(len(self.all)) as at_once:
            list(at_once.map(self._furnish, self.all))
        self.introduce()
        self.write("")

    def _furnish(self, guest: Guest) -> None:
        guest.await_up()
        table = _FSTAB
        if guest is self.hub:
            table += _REGISTRY
            guest.run(f"mkdir -p {STATE}/registry/images && chmod 711 {STATE}")
        if guest is self.storage:
            table += _XFS
            guest.run(f"mkfs.xfs -q /dev/vdc && mkdir {HOMES}")
            guest.run("mkdir -p /etc/nfs.conf.d && cat >/etc/nfs.conf.d/sooner.conf", text=SOONER)
            unit = "/etc/systemd/system/nfs-server.service.d"
            guest.run(f"mkdir -p {unit} && cat >{unit}/pieces.conf", text=_PIECES)
        guest.run(f"mkdir -p {stockdisk.PLACE} && cat >>/etc/fstab", text=table)
        guest.run("systemctl daemon-reload && mount -a && systemctl enable --quiet --now docker")

    def introduce(self) -> None:
        """Write how ssh reaches the machines, which is another way after each boot."""
        lines = []
        for guest in self.all:
            options = guest.options()
            pairs = [option.replace("=", " ", 1) for word, option in pairwise(options) if word == "-o"]
            lines += [f"Host {guest.name}", "HostName 127.0.0.1", f"Port {guest.port}", "User root"]
            lines += [f"IdentityFile {options[options.index('-i') + 1]}", *pairs]
        (self.folder / "ssh_config").write_text("\n".join(lines) + "\n")

    def write(self, settings: str) -> None:
        """What is wanted. ``settings`` has to be empty: see `encrypted`."""
        roles = {"hub1": ["hub", "worker"], "files1": ["storage"], "worker1": ["worker"]}
        machines = {
            guest.name: {
                "ssh": guest.name,
                "ssh_config": "ssh_config",
                "private_ip": guest.address,
                "roles": roles[guest.name],
            }
            for guest in self.all
        }
        told = {
            "hub": self.name,
            "engine": "swarm",
            "base_image": dockerd.BASE,
            "https": "off",
            "listen": {"address": "0.0.0.0", "port": PORT},
            "login": {"password": "file"},
            "machines": machines,
            "storage": {"homes": {"path": HOMES, "share": "nfs", "quota": QUOTA}},
            "network": {"fleet": {"servers": 100, "encrypted": self.encrypted}},
        }
        (self.folder / "hubfleet.yaml").write_text(json.dumps(told))

    def plan_untried(self) -> set[str]:
        """The kinds of what `up` would change; from then on it holds the generation for one that was tried out.

        Two hubs beside each other are tried by the tests of the lab, ten times faster.
        """
        deployment = open_deployment(Options(self.folder / "hubfleet.yaml"))
        found = [change.resource for _, change in deployment.plan().changes]
        for machine in deployment.machines.values():
            machine.close()
        for one in found:
            if isinstance(one, Trial):
                self.hub.run(f"cat >{one.note}", text=f"{one.fingerprint}\n")
        return {one.kind for one in found if not isinstance(one, Trial)}

    def up(self) -> str:
        """`hubfleet up`, and what it says.

        Again where an engine gave up, which waits 20 s for a network that takes an emulated machine ten.
        """
        for _ in range(2):
            done = self.run("up", "--yes", check=False, timeout=UP_LIMIT_S)
            if "attaching to network failed" not in done.stderr:
                break
        return self.run("up", "--yes", timeout=UP_LIMIT_S).stdout if done.returncode else done.stdout

    @contextmanager
    def entered(self) -> Iterator[None]:
        """People here reach the hub meanwhile, at `url`."""
        with self.hub.reached(PORT) as port:
            self.url = f"http://127.0.0.1:{port}"
            yield

    def containers(self, guest: Guest) -> set[str]:
        """Of the hub's own parts, those that run on a machine."""
        names = guest.run("docker", "ps", "--format", "{{.Names}}").split()
        return {name.removeprefix("hubfleet-lab-") for name in names if "." not in name}

    def have_servers_on(self, *guests: Guest) -> None:
        """From now on servers come to these machines only, as with `hubfleet machine drain`."""
        for one in (self.hub, self.worker):
            state = "active" if one in guests else "pause"
            self.hub.run("docker", "node", "update", "--availability", state, one.name)

    def root_of(self, guest: Guest, person: Person) -> str:
        """Where a machine has mounted somebody's home."""
        found = guest.run(f"awk '$1 == \":{HOMES}/{person.name}\" {{print $2}}' /proc/mounts")
        assert found, guest.run("cat /proc/mounts")
        return found.splitlines()[0]


def started(person: Person) -> Kernel:
    """Start somebody's server, and a kernel there."""
    last = person.start()[-1]
    assert last.get("ready"), last
    return person.kernel()


def page(person: Person) -> str:
    """What somebody reads on the hub's page of their files."""
    found = re.search(r'id="files">(.*?)</p>', person.session.get(f"{person.hub.url}/hub/home").text, re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", "", found[1]).split()) if found else ""


def save(person: Person, name: str, content: str) -> tuple[int, str]:
    """Save a file as JupyterLab does; the status, and what is said when it fails."""
    body: dict[str, Any] = {"type": "file", "format": "text", "content": content}
    answer = person.jupyter("PUT", f"/api/contents/{name}", json=body)
    return answer.status_code, str(answer.json().get("message"))

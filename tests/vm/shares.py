"""Machines that share homes by NFS as a hub's do: one has them, two have servers, one manages the swarm and no more."""

from __future__ import annotations

import contextlib
import json
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from guestimages import Image
from guests import Guest, Guests

from hubfleet.config import Config, default_config
from hubfleet.config.effective import effective
from hubfleet.config.owner import Owner
from hubfleet.engines import engine
from hubfleet.engines.base import Site
from hubfleet.engines.swarm import sharing, specification
from hubfleet.engines.swarm.specification import Held, Server, Settings
from hubfleet.link import Link
from hubfleet.machines import SSHMachine
from hubfleet.resources import Change, Export, Firewall, Resource
from sites import site
from waiting import soon

PLACE = "/srv/hubfleet-homes"
ADA, BEN = Owner(70_001, 80_001), Owner(70_002, 80_002)
IMAGE = "box:1"
API = "http://engine/v1.41"
START_LIMIT_S = 120.0
SOONER = "[nfsd]\nlease-time=30\ngrace-time=30\n"
"""How long a server that starts waits for those who had files open before: usually for a minute and a half."""


@dataclass(frozen=True)
class Started:
    """A service with one task, by its name."""

    fleet: Fleet
    name: str

    def state(self) -> str:
        """As the manager has it, and what the engine said: "Running 3 seconds ago|"."""
        told = ["service", "ps", "--no-trunc", "--format", "{{.CurrentState}}|{{.Error}}", self.name]
        return self.fleet.docker(self.fleet.hub, *told)

    def said(self) -> str:
        """What it has printed."""
        return self.fleet.docker(self.fleet.hub, "service", "logs", "--raw", self.name)

    def remove(self) -> None:
        self.fleet.docker(self.fleet.hub, "service", "rm", self.name)


class Fleet:
    """The machines, and the configuration by which they share homes.

    ``store`` has them; ``one`` and ``two`` have servers; ``hub`` has neither, so that its address is a stranger's.
    """

    def __init__(self, guests: Guests, image: Image, local: Path) -> None:
        self.hub, self.store = guests.begin("hub1", image), guests.begin("store", image)
        self.one, self.two = guests.begin("worker1", image), guests.begin("worker2", image)
        self.local = local
        self.all = (self.hub, self.store, self.one, self.two)
        self.config = Config.model_validate(
            {
                "hub": "lab",
                "engine": "swarm",
                "login": {"password": "file"},
                "storage": {"homes": {"path": PLACE, "share": "nfs"}},
                "machines": {
                    "hub1": {"ssh": "hub1", "roles": ["hub"]},
                    "store": {"ssh": "store", "roles": ["storage"]},
                    "worker1": {"ssh": "worker1", "roles": ["worker"]},
                    "worker2": {"ssh": "worker2", "roles": ["worker"]},
                },
            }
        )
        with ThreadPoolExecutor(len(self.all)) as at_once:
            list(at_once.map(self._furnish, self.all))
        self.docker(self.hub, "swarm", "init", "--advertise-addr", self.hub.address)
        self.docker(self.hub, "network", "create", "--driver", "overlay", "--attachable", "--internal", "fleet")
        token = self.docker(self.hub, "swarm", "join-token", "--quiet", "worker")
        for worker in (self.one, self.two):
            self.docker(worker, "swarm", "join", "--token", token, self.hub.address)

    @property
    def site(self) -> Site:
        return site("lab", addresses={guest.name: guest.address for guest in self.all})

    @property
    def export(self) -> Export:
        """What the configuration has the storage export."""
        return next(sharing.export(self.config, self.site, "store"))

    def walls(self) -> list[Firewall]:
        """What limits the ways out of servers on a worker."""
        lines = Link("gate certificate", "gate key", "edge certificate", "edge key")
        wanted = engine("swarm").desired_elsewhere(self.config, replace(self.site, registry=lines, homes=lines))
        return [one for one in wanted["worker1"] if isinstance(one, Firewall)]

    def _furnish(self, guest: Guest) -> None:
        guest.await_up()
        if guest is self.store:
            guest.run(f"mkdir -m 711 {PLACE}")
            guest.run("mkdir -p /etc/nfs.conf.d && cat >/etc/nfs.conf.d/sooner.conf", text=SOONER)
            self.apply(self.export)
        else:
            guest.run("systemctl enable --quiet --now docker")
            guest.run(f"tar -C / -c bin/busybox | docker import - {IMAGE}")

    # -- as hubfleet does it -----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def machine(self, guest: Guest) -> Iterator[SSHMachine]:
        made = SSHMachine(guest.name, "root@127.0.0.1", guest.options())
        try:
            yield made
        finally:
            made.close()

    def apply(self, wanted: Resource) -> tuple[str, ...]:
        """Have it so on the storage machine; returns the lines of the plan, none when it was so."""
        with self.machine(self.store) as there:
            change = wanted.diff(there.observe([wanted])[wanted.id])
            if change is not None:
                assert there.apply(change, lambda line: None)
        return change.detail if change else ()

    def remove(self, wanted: Resource) -> Change | None:
        """Have it no more on the storage machine; returns what was done, None when it was not there."""
        with self.machine(self.store) as there:
            change = wanted.removal(there.observe([wanted])[wanted.id])
            if change is not None:
                assert there.apply(change, lambda line: None)
        return change

    def home(self, name: str, owner: Owner) -> None:
        """A home as it is made for a person: theirs alone."""
        there = f"{PLACE}/{name}"
        self.store.run(f"mkdir -p -m 700 {there} && chown {owner.uid}:{owner.gid} {there}")

    def settings(self, worker: Guest, **changed: Any) -> Settings:
        """The launcher's, for servers on this machine."""
        told = {
            "hub": "lab",
            "base": str(self.local),
            "privileged": True,
            "image": IMAGE,
            "python": "/env",
            "network": "fleet",
            "door": {"address": "127.0.0.1", "port": 0},
            "homes": sharing.homes(self.config, self.site),
            "placement": [f"node.hostname=={worker.name}"],
            "skeleton": None,
            "keeper": None,
            "hub_gid": 64_999,
            "variables": {},
        }
        return replace(Settings.from_json(told), **changed)

    # -- servers -----------------------------------------------------------------------------------------------------

    def begin(self, worker: Guest, script: str, name: str = "ada", owner: Owner = ADA) -> Started:
        """A user's server as the launcher describes it, but for its program: a script for busybox's shell."""
        wanted = replace(effective(default_config(), name), memory_limit=None)
        server = Server(name, name, owner, [], {})
        held = Held("none", "none", "none")
        body = specification.service(self.settings(worker), server, wanted, held, [])
        task = body["TaskTemplate"]
        task["ContainerSpec"] |= {"Command": ["/bin/busybox", "sh", "-c", script], "Secrets": [], "Configs": []}
        task["ContainerSpec"]["Init"] = False
        task["Networks"] = []
        ask = f"curl -sS --unix-socket /run/docker.sock -H 'Content-Type: application/json' -d @- {API}/services/create"
        told = json.loads(self.hub.run(ask, text=json.dumps(body)))
        assert "ID" in told, told
        return Started(self, body["Name"])

    def ran(self, worker: Guest, script: str, name: str = "ada", owner: Owner = ADA) -> str:
        """What such a server has printed when it has ended; it is removed."""
        started = self.begin(worker, script, name, owner)
        try:
            soon(lambda: started.state().startswith(("Complete", "Failed", "Rejected")), START_LIMIT_S)
            state = started.state()
            assert state.startswith("Complete"), f"{state}: {started.said()}"
            return started.said()
        finally:
            started.remove()

    def leftovers(self, worker: Guest) -> str:
        """Containers and mounts of homes that are there."""
        return worker.run("docker ps --all --quiet; grep nfs4 /proc/mounts || true")

    def volumes(self, worker: Guest) -> set[str]:
        return set(self.docker(worker, "volume", "ls", "--quiet").split())

    def docker(self, guest: Guest, *words: str) -> str:
        return guest.run("docker", *words)

    @contextlib.contextmanager
    def manager(self) -> Iterator[str]:
        """The manager's engine as a socket here."""
        there = self.local / f"{uuid.uuid4().hex[:8]}.sock"
        line = ["ssh", *self.hub.options(), "-N", "-L", f"{there}:/run/docker.sock", "root@127.0.0.1"]
        with subprocess.Popen(line, stdin=subprocess.DEVNULL) as forwarding:
            try:
                soon(there.exists, 30)
                yield str(there)
            finally:
                forwarding.terminate()


def mount(guest: Guest, fleet: Fleet, path: str, options: Sequence[str] = (), without: Sequence[str] = ()) -> str:
    """Have a machine's root mount something of the storage at /mnt as servers' homes are; what is said, "" if it works.

    ``without``: options that servers' homes have.
    """
    given = [word for word in sharing.OPTIONS.split(",") if word not in without]
    words = ",".join([f"addr={fleet.store.address}", "rw", *given, *options])
    return guest.run(f"mount -i -t nfs -o {words} :{path} /mnt 2>&1 || true", limit_s=120)

"""Three machines that a swarm is made of, what is wanted of them, and an image with the guard in it."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import dockerd
from machines import Lab, Machine

import hubfleet
from hubfleet.machines import SSHMachine
from hubfleet.plan import Desired, Event, Manifest, Plan, apply_plan, make_plan
from hubfleet.resources import DockerEngine, Network, Resource, SwarmManager, SwarmMember, SwarmNode

HUB, FLEET = "lab", "hubfleet-lab-fleet"
SUBNET, SERVERS = "10.88.0.0/20", "10.88.8.0/21"
WORKERS = ("work1", "work2")
Wanted = dict[str, tuple[Resource, ...]]

OVERLAY = Network(
    FLEET, driver="overlay", attachable=True, internal=True, subnet=SUBNET, ip_range=SERVERS, gateway="10.88.0.1"
)
_DOCKERFILE = f"""FROM {dockerd.BASE}
RUN apt-get update -q && apt-get install -q -y --no-install-recommends nftables && rm -rf /var/lib/apt/lists/*
COPY hubfleet /opt/hubfleet/hubfleet
ENV PYTHONPATH=/opt/hubfleet
"""


class Fleet:
    """The machines by name, and what they were brought to last."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.machines: dict[str, Machine] = {}
        self.last: Wanted = {}
        self._reached = ExitStack()
        for name in ("hub1", *WORKERS):
            machine = lab.start(name, docker_installed=True)
            # As systemd has it outside containers: namespaces are mounts, and the guard has to see them.
            machine.run("mount --make-rshared /")
            machine.start_docker()
            machine.load(dockerd.BASE)
            self.machines[name] = machine

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    def reach(self, names: Sequence[str] = ()) -> dict[str, SSHMachine]:
        """What hubfleet sees of them."""
        self._reached.close()
        found = {
            name: SSHMachine(name, f"root@{machine.address}", machine.options())
            for name, machine in self.machines.items()
            if not names or name in names
        }
        for one in found.values():
            self._reached.callback(one.close)
        return found

    def close(self) -> None:
        self._reached.close()

    def wanted(self, workers: Sequence[str] = WORKERS, hub: str = HUB) -> Wanted:
        """A swarm of hub1 and these, with the networks of a hub."""
        address = {name: machine.address for name, machine in self.machines.items()}
        nodes = [SwarmNode(name, hub, address[name], {"worker": "yes"}) for name in workers]
        manager = SwarmManager(hub, address["hub1"])
        wanted: Wanted = {
            "hub1": (
                DockerEngine(live_restore=False),
                manager,
                OVERLAY,
                SwarmNode("hub1", hub, address["hub1"]),
                *nodes,
            )
        }
        for name in workers:
            member = SwarmMember(hub, "hub1", address["hub1"], address[name], name)
            wanted[name] = (DockerEngine(live_restore=False), member)
        return wanted

    def plan(self, wanted: Wanted, previous: Wanted | None = None, names: Sequence[str] = ()) -> Plan:
        """What would be done. ``names``: only these machines can be reached."""
        earlier = self.last if previous is None else previous
        return make_plan(Desired(HUB, Path("/var/lib/hubfleet"), wanted), self.reach(names), Manifest(1, earlier))

    def up(self, wanted: Wanted, previous: Wanted | None = None, names: Sequence[str] = ()) -> tuple[Plan, list[Event]]:
        """Does it, and sees that nothing is left to do then."""
        plan = self.plan(wanted, previous, names)
        events: list[Event] = []
        apply_plan(plan, self.reach(names), events.append)
        left = [
            (name, change.resource.title, change.detail) for name, change in self.plan(wanted, previous, names).changes
        ]
        assert left == []
        self.last = wanted
        return plan, events

    def nodes(self) -> dict[str, str]:
        """Id by machine, of all nodes that the swarm has; fails if two are called the same."""
        form = '{{.ID}} {{index .Spec.Labels "hubfleet.lab.machine"}}'
        ids = self["hub1"].docker("node", "ls", "--quiet").split()
        lines = self["hub1"].docker("node", "inspect", "--format", form, *ids).splitlines()
        found = {line.split()[1]: line.split()[0] for line in lines}
        assert len(found) == len(lines), lines
        return found


def labels(plan: Plan) -> dict[str, list[str]]:
    """What a plan does on each machine, such as "create swarm manager lab"."""
    found: dict[str, list[str]] = {}
    for name, change in plan.changes:
        found.setdefault(name, []).append(f"{change.action} {change.resource.title}")
    return found


def guard_image(engine: dockerd.Dockerd) -> str:
    """With the guard and what it needs; small, since every machine gets it. Named by what is in it."""
    package = Path(hubfleet.__file__).parent
    sources = sorted((package / "guard").glob("*.py"))
    made_of = [_DOCKERFILE, *(path.read_text() for path in sources)]
    image = f"hubfleet-test/guard:{hashlib.sha256('|'.join(made_of).encode()).hexdigest()[:16]}"
    with (engine.place / "guard").open("w") as lock, tempfile.TemporaryDirectory() as folder:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not engine.docker("images", "--quiet", image):
            target = Path(folder) / "hubfleet" / "guard"
            target.mkdir(parents=True)
            for path in (package / "__init__.py", *sources):
                shutil.copy(path, target.parent / path.relative_to(package))
            (Path(folder) / "Dockerfile").write_text(_DOCKERFILE)
            engine.docker("build", "--quiet", "--network", "host", "--tag", image, folder)
    return image


def state(machine: Machine, form: str) -> str:
    """What `docker info` says."""
    return machine.docker("info", "--format", form)


def merged(*parts: Mapping[str, tuple[Resource, ...]]) -> Wanted:
    """All of them, on each machine in this order."""
    found: Wanted = {}
    for part in parts:
        for name, resources in part.items():
            found[name] = (*found.get(name, ()), *resources)
    return found

"""A hub on one machine of the lab or on several, as an operator types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dockerd
from deployed import Server
from harness import Person
from machines import Machine


class Fleet(Server):
    """A hub on ``machine``, alone or with workers. Homes are a directory that all machines with servers have.

    ``storage``: the machine that has the homes, if that is not the hub's.
    """

    def __init__(
        self, machine: Machine, workers: list[Machine], shared: Path, folder: Path, storage: Machine | None = None
    ) -> None:
        self.workers = {worker.name: worker for worker in workers}
        self.storage = storage
        self.wanted: tuple[str, ...] = ()
        self.more: dict[str, Any] = {}
        super().__init__(machine, folder, "lab")
        self.homes = shared
        text, others = (folder / "ssh_config").read_text(), [*workers, *([storage] if storage else [])]
        (folder / "ssh_config").write_text(text + "".join(text.replace(machine.address, one.address) for one in others))
        self.write("")

    def write(self, settings: str) -> None:
        def reached(machine: Machine, *roles: str) -> dict[str, Any]:
            private = {"private_ip": machine.private} if machine.private else {}
            return {"ssh": f"root@{machine.address}", "ssh_config": "ssh_config", "roles": list(roles), **private}

        hub1 = reached(self.machine, "hub")
        told: dict[str, Any] = {"hub": self.name, "base_image": dockerd.BASE, "https": "self-signed"}
        homes = {"path": str(self.homes)}
        if self.wanted:
            machines = {"hub1": hub1, **{name: reached(self.workers[name], "worker") for name in self.wanted}}
            machines |= {self.storage.name: reached(self.storage, "storage")} if self.storage else {}
            told |= {"engine": "swarm", "machines": machines, "storage": {"homes": {**homes, "share": "mounted"}}}
            told["network"] = {"fleet": {"encrypted": False, "servers": 300}}  # this kernel cannot encrypt
        else:
            told |= {"engine": "docker", "machines": {"hub1": hub1}, "storage": {"homes": homes}}
        (self.folder / "hubfleet.yaml").write_text(json.dumps({**told, **self.more}))

    def grow(self, *workers: str) -> None:
        """Write which workers there should be; none: engine docker. Nothing is changed yet."""
        self.wanted = workers
        self.write("")

    def listed(self) -> dict[str, dict[str, Any]]:
        """What `hubfleet machine` knows of each."""
        found = json.loads(self.run("machine", "--json").stdout)["machines"]
        return {entry["name"]: entry for entry in found}

    def where(self, person: Person) -> str:
        """The machine that somebody's server is on."""
        (found,) = [name for name, entry in self.listed().items() if person.name in entry["servers"]]
        return found

    def fails(self, *words: str) -> tuple[int, str]:
        done = self.run(*words, check=False)
        return done.returncode, done.stdout + done.stderr


def started(person: Person) -> str:
    """Start a server; the last that was said of it."""
    last = person.start()[-1]
    assert last.get("ready"), last
    return str(last["message"])

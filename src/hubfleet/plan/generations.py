"""Generations: a record of every deployment, in `<state>/generations/0001`, `0002`, ...

A generation is written in full before the first change, and `current` is switched to it after the last one.
So whatever a killed deployment may have made is on record, and a later one can remove it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hubfleet.agent.store import Store
from hubfleet.errors import ApplyError, CheckError
from hubfleet.plan.model import Desired, Manifest, Placed, Plan
from hubfleet.plan.show import plan_text
from hubfleet.resources import Image, Resource, Skeleton, from_json

KEPT = 20
AT_ONCE = 5
"""How many records are asked for together: as many as a plan looks at, where each differs from the one before."""
IMAGES_KEPT = 3
"""Of how many generations the images are kept, so that one can go back to them."""
MANIFEST = "manifest.json"
DATABASE = "jupyterhub.sqlite"
"""The hub's database as a generation left it, in its folder."""


@dataclass(frozen=True)
class Generation:
    """One generation, for people.

    created:  when it was begun, such as "2026-11-22T14:03:05+0000".
    deployed: whether it was carried out to its end.
    again:    number of the generation that it is once more, by a rollback; 0 for none.
    changes:  what it changed, in one line.
    """

    number: int
    created: str
    deployed: bool
    again: int
    changes: str


class Generations:
    """The generations of one hub, on its machine. Writing needs the lock (`Machine.hold`); reading does not."""

    def __init__(self, state_dir: Path, store: Store | None = None) -> None:
        self.path = state_dir / "generations"
        self._store = store or Store()

    def looks(self) -> list[tuple[str, str]]:
        """What is asked of the store to know which there are, for `Store.ahead`."""
        return [("names", str(self.path)), ("pointed", str(self.path / "current")), ("names", f"{self.path}/*")]

    def numbers(self) -> list[int]:
        """All generations there are, in order, finished or not. Raises CheckError if not permitted."""
        self._store.ahead(self.looks())
        try:
            return sorted(int(name) for name in self._store.names(str(self.path)) if name.isdigit())
        except PermissionError as error:
            raise CheckError(f"{self.path} cannot be read", remedy="run the same command with sudo") from error

    def current(self) -> int:
        """The one that was deployed last; 0 if none."""
        self._store.ahead(self.looks())
        return int(self._store.pointed(str(self.path / "current")) or 0)

    def unfinished(self) -> bool:
        """Whether one was begun that is not the current one: a deployment was killed, perhaps after its last step."""
        return max(self.numbers(), default=0) != self.current()

    def folder(self, number: int) -> Path:
        """Where a generation is: manifest.json, summary.txt, created, deployed, and later `DATABASE`."""
        return self.path / f"{number:04d}"

    def read(self, number: int) -> dict[str, tuple[Resource, ...]]:
        """What a generation consists of, by machine; secret contents are digests."""
        return _resources(self._manifest(number)["machines"])

    def known(self) -> Manifest:
        """All that earlier deployments, finished or not, may have left on the machines."""
        number = max(self.numbers(), default=0)
        if number == 0:
            return Manifest()
        manifest = self._manifest(number)
        wanted, leftovers = _resources(manifest["machines"]), _resources(manifest["leftovers"])
        names = dict.fromkeys([*wanted, *leftovers])
        return Manifest(number, {name: leftovers.get(name, ()) + wanted.get(name, ()) for name in names})

    def begin(self, plan: Plan) -> int:
        """Records what `plan` is about to make; returns its number. Call it before `apply_plan`.

        The newest generation is used again if it says just the same. Raises ApplyError if another
        deployment was begun since the plan was made.
        """
        newest = max(self.numbers(), default=0)
        if newest != plan.base:
            raise ApplyError(
                "another deployment was made since this plan",
                state="Nothing was changed",
                remedy="hubfleet plan, to see what is left to do",
            )
        manifest = _manifest(plan)
        if newest and self._manifest(newest) == manifest:
            return newest
        files = {
            MANIFEST: json.dumps(manifest, indent=1) + "\n",
            "summary.txt": plan_text(plan, full=True),
            "created": time.strftime("%Y-%m-%dT%H:%M:%S%z") + "\n",
        }
        self._store.make_folder(str(self.folder(newest + 1)), files)
        return newest + 1

    def switch(self, number: int) -> None:
        """Makes a generation the current one, in one step, and forgets old ones.

        The last 20 are kept, and the last 20 that were carried out: to these one goes back, however many were killed.
        """
        self._store.write(str(self.folder(number) / "deployed"), time.strftime("%Y-%m-%dT%H:%M:%S%z") + "\n")
        self._store.point(str(self.path / "current"), self.folder(number).name)
        kept = {*self.numbers()[-KEPT:], *self.deployed()[:KEPT]}
        for old in self.numbers():
            if old not in kept:
                self._store.remove(str(self.folder(old)))

    def deployed(self) -> list[int]:
        """Those that were carried out to their end, the newest first."""
        current = self.current()
        found = [number for number in self.numbers() if number <= current]
        return [number for number in reversed(found) if number == current or "deployed" in self._names(number)]

    def describe(self, number: int) -> Generation:
        """What a generation is, for people."""
        folder = self.folder(number)
        created, summary = (self._store.read(str(folder / name)) or "" for name in ("created", "summary.txt"))
        first, *lines = summary.splitlines() or [""]
        settings = [line.strip() for line in lines if line.startswith("  ") and line[2:3] not in " +~->"]
        deployed = number == self.current() or "deployed" in self._names(number)
        changes = "; ".join(settings) or first.partition(": ")[2]
        return Generation(number, created.strip(), deployed, self.again(number), changes)

    def again(self, number: int) -> int:
        """The generation that this one is once more, by a rollback; 0 for none."""
        return int(self._manifest(number).get("again", 0))

    def before(self) -> int:
        """The last one before the current that is another; 0 if there is none."""
        different = self._different()
        next(different, None)
        return next(different, 0)

    def images_kept(self, desired: Desired) -> dict[str, frozenset[str]]:
        """Ids of the images of `desired` and of the last generations before it, `IMAGES_KEPT` in all, for each of its
        machines; and of what else records do not hold: skeletons of homes."""
        wanted = _json([(name, item) for name, items in desired.machines.items() for item in items])
        known = (self._manifest(number)["machines"] for number in self._different())
        others = (machines for machines in known if machines != wanted)
        last = [wanted, *islice(others, IMAGES_KEPT - 1)]
        found = [_resources(machines) for machines in last]
        return {
            name: frozenset(
                item.id for there in found for item in there.get(name, ()) if isinstance(item, (Image, Skeleton))
            )
            for name in desired.machines
        }

    def database(self, number: int) -> str | None:
        """The copy of the hub's database as this generation left it; None if none was made.

        Where it is the same hub in the next one, none is made, and the next one's is as good.
        """
        for later in self.numbers():
            if number <= later <= self.current() and DATABASE in self._names(later):
                return str(self.folder(later) / DATABASE)
        return None

    def _different(self) -> Iterator[int]:
        """Those that were carried out, the newest first, less those that only tidied up after the one before."""
        last: Any = None
        for number in self.deployed():
            machines = self._manifest(number)["machines"]
            if machines != last:
                yield number
            last = machines

    def _names(self, number: int) -> list[str]:
        return self._store.names(str(self.folder(number)))

    def _manifest(self, number: int) -> dict[str, Any]:
        self._store.ahead(("read", str(self.folder(one) / MANIFEST)) for one in self._neighbours(number))
        try:
            content = json.loads(self._store.read(str(self.folder(number) / MANIFEST)) or "")
        except (OSError, ValueError) as error:
            raise ApplyError(f"{self.folder(number)} cannot be read: {error}") from error
        return dict(content)

    def _neighbours(self, number: int) -> list[int]:
        """This one and those around it: whoever asks for it will ask for more."""
        newest_first = self.numbers()[::-1]
        begin = newest_first.index(number) // AT_ONCE * AT_ONCE if number in newest_first else 0
        return newest_first[begin : begin + AT_ONCE]


def _manifest(plan: Plan) -> dict[str, Any]:
    wanted = [(name, item) for name, items in plan.desired.machines.items() for item in items]
    again = {"again": plan.desired.again} if plan.desired.again else {}
    return {"hub": plan.hub, "machines": _json(wanted), "leftovers": _json(plan.leftovers), **again}


def _json(placed: Iterable[Placed]) -> dict[str, list[dict[str, Any]]]:
    machines: dict[str, list[dict[str, Any]]] = {}
    for name, resource in placed:
        if not resource.recorded:
            continue
        # through JSON and back, so that a written manifest compares equal (tuples become lists)
        machines.setdefault(name, []).append(json.loads(json.dumps(resource.redacted().to_json())))
    return machines


def _resources(machines: dict[str, list[dict[str, Any]]]) -> dict[str, tuple[Resource, ...]]:
    return {name: tuple(from_json(item) for item in items) for name, items in machines.items()}

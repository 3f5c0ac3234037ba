"""Generations: a record of every deployment, in `<state>/generations/0001`, `0002`, ...

A generation is written in full before the first change, and `current` is switched to it after the last one.
So whatever a killed deployment may have made is on record, and a later one can remove it.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hubfleet.errors import ApplyError, CheckError
from hubfleet.plan.model import Manifest, Placed, Plan
from hubfleet.plan.show import plan_text
from hubfleet.privatefiles import sync_directory, write_private
from hubfleet.resources import Resource, from_json

KEPT = 20


class Generations:
    """The generations of one hub. Writing needs the lock (`agent.hold`); reading does not."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "generations"

    def numbers(self) -> list[int]:
        """All generations there are, in order, finished or not. Raises CheckError if not permitted."""
        try:
            return sorted(int(entry.name) for entry in self.path.iterdir() if entry.name.isdigit())
        except FileNotFoundError:
            return []
        except PermissionError as error:
            raise CheckError(f"{self.path} cannot be read", remedy="run the same command with sudo") from error

    def current(self) -> int:
        """The one that was deployed last; 0 if none."""
        try:
            return int((self.path / "current").readlink().name)
        except FileNotFoundError:
            return 0

    def folder(self, number: int) -> Path:
        """Where a generation is: manifest.json, summary.txt, created."""
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
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for unfinished in self.path.glob(".*-*"):
            shutil.rmtree(unfinished)
        number = newest + 1
        partial = self.path / f".new-{number:04d}"
        partial.mkdir(mode=0o700)
        write_private(partial / "manifest.json", json.dumps(manifest, indent=1) + "\n")
        write_private(partial / "summary.txt", plan_text(plan, full=True))
        write_private(partial / "created", time.strftime("%Y-%m-%dT%H:%M:%S%z") + "\n")
        partial.rename(self.folder(number))
        sync_directory(self.path)
        return number

    def switch(self, number: int) -> None:
        """Makes a generation the current one, in one step, and forgets all but the last 20."""
        link = self.path / "current.new"
        link.unlink(missing_ok=True)
        link.symlink_to(self.folder(number).name)
        link.rename(self.path / "current")
        sync_directory(self.path)
        for old in self.numbers()[:-KEPT]:
            if old != number:
                doomed = self.path / f".old-{old:04d}"
                self.folder(old).rename(doomed)
                shutil.rmtree(doomed)

    def _manifest(self, number: int) -> dict[str, Any]:
        try:
            content = json.loads((self.folder(number) / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ApplyError(f"{self.folder(number)} cannot be read: {error}") from error
        return dict(content)


def _manifest(plan: Plan) -> dict[str, Any]:
    wanted = [(name, item) for name, items in plan.desired.machines.items() for item in items]
    return {"hub": plan.hub, "machines": _json(wanted), "leftovers": _json(plan.leftovers)}


def _json(placed: Iterable[Placed]) -> dict[str, list[dict[str, Any]]]:
    machines: dict[str, list[dict[str, Any]]] = {}
    for name, resource in placed:
        # through JSON and back, so that a written manifest compares equal (tuples become lists)
        machines.setdefault(name, []).append(json.loads(json.dumps(resource.redacted().to_json())))
    return machines


def _resources(machines: dict[str, list[dict[str, Any]]]) -> dict[str, tuple[Resource, ...]]:
    return {name: tuple(from_json(item) for item in items) for name, items in machines.items()}

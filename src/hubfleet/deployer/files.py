"""The files of a directory: which of them are meant, and what they hold."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hubfleet.config.document import Document, read_document
from hubfleet.errors import ConfigError

Kind = Literal["configs", "hosts", "passwords"]
KINDS: tuple[Kind, ...] = ("configs", "hosts", "passwords")
OPTIONS: dict[Kind, str] = {"configs": "-c", "hosts": "-s", "passwords": "-z"}
"""How each is named on the command line."""


@dataclass(frozen=True)
class Files:
    """What the files hold. ``folder``: where the command is run, which paths in them are relative to."""

    folder: Path
    configs: Document
    hosts: Document
    passwords: Document | None

    @property
    def properties(self) -> tuple[Document, ...]:
        """Those that hold properties, which count as one."""
        return (self.configs, self.passwords) if self.passwords else (self.configs,)

    @property
    def all(self) -> tuple[Document, ...]:
        return (*self.properties, self.hosts)

    def hides(self, document: Document) -> bool:
        """Whether what the file holds is not shown."""
        return document is self.passwords

    def beside(self, name: str) -> Path | None:
        """A file that the hosts name, in the folder or beside their own file; None if it is not there."""
        places = (self.folder.resolve(), self.hosts.file.resolve().parent)
        return next((found for place in places if (found := place / os.path.expanduser(name)).is_file()), None)


def is_deployer(path: Path) -> bool:
    """Whether this is a file of Deployer, or a directory, which only its files are taken from."""
    return path.is_dir() or path.suffix in [f".{kind}" for kind in KINDS]


def read_files(folder: Path, given: dict[Kind, Path | None]) -> Files:
    """Read the files that are given, and of those that are not the ones in the folder.

    Raises ConfigError if there is none of a kind that has to be there, if it is not clear which is meant, and for
    passwords that others may read.
    """
    configs = _chosen(folder, "configs", given, "")
    hosts = _chosen(folder, "hosts", given, configs.stem)
    passwords = _chosen(folder, "passwords", given, configs.stem, needed=False)
    return Files(
        folder,
        read_document(configs),
        read_document(hosts),
        read_document(passwords, secret=True) if passwords else None,
    )


def others_may_read(file: Path) -> bool:
    """Whether somebody else than its owner may read a file."""
    return bool(stat.S_IMODE(file.stat().st_mode) & 0o077)


def _chosen(folder: Path, kind: Kind, given: dict[Kind, Path | None], like: str, needed: bool = True) -> Path:
    path = given.get(kind)
    if path is not None:
        if not path.is_file():
            raise ConfigError(f"{path} not found", remedy=f"{OPTIONS[kind]} with the path of a .{kind} file")
        return path
    found = sorted(path for path in folder.glob(f"*.{kind}") if path.is_file())
    same = [path for path in found if path.stem == like]
    if len(found) > 1 and not same:
        names = [path.name for path in found]
        what = f"{len(found)} .{kind} files are in {folder.resolve()}: {', '.join(names)}"
        raise ConfigError(what, remedy=f"{OPTIONS[kind]} {names[0]}")
    if not found and needed:
        raise ConfigError(f"no .{kind} file is in {folder.resolve()}", remedy=f"{OPTIONS[kind]} FILE")
    return next(iter(same or found), None)  # type: ignore[return-value]

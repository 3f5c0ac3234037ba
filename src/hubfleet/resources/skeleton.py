"""What new homes hold, as a directory of the machine that is named by its content and never changed."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from hubfleet.errors import CheckError
from hubfleet.resources.base import Change, Observed, Resource

_SHOWN = 8


@dataclass(frozen=True)
class Entry:
    """A file, a directory or a link. ``mode``: permissions. ``link``: where a link leads; ``content``: of a file."""

    mode: int
    directory: bool = False
    link: str = ""
    content: bytes = b""


@dataclass(frozen=True)
class Skeleton(Resource):
    """Files, directories and links; `Skeleton.of` makes one of these. Its parent directory must exist.

    path:    ends in a digest of what is in it.
    content: a compressed archive, in base64. Not in manifests.
    Observed keys: type (directory, or what else is there).
    """

    kind: ClassVar[str] = "skeleton"

    path: str
    content: str = field(default="", repr=False)

    @classmethod
    def of(cls, parent: str, entries: Mapping[str, Entry]) -> Skeleton:
        """entries: by path, relative to the home; each one's directories are among them. Pure."""
        archive = _archive(entries)
        digest = hashlib.sha256(archive).hexdigest()[:16]
        return cls(f"{parent}/{digest}", base64.b64encode(gzip.compress(archive, mtime=0)).decode())

    @property
    def title(self) -> str:
        """What it is for."""
        return f"skeleton of new homes ({self.path})"

    def redacted(self) -> Skeleton:
        return replace(self, content="")

    def diff(self, observed: Observed | None) -> Change | None:
        """Raises CheckError for one from a manifest, whose content is not in there, and if something else is there."""
        if observed is None:
            if not self.content:
                raise CheckError(f"{self.path} is gone, and what was in it is not kept", remedy="hubfleet up")
            names = [name for name, entry in self.entries() if not entry.directory]
            more = (f"... and {len(names) - _SHOWN} more",) if len(names) > _SHOWN else ()
            return Change(self, "create", (*names[:_SHOWN], *more))
        if observed["type"] != "directory":
            raise CheckError(f"{self.path} is no directory", state="It was left as it is", remedy=f"rm {self.path}")
        return None

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """By path, in an order in which they can be made."""
        with tarfile.open(fileobj=io.BytesIO(base64.b64decode(self.content)), mode="r:gz") as archive:
            for member in archive:
                source = archive.extractfile(member) if member.isreg() else None
                text = source.read() if source else b""
                yield member.name, Entry(member.mode, member.isdir(), member.linkname if member.issym() else "", text)


def _archive(entries: Mapping[str, Entry]) -> bytes:
    """The same bytes for the same entries."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(entries):  # a directory comes before what is in it
            entry = entries[name]
            member = tarfile.TarInfo(name)
            member.mode, member.linkname, member.size = entry.mode, entry.link, len(entry.content)
            member.type = tarfile.DIRTYPE if entry.directory else tarfile.SYMTYPE if entry.link else tarfile.REGTYPE
            archive.addfile(member, io.BytesIO(entry.content))
    return plain.getvalue()

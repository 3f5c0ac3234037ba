"""A container image built on the machine, named by a digest of all that decides its content: never changed."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from hubfleet.errors import CheckError
from hubfleet.resources.base import Change, Observed, Resource
from hubfleet.resources.dockerengine import known

RECIPE = 1
"""Raise it when the agent builds the same files into something different."""
REPOSITORY = "hubfleet"
PLACE = "/opt/hubfleet"
"""Where an image has what is ours. Each step of a build that makes something names it, and so is known as ours."""
_DOCKERFILE = "Dockerfile"
_LEVEL = 3
"""Of compression. Every plan has its archives made, and few have an image built: this takes a third of the usual time,
for archives that are a twentieth larger."""


@dataclass(frozen=True)
class Image(Resource):
    """An image; `Image.of` makes one of these.

    tag:       `hubfleet/<label>:<16 digits>`.
    base:      what it is built on, for people.
    context:   what it is built of: an archive that holds the Dockerfile, compressed, in base64. Not in manifests.
    arguments: of the build, which are no part of the result (proxies, which may have passwords). Not in manifests.
    authorities: certificates (PEM) that the base's registry may be known by, beside the usual. Not in manifests.
    Observed keys: id, users (containers made from it, running or not); or `dockerengine.STOPPED`.
    """

    kind: ClassVar[str] = "image"
    keyed_by: ClassVar[str] = "tag"

    tag: str
    label: str
    base: str
    context: str = field(default="", repr=False)
    arguments: dict[str, str] = field(default_factory=dict, repr=False)
    authorities: str = field(default="", repr=False)

    @classmethod
    def of(
        cls,
        label: str,
        base: str,
        dockerfile: str,
        files: Mapping[str, bytes] | None = None,
        arguments: Mapping[str, str] | None = None,
        programs: Collection[str] = (),
    ) -> Image:
        """The image that `dockerfile` describes; pure.

        label: lower-case letters, digits, `-`, `_` and `.`.
        files: by their names in the build context. A script (`#!`) may be run, other files can be read only.
        programs: names of further files that may be run.
        """
        content = {**(files or {}), _DOCKERFILE: dockerfile.encode()}
        scripts = {name for name, text in content.items() if text[:2] == b"#!"}
        others = {name for name in files or {} if name in programs} - scripts
        # That a script may be run follows from what it holds: only of others it has to be said.
        said = {name: ["runs"] for name in others}
        listed = [[name, hashlib.sha256(content[name]).hexdigest(), *said.get(name, [])] for name in sorted(content)]
        digest = hashlib.sha256(json.dumps([RECIPE, base, listed]).encode()).hexdigest()
        context = base64.b64encode(_archive(content, scripts | others)).decode()
        return cls(f"{REPOSITORY}/{label}:{digest[:16]}", label, base, context, dict(arguments or {}))

    def redacted(self) -> Image:
        return replace(self, context="", arguments={}, authorities="")

    def steady(self, observed: Observed | None) -> Observed | None:
        """The tag says what is in it: no plan goes stale."""
        return None

    def diff(self, observed: Observed | None) -> Change | None:
        """Raises CheckError for one from a manifest: what it is built of is not in there."""
        if known(observed):
            return None
        if not self.context:
            raise CheckError(f"{self.tag} is gone, and what it was built of is not kept", remedy="hubfleet up")
        count = len(self.files())
        noun = "file" if count == 1 else "files"
        return Change(self, "create", (f"built on {self.base}", f"of {count} {noun} and a Dockerfile"))

    def removal(self, observed: Observed | None) -> Change | None:
        """None while there are containers of it."""
        return None if observed and observed.get("users") else super().removal(observed)

    def archive(self) -> bytes:
        """What the engine builds it from: a compressed tar archive."""
        return base64.b64decode(self.context)

    def files(self) -> list[str]:
        """Names of the files that it is built of, without the Dockerfile."""
        with tarfile.open(fileobj=io.BytesIO(self.archive()), mode="r:gz") as archive:
            return [name for name in archive.getnames() if name != _DOCKERFILE]


def _archive(content: Mapping[str, bytes], runs: Collection[str]) -> bytes:
    """The same bytes for the same files: the engine then finds the steps that it has done already."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(content):
            member = tarfile.TarInfo(name)
            member.size = len(content[name])
            member.mode = 0o755 if name in runs else 0o644
            archive.addfile(member, io.BytesIO(content[name]))
    return gzip.compress(plain.getvalue(), _LEVEL, mtime=0)

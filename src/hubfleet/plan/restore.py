"""What a generation was, once more: its record, with what records leave out filled in from what is known now. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hubfleet.errors import CheckError
from hubfleet.resources import Container, File, Image, Resource

_DIGEST = "sha256:"
_CERTIFICATE_OF = {"key.pem": "certificate.pem"}
"""A key opens its own certificate only, so neither comes without the other."""


def secret_paths(then: Sequence[Resource]) -> list[str]:
    """Paths of files whose content may be asked for: secrets, of which a record keeps digests, and certificates."""
    files = [item.path for item in then if isinstance(item, File) and item.secret]
    return [*files, *filter(None, map(_partner, files))]


def restored(
    then: Sequence[Resource], known: Mapping[str, Sequence[str]], images: Mapping[str, Image]
) -> tuple[tuple[Resource, ...], tuple[str, ...]]:
    """The resources as they can be made again, and notes about what is not as it was then.

    then:   of one machine, as the record has them.
    known:  contents of secret files by path, the one that is there now first.
    images: by tag, those that can be built now.
    Raises CheckError for a secret of which nothing is known.
    """
    made: dict[str, Resource] = {item.id: item for item in then}
    notes: list[str] = []
    digests: dict[str, str] = {}
    for item in then:
        if isinstance(item, Image):
            made[item.id] = images.get(item.tag, item)
        if not isinstance(item, File) or not item.secret:
            continue
        wanted, contents = item.content.removeprefix(_DIGEST), known.get(item.path, ())
        found = [file for file in (replace(item, content=content) for content in contents) if file.sha256 == wanted]
        if found:
            made[item.id] = found[0]
            continue
        if not contents:
            raise CheckError(
                f"{item.path} is needed, which is a secret: only its digest was kept, and it is not there any more",
                state="Nothing was changed",
                remedy="put what it is made of back into the configuration, then the same command again",
            )
        made[item.id] = now = replace(item, content=contents[0])
        digests[wanted] = now.sha256
        notes.append(f"{item.path} was another one then; secrets are not kept, so it stays as it is now")
        certificate = made.get(f"file:{_partner(item.path)}")
        if isinstance(certificate, File) and known.get(certificate.path):
            made[certificate.id] = beside = replace(certificate, content=known[certificate.path][0])
            if beside.sha256 != certificate.sha256:
                digests[certificate.sha256] = beside.sha256
                notes.append(f"{certificate.path} stays as it is now, because it belongs to that key")
    return tuple(_depending(item, digests) for item in made.values()), tuple(notes)


def _partner(path: str) -> str:
    name = _CERTIFICATE_OF.get(Path(path).name)
    return str(Path(path).with_name(name)) if name else ""


def _depending(item: Resource, digests: Mapping[str, str]) -> Resource:
    """A container is as what it reads is, not as that was."""
    if not isinstance(item, Container):
        return item
    return replace(item, depends=tuple(digests.get(digest, digest) for digest in item.depends))

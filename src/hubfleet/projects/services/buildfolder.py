"""What of a directory an image is built of: none of what only the operator may read."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from hubfleet.errors import CheckError
from hubfleet.projects.base import Site
from hubfleet.projects.services.dockerignore import Ignored

MOST_BYTES = 50 * 1024**2
"""Of a directory that an image is built of: it is sent to the machine whole."""
IGNORE = ".dockerignore"
_LEFT_OUT = {".git", "__pycache__", ".DS_Store"}
_NOT_CHANGED = "Nothing was changed"


def build_folder(folder: Path, service: str, site: Site) -> tuple[dict[str, bytes], set[str]]:
    """Its files, by path, and those that may be run; with the Dockerfile, whatever is left out. Nothing outside it: a
    link could name a file of the operator's. Raises CheckError for what cannot be sent, or must not."""
    found: dict[str, bytes] = {}
    programs: set[str] = set()
    size = 0
    for path in [*_walk(folder, folder, _ignored(folder)), folder / "Dockerfile"]:
        name = path.relative_to(folder).as_posix()
        if name in found:
            continue
        _check_name(path, service, site)
        size += path.stat().st_size
        if path.stat().st_mode & stat.S_IXUSR:
            programs.add(name)
        if size > MOST_BYTES:
            raise CheckError(
                f"{folder} has more than {MOST_BYTES // 1024**2} MB, all of which is sent to the machine",
                state=_NOT_CHANGED,
                remedy=f"keep what the image does not need elsewhere, or name it in {folder / IGNORE}",
            )
        found[name] = path.read_bytes()
        if secret := next((known for known, text in site.telling() if text.encode() in found[name]), None):
            raise _refused(
                path, f"the secret {secret}", service, f"secrets: [{secret}] for {service}, which then reads it"
            )
    return found, programs


def _ignored(folder: Path) -> Ignored:
    file = folder / IGNORE
    if not file.is_file():
        return Ignored()
    try:
        return Ignored.of(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise CheckError(f"{file} is no text in UTF-8", state=_NOT_CHANGED, remedy="write it in UTF-8") from None
    except ValueError as error:
        raise CheckError(f"{file}: `{error}` means nothing", state=_NOT_CHANGED, remedy="a path, or **/*.log") from None


def _walk(folder: Path, top: Path, ignored: Ignored) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        out = ignored(path.relative_to(top).as_posix())
        if path.name in _LEFT_OUT or (out and (ignored.final or path.is_symlink() or not path.is_dir())):
            continue
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise CheckError(f"{path} is a link", state=_NOT_CHANGED, remedy="a copy of what it leads to")
        if path.is_dir():
            yield from _walk(path, top, ignored)
        else:
            yield path


def _check_name(path: Path, service: str, site: Site) -> None:
    """By its name, for it may hold secrets of other deployments, which nobody knows here."""
    if path.name.endswith(".secrets.yaml") or path.resolve() in site.private:
        raise _refused(
            path, "what only you may read", service, f"the line **/{path.name} in {IGNORE} of {service}'s directory"
        )


def _refused(path: Path, what: str, service: str, remedy: str) -> CheckError:
    return CheckError(
        f"{path} holds {what}, and everybody who has the image of {service} could read it",
        state=_NOT_CHANGED,
        remedy=f"{remedy}; or build it of a directory of its own",
    )

"""Makes, mounts and enlarges a file system in a file."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import struct
import subprocess
from pathlib import Path

from hubfleet.agent import dockerengine, file
from hubfleet.agent.base import Progress
from hubfleet.agent.docker import tool
from hubfleet.agent.programs import call
from hubfleet.errors import ApplyError
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.disk import SLACK, Disk
from hubfleet.resources.file import File

UNITS = Path("/etc/systemd/system")
OURS = ".hubfleet-"
"""How files begin that hubfleet writes among homes: they are written anew in the file system."""
OPTIONS = "loop,prjquota,nosuid,nodev"
PROGRAMS = ("mkfs.xfs", "xfs_growfs")
_COUNTING = {"prjquota", "pquota"}
_GEOMETRY, _GEOMETRY_BYTES = 0x80705864, 112  # XFS_IOC_FSGEOMETRY_V1
_UNIT = """\
# Written by hubfleet, which replaces it.
[Unit]
Description=hubfleet: homes
RequiresMountsFor={folder}
Before=docker.service

[Mount]
What={file}
Where={path}
Type=xfs
Options={options}

[Install]
WantedBy=local-fs.target
"""


def observe(disk: Disk) -> Observed | None:
    size, (source, kind, options) = _size(disk.file), _mounted(disk.path)
    mounted = bool(source) and _backing(source) == os.path.realpath(disk.file)
    holds = [] if source else _holds(disk.path)
    if size is None and not source and not holds:
        return None
    return {
        "file": size,
        "mounted": mounted,
        "other": "" if mounted or not source else f"{kind} ({source})",
        "counts": bool(options & _COUNTING),
        "room": _room(disk.path) if mounted else 0,
        "holds": holds,
        "boot": _boots(disk),
        "tools": all(map(tool, PROGRAMS)),
    }


def apply(disk: Disk, change: Change, progress: Progress) -> None:
    """Nothing that is there is lost: the file is made beside its place, and only grows. Raises ApplyError."""
    if os.geteuid() != 0:
        raise ApplyError("file systems can be mounted by root only", remedy="run the same command with sudo")
    if change.action == "remove":
        _remove(disk)
        return
    if not all(map(tool, PROGRAMS)):
        dockerengine.install(["xfsprogs"], progress)
    if _size(disk.file) is None:
        progress(f"making a file system of {disk.size // 1024**2} MB in {disk.file}")
        _make(disk)
    if not _mounted(disk.path)[0]:
        progress(f"mounting it at {disk.path}")
        _mount(disk)
    _have_mounted_at_boot(disk, progress)
    _grow(disk, progress)


def _make(disk: Disk) -> None:
    new = Path(f"{disk.file}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        os.ftruncate(descriptor, disk.size)
        call("mkfs.xfs", "-q", str(new))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.rename(disk.file)


def _mount(disk: Disk) -> None:
    place = Path(disk.path)
    place.mkdir(mode=0o700, exist_ok=True)
    # They would be found there when the file system is not mounted some day, and homes made that nobody finds again.
    ours = {entry.name: entry.read_bytes() for entry in place.iterdir() if _plain(entry)}
    for name in ours:
        (place / name).unlink()
    try:
        call("mount", "-t", "xfs", "-o", OPTIONS, disk.file, disk.path)
    except ApplyError as error:
        raise ApplyError(f"{error.what}; see dmesg") from error
    place.chmod(disk.mode)
    for name, content in ours.items():
        if not (place / name).exists():
            (place / name).write_bytes(content)


def _have_mounted_at_boot(disk: Disk, progress: Progress) -> None:
    if not dockerengine.SYSTEMD.exists() or _boots(disk):
        return
    unit = unit_file(disk)
    wanted = File(str(unit), _unit_text(disk), mode=0o644)
    file.apply(wanted, Change(wanted, "update"), progress)
    call("systemctl", "daemon-reload")
    call("systemctl", "enable", unit.name)


def _grow(disk: Disk, progress: Progress) -> None:
    if (size := _size(disk.file) or 0) < disk.size:
        progress(f"enlarging {disk.file} to {disk.size // 1024**2} MB")
        os.truncate(disk.file, disk.size)
        size = disk.size
    if _room(disk.path) + SLACK < size:
        call("losetup", "--set-capacity", _mounted(disk.path)[0])
        call("xfs_growfs", disk.path)


def _remove(disk: Disk) -> None:
    unit = unit_file(disk)
    if _backing(_mounted(disk.path)[0]) == os.path.realpath(disk.file):
        call("umount", disk.path)
    if unit.exists():
        if dockerengine.SYSTEMD.exists():
            call("systemctl", "disable", unit.name)
        unit.unlink()
        if dockerengine.SYSTEMD.exists():
            call("systemctl", "daemon-reload")
    for left in (disk.file, f"{disk.file}.new"):
        Path(left).unlink(missing_ok=True)


def _size(path: str) -> int | None:
    """Raises ApplyError where something else is in the place of the file."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise ApplyError(f"{path} is not a file", state="It was left as it is", remedy=f"move {path} away")
    return found.st_size


def _mounted(path: str) -> tuple[str, str, set[str]]:
    """What is mounted exactly there: source, type and options; all empty for nothing."""
    found: tuple[str, str, set[str]] = ("", "", set())
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            before, _, after = line.partition(" - ")
            if re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), before.split()[4]) == path:
                kind, source, options = after.split()[:3]
                found = (source, kind, set(options.split(",")))  # the last one lies on top
    return found


def _backing(source: str) -> str:
    """The file that a loop device is made of; "" for what is none."""
    try:
        return Path(f"/sys/block/{Path(source).name}/loop/backing_file").read_text(encoding="utf-8").rstrip("\n")
    except OSError:
        return ""


def _room(path: str) -> int:
    """Bytes of the blocks that XFS has for data and its own notes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        told = fcntl.ioctl(descriptor, _GEOMETRY, bytes(_GEOMETRY_BYTES))
    finally:
        os.close(descriptor)
    (block,), (blocks,) = struct.unpack_from("=I", told), struct.unpack_from("=Q", told, 32)
    return int(block * blocks)


def _holds(path: str) -> list[str]:
    """What would be hidden under a file system there."""
    try:
        return sorted(entry.name for entry in Path(path).iterdir() if not _plain(entry))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _plain(entry: Path) -> bool:
    return entry.name.startswith(OURS) and entry.is_file() and not entry.is_symlink()


def _boots(disk: Disk) -> bool:
    """Whether the unit is as wanted and switched on; without systemd there is none to want."""
    if not dockerengine.SYSTEMD.exists():
        return True
    unit = unit_file(disk)
    try:
        as_wanted = unit.read_text(encoding="utf-8") == _unit_text(disk)
    except FileNotFoundError:
        return False
    command = [tool("systemctl") or "systemctl", "is-enabled", "--quiet", unit.name]
    return as_wanted and subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def unit_file(disk: Disk) -> Path:
    """systemd wants a mount's unit to be called after its place."""
    plain = "".join(char if re.match(r"[A-Za-z0-9:_.]", char) else _escaped(char) for char in disk.path.strip("/"))
    return UNITS / f"{plain}.mount"


def _escaped(char: str) -> str:
    return "-" if char == "/" else "".join(f"\\x{byte:02x}" for byte in char.encode())


def _unit_text(disk: Disk) -> str:
    folder, made, place = (text.replace("%", "%%") for text in (str(Path(disk.file).parent), disk.file, disk.path))
    return _UNIT.format(folder=folder, file=made, path=place, options=OPTIONS)

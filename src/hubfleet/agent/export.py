"""Sets up the kernel's server of NFS, and says what it exports."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from hubfleet.agent import dockerengine, file
from hubfleet.agent.base import Progress
from hubfleet.agent.docker import tool
from hubfleet.agent.facts import module
from hubfleet.agent.programs import call
from hubfleet.errors import ApplyError
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.export import SETTINGS, VERSION, Export
from hubfleet.resources.file import File

EXPORTS = Path("/etc/exports.d")
EXPORTS_OF_OTHERS = Path("/etc/exports")
SETTINGS_FILE = Path("/etc/nfs.conf.d/hubfleet.conf")
"""There: hubfleet has installed the server."""
IN_FORCE = Path("/var/lib/nfs/etab")
KERNEL = Path("/proc/fs/nfsd")
UNIT = "nfs-server.service"
_EARLIER = ("rpcbind.service", "rpcbind.socket", "rpc-statd.service")
"""What only versions of NFS before the fourth need: they would listen for everybody."""
_ENTRY = re.compile(r"(?P<client>[^()]*)(\((?P<options>.*)\))?")


def observe(export: Export) -> Observed | None:
    try:
        text = _place(export).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        text = ""
    others = list(_others(export))
    closed = _closed(export.path)
    kernel = module("nfsd")
    if not text and not others and not closed and kernel is not False:
        return None
    return {
        "installed": tool("exportfs") is not None,
        "ours": SETTINGS_FILE.exists(),
        "running": _running(),
        "boots": _boots(),
        "versions": _read(KERNEL / "versions").split(),
        "file": text,
        "served": _served(export.path),
        "others": others,
        "closed": closed,
        "kernel": kernel,
    }


def apply(export: Export, change: Change, progress: Progress) -> None:
    """What others export from this machine is not touched. Raises ApplyError with what the server's tools say."""
    if change.action == "remove":
        _remove(export)
        return
    if tool("exportfs") is None:
        _install(progress)
    EXPORTS_OF_OTHERS.touch()  # or else exportfs fails, whatever else it has done
    _write(_place(export), export.text, progress)
    if dockerengine.SYSTEMD.exists():
        _run("systemctl", "enable", UNIT)
        older = SETTINGS_FILE.exists() and "+3" in _read(KERNEL / "versions").split()
        if not _running() or older:
            progress("starting the server of NFS")
            _run("systemctl", "restart", UNIT)
    elif not _running():
        progress("starting the server of NFS")
        _run("service", "nfs-kernel-server", "start")
    _run("exportfs", "-r")
    if f"+{VERSION}" not in _read(KERNEL / "versions").split():
        raise ApplyError(
            f"the server of NFS on this machine does not speak version {VERSION}",
            state="The directory is exported, and no server was started with it",
            remedy="set vers4.2=y under [nfsd] in /etc/nfs.conf, systemctl restart nfs-server, and hubfleet up again",
        )


def _install(progress: Progress) -> None:
    if dockerengine.SYSTEMD.exists() and tool("rpcbind") is None:
        _run("systemctl", "mask", *_EARLIER)
    _write(SETTINGS_FILE, SETTINGS, progress)  # first, so that it starts with them
    dockerengine.install(["nfs-kernel-server"], progress)


def _remove(export: Export) -> None:
    """A server that hubfleet has installed for this alone is stopped; the package stays, and listens to nobody."""
    _place(export).unlink(missing_ok=True)
    EXPORTS_OF_OTHERS.touch()
    _run("exportfs", "-r")
    if not SETTINGS_FILE.exists() or any(True for _ in _entries()):
        return
    if dockerengine.SYSTEMD.exists():
        _run("systemctl", "disable", "--now", UNIT)
        _run("systemctl", "unmask", *_EARLIER)
        _run("systemctl", "disable", *_EARLIER[:2])
    SETTINGS_FILE.unlink()


def _place(export: Export) -> Path:
    return EXPORTS / f"hubfleet-{export.name}.exports"


def _write(path: Path, text: str, progress: Progress) -> None:
    path.parent.mkdir(mode=0o755, exist_ok=True)
    wanted = File(str(path), text, "root", "root")
    file.apply(wanted, Change(wanted, "update"), progress)


# -- what is there ---------------------------------------------------------------------------------------------------


def _running() -> bool:
    return _read(KERNEL / "threads").strip() not in ("", "0")


def _boots() -> bool:
    """Without systemd its own start script is what there is."""
    if not dockerengine.SYSTEMD.exists():
        return True
    return _said("systemctl", "is-enabled", UNIT) == "enabled"


def _served(path: str) -> dict[str, list[str]]:
    """By client, the options in force."""
    found = {}
    for line in _read(IN_FORCE).splitlines():
        place, _, rest = line.partition("\t")
        entry = _ENTRY.fullmatch(rest.strip())
        if _plain(place) == path and entry:
            found[entry["client"]] = (entry["options"] or "").split(",")
    return found


def _others(export: Export) -> Iterator[str]:
    """What is said elsewhere of the directory, of one around it, or of one inside."""
    mine = os.path.realpath(export.path)
    for source, place, rest in _entries():
        there = os.path.realpath(place)
        if source != _place(export) and (_inside(mine, there) or _inside(there, mine)):
            yield f"{source}: {place} {rest}"


def _inside(path: str, around: str) -> bool:
    return path == around or path.startswith(f"{around.rstrip('/')}/")


def _entries() -> Iterator[tuple[Path, str, str]]:
    """All that files say: file, path, and who may mount it how."""
    for source in (EXPORTS_OF_OTHERS, *sorted(EXPORTS.glob("*.exports"))):
        for line in _read(source).replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and not words[0].startswith("-"):
                yield source, _plain(words[0]), " ".join(words[1:]) or "*"


def _plain(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), path)


def _closed(path: str) -> str:
    """The first directory on the way to it, itself included, that strangers may not enter: root elsewhere is one."""
    place = Path(os.path.realpath(path))
    for folder in (*reversed(place.parents), place):
        if folder.exists() and not folder.stat().st_mode & 0o001:
            return str(folder)
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _said(*command: str) -> str:
    done = subprocess.run([tool(command[0]) or command[0], *command[1:]], capture_output=True, text=True)
    return done.stdout.strip()


def _run(*command: str) -> None:
    call(*command, remedy="journalctl -u nfs-server, to see what is wrong")

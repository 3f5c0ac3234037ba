"""Installs, starts and sets up the Docker engine."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hubfleet.agent import file, swarm
from hubfleet.agent.base import Progress
from hubfleet.agent.docker import PLACES, Engine, installed, tool
from hubfleet.agent.tools import run_tool
from hubfleet.errors import ApplyError
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.dockerengine import DockerEngine
from hubfleet.resources.file import File

SETTINGS = Path("/etc/docker/daemon.json")
USUAL_PLACE = "/var/lib/docker"
PID_FILE = Path("/var/run/docker.pid")
SYSTEMD = Path("/run/systemd/system")
"""There where systemd runs."""
BESIDE = {"iptables": "iptables", "nftables": "nft"}
"""Packages that are needed beside an engine, and the program of each."""
LIMIT_S = 90.0
APT_LIMIT_S, APT_AGAIN_S = 600.0, 5.0
"""How long another apt or dpkg on the machine is waited for, and how often it is looked whether it has ended."""
_INTERRUPTED = Path("/var/lib/dpkg/updates")
_BUSY = ("Could not get lock", "locked by another process")
"""What apt and dpkg say then. Only for dpkg's own lock does apt-get have a time to wait."""


def observe(wanted: DockerEngine) -> Observed | None:
    engine = Engine()
    running = engine.running()
    if not running and not installed():
        return None
    text = _settings_text()
    settings = _parsed(text)
    about = engine.get("/info") if running else {}
    return {
        "running": running,
        "version": str(about.get("ServerVersion", "")),
        "live_restore": bool(about["LiveRestoreEnabled"] if running else (settings or {}).get("live-restore")),
        "swarm": (about.get("Swarm") or {}).get("LocalNodeState", "inactive") != "inactive",
        "ours": bool(running and swarm.recorded(about["Swarm"]["NodeID"])),
        "settings": hashlib.sha256(text.encode()).hexdigest() if text else "",
        "readable": settings is not None,
        "lacks": [package for package, program in BESIDE.items() if tool(program) is None],
    }


def apply(wanted: DockerEngine, change: Change, progress: Progress) -> None:
    """Installs what is missing, never in the place of an engine that is there; running containers go on.

    Raises ApplyError with what apt-get or the engine said.
    """
    lacks = [package for package, program in BESIDE.items() if tool(program) is None]
    if wanted.live_restore and Engine().running() and swarm.inside(Engine()):
        raise ApplyError(
            "Docker is still part of a swarm, whose engines refuse live-restore",
            state="It was left as it is",
            remedy="take the machine out of the other hub that uses it so, or give this hub another machine",
        )
    _write_settings(wanted.live_restore, progress)  # first, so that a new engine starts with it
    if not installed() and not Engine().running():
        install(["docker.io", *lacks], progress)
    elif lacks:
        install(lacks, progress)
    if not Engine().running():
        _start(progress)
    if _restores() is not wanted.live_restore:
        progress("having Docker read its settings")
        _reload()
        _await("Docker does not take up live-restore from its settings", lambda: _restores() is wanted.live_restore)


def install(packages: list[str], progress: Progress) -> None:
    """Have the system's own tool install packages. Raises ApplyError."""
    if tool("apt-get") is None:
        raise ApplyError(
            f"{' and '.join(packages)}: not installed, and this machine has no apt-get",
            remedy="install it with the system's own tool, then hubfleet up again",
        )
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:{PLACES}"
    waiting = ["-o", "DPkg::Lock::Timeout=300"]

    def run(what: str, *command: str) -> None:
        begin = time.monotonic()
        while True:
            try:
                return run_tool(what, command, progress=progress, cwd="/", environ=environ)
            except ApplyError as error:
                waited = time.monotonic() - begin
                if waited > APT_LIMIT_S or not any(words in error.what for words in _BUSY):
                    raise
            progress(f"{what}: another apt is at work on this machine ({waited:.0f} s)")
            time.sleep(APT_AGAIN_S)

    if _INTERRUPTED.is_dir() and any(_INTERRUPTED.iterdir()):  # apt-get refuses to go on from there by itself
        run("finishing an interrupted installation", "dpkg", "--configure", "-a")
    run("reading the list of packages", "apt-get", *waiting, "update")
    install = ["apt-get", *waiting, "install", "-y", "--no-install-recommends", *packages]
    run(f"installing {', '.join(packages)}", *install)


def _start(progress: Progress) -> None:
    progress("starting Docker")
    if SYSTEMD.exists():
        _run(["systemctl", "enable", "--now", "docker.service"])
    elif Path("/etc/init.d/docker").exists():
        _run(["service", "docker", "start"])
    else:
        raise ApplyError("Docker is not running, and there is no known way to start it", remedy="start it by hand")
    _await("Docker does not answer after its start", Engine().running)


def _reload() -> None:
    """The engine reads its settings; containers do not notice."""
    if SYSTEMD.exists():
        _run(["systemctl", "reload", "docker.service"])
        return
    try:
        os.kill(int(PID_FILE.read_text(encoding="utf-8")), signal.SIGHUP)
    except (FileNotFoundError, ValueError, ProcessLookupError) as error:
        raise ApplyError(
            f"the process of Docker is not known ({PID_FILE}: {error})", remedy="restart Docker"
        ) from error


def _restores() -> bool:
    return bool(Engine().get("/info")["LiveRestoreEnabled"])


def _run(command: list[str]) -> None:
    done = subprocess.run(
        [tool(command[0]) or command[0], *command[1:]], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip() or f"it ended with {done.returncode}"
        raise ApplyError(f"{' '.join(command)}: {said}", remedy="journalctl -u docker, to see what is wrong")


def _await(otherwise: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise ApplyError(f"{otherwise} (waited {LIMIT_S:.0f} s)", remedy="journalctl -u docker, to see why")
        time.sleep(0.2)


def _write_settings(restore: bool, progress: Progress) -> None:
    """Sets live-restore in the engine's settings; everything else in them stays.

    Off is written out: an engine that runs keeps what its settings no longer name.
    """
    text = _settings_text()
    settings = _parsed(text)
    if settings is None:
        raise ApplyError(f"{SETTINGS} is not a JSON object", state="It was left as it is", remedy="correct that file")
    if bool(settings.get("live-restore", False)) is restore:
        return
    SETTINGS.parent.mkdir(mode=0o755, exist_ok=True)
    content = json.dumps({**settings, "live-restore": restore}, indent=2) + "\n"
    mode = SETTINGS.stat().st_mode & 0o7777 if text else 0o644
    wanted = File(str(SETTINGS.resolve()), content, mode=mode)  # some keep it elsewhere, behind a link
    file.apply(wanted, Change(wanted, "update"), progress)


def data_root() -> str:
    """The directory that the engine has its images in, by its settings."""
    chosen = (_parsed(_settings_text()) or {}).get("data-root")
    return chosen if isinstance(chosen, str) and chosen.startswith("/") else USUAL_PLACE


def _settings_text() -> str:
    try:
        return SETTINGS.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _parsed(text: str) -> dict[str, Any] | None:
    """The engine's settings; None if they are not what the engine could read."""
    if not text.strip():
        return {}
    try:
        settings = json.loads(text)
    except ValueError:
        return None
    return settings if isinstance(settings, dict) else None

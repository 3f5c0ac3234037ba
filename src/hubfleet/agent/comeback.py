"""Has systemd start a hub's containers after a boot, for as long as the engine's own try is not enough."""

from __future__ import annotations

import shlex
from pathlib import Path

from hubfleet.agent import atboot
from hubfleet.agent.base import Progress
from hubfleet.agent.docker import PLACES
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.comeback import Comeback

FOLDER = Path("/etc/hubfleet/comeback")
AGAIN_S = 5
_UNIT = """\
# Written by hubfleet, which replaces it.
[Unit]
Description=hubfleet: containers of {name} come up after a boot
After=docker.service

[Service]
ExecStart=/bin/sh {script}

[Install]
WantedBy=docker.service
"""
# Somebody may deploy at the same time: what that has stopped is not to be started beside what takes its place.
_SCRIPT = """\
#!/bin/sh
# Written by hubfleet, which replaces it. Starts what Docker itself tried to start once only.
PATH={places}
command -v docker >/dev/null || {{ echo "docker is not installed"; exit 1; }}
while :; do
    left=
    for name in {names}; do
        found=$(docker inspect --format '{{{{.State.Status}}}} {{{{.HostConfig.RestartPolicy.Name}}}}' "$name" 2>&1)
        case $found in
            "exited always"|"dead always"|"Cannot connect"*) left="$left $name";;
        esac
    done
    [ -n "$left" ] || exit 0
    flock --nonblock {lock} true && docker start $left
    sleep {again}
done
"""


def observe(comeback: Comeback) -> Observed | None:
    script, unit = _files(comeback)
    there = script.exists() or (atboot.UNITS / unit).exists()
    wanted = atboot.same(script, _script(comeback)) and atboot.kept(unit, _unit(comeback))
    return {"there": there, "kept": wanted or not atboot.systemd()}


def apply(comeback: Comeback, change: Change, progress: Progress) -> None:
    """Raises ApplyError with what systemd said."""
    script, unit = _files(comeback)
    if change.action == "remove":
        atboot.end(unit)
        atboot.forget(script)
    else:
        atboot.write(script, _script(comeback), 0o644)
        atboot.keep(unit, _unit(comeback))


def _files(comeback: Comeback) -> tuple[Path, str]:
    """What is run, and the unit that has it run."""
    return FOLDER / f"{comeback.name}.sh", f"hubfleet-comeback-{comeback.name}.service"


def _script(comeback: Comeback) -> str:
    names = " ".join(map(shlex.quote, comeback.containers))
    lock = shlex.quote(str(Path(comeback.state) / "lock"))
    return _SCRIPT.format(places=PLACES, names=names, lock=lock, again=AGAIN_S)


def _unit(comeback: Comeback) -> str:
    return _UNIT.format(name=comeback.name, script=_files(comeback)[0])

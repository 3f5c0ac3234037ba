"""Runs in the virtual machine of test_systemd_guest.py; prints what it sees, one JSON object a line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, "/opt/hubfleet/tests/local")

from harness import Person, RunningHub, await_that

from hubfleet.supervisor.spec import SupervisorStatus

STATE = Path("/var/lib/hubfleet/guest")
PATIENCE_S = 240.0  # the guest's processor is emulated: ten times slower than the machine's
UNIT = "hubfleet-guest.service"
SETTINGS = "servers: {memory: {limit: 400M}, cpu: {limit: 1.5}, processes: 300}\n"

started = time.monotonic()


def tell(what: str, **seen: Any) -> None:
    print(json.dumps({"what": what, "seconds": round(time.monotonic() - started), **seen}), flush=True)


def systemctl(*arguments: str) -> str:
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True)
    return done.stdout.strip() + done.stderr.strip()


def unit_state() -> dict[str, str]:
    keys = ("ActiveState", "UnitFileState", "MainPID")
    lines = systemctl("show", UNIT, f"--property={','.join(keys)}").splitlines()
    return dict(line.split("=", 1) for line in lines)


def up(hub: RunningHub) -> str:
    """What `up` says. On a busy machine the hub may not be there in time: `up` goes on when called again."""
    done = hub.run("up", "--yes", "--detach", check=False, timeout=600)
    for _ in range(3):
        if done.returncode != 4 or "hub does not come up" not in done.stderr:
            break
        again = hub.run("up", "--yes", "--detach", check=False, timeout=600)
        done = subprocess.CompletedProcess(again.args, again.returncode, done.stdout + again.stdout, again.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def start_server(person: Person) -> None:
    answer = person.api("POST", f"/users/{person.name}/server", json={})
    assert answer.status_code in (201, 202), answer.text
    await_that("the server is ready", lambda: person.servers().get("", {}).get("ready"), PATIENCE_S)


def is_server(pid: int) -> bool:
    """Whether the process that was the server's when it started still is."""
    return Path(f"/proc/{pid}").exists() and b"jupyterhub-singleuser" in Path(f"/proc/{pid}/cmdline").read_bytes()


def server_pid(hub: RunningHub) -> int:
    record = json.loads((hub.state / "launcher" / "servers" / "ada.json").read_text())
    return int(record["handle"]["pid"])


def supervised(but: str) -> str:
    """The id of the unit's process once there is one, another than `but`, and it has started the hub."""

    def look() -> str | None:
        pid = unit_state()["MainPID"]
        told = SupervisorStatus.read(STATE / "supervisor")
        up = told is not None and str(told.pid) == pid and all(one.pid for one in told.processes.values())
        return pid if pid not in ("0", but) and up else None

    return await_that("another supervisor", look, PATIENCE_S)


def main() -> None:
    hub = RunningHub(STATE.parent, Path("/root"), settings=SETTINGS, name=STATE.name)
    tell("up", text=up(hub), **unit_state())
    tell("status", **hub.status())

    ada = hub.person("ada")
    start_server(ada)
    server = server_pid(hub)
    group = Path("/sys/fs/cgroup/hubfleet/guest/ada")
    files = ("memory.max", "memory.swap.max", "cpu.max", "pids.max")
    values = {name: (group / name).read_text().strip() for name in files if (group / name).exists()}
    tell("limits", values=values, joined=Path(f"/proc/{server}/cgroup").read_text().strip())

    said = ada.kernel().run("block = bytearray(2 * 1024**3)\nprint('got it')")
    tell("memory overuse", said=said, server=ada.jupyter("GET", "/api/status").status_code)

    kernel = ada.kernel()
    kernel.run("kept = 42")
    first = unit_state()["MainPID"]
    systemctl("restart", UNIT)
    second = supervised(first)
    tell("restarted", server=is_server(server), **unit_state())
    os.kill(int(second), signal.SIGKILL)
    third = supervised(second)
    tell("killed", server=is_server(server), **unit_state())
    parts = [hub.pid(name) for name in ("launcher", "proxy", "hub")]
    systemctl("stop", UNIT)
    left = [pid for pid in parts if Path(f"/proc/{pid}").exists()]
    tell("stopped", server=is_server(server), left=left, **unit_state())
    systemctl("start", UNIT)
    supervised(third)
    await_that("the hub answers", hub.answers, PATIENCE_S)
    await_that("the server answers", lambda: ada.jupyter("GET", "/api/status").status_code == 200, PATIENCE_S)
    kernel.connect()
    tell("started", server=is_server(server), kept=kernel.run("print(kept)").strip(), **unit_state())

    text = hub.run("down", "--yes", timeout=600).stdout
    left = [str(path) for path in Path("/sys/fs/cgroup/hubfleet").glob("*") if path.is_dir()]
    unit_file = Path("/etc/systemd/system", UNIT).exists()
    tell("down", text=text, unit_file=unit_file, server=is_server(server), groups=left, **unit_state())


if __name__ == "__main__":
    try:
        main()
    except BaseException as error:
        tell("failed", error=f"{type(error).__name__}: {error}")
        subprocess.run("tail -n 30 /var/lib/hubfleet/guest/logs/*.log; journalctl -n 40 --no-pager", shell=True)
        raise

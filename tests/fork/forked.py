"""Looks at servers and at the process they were forked from."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from harness import Person, RunningHub, await_that

SETTINGS = """
servers:
  environment: {TZ: America/New_York, TMPDIR: /var/tmp, COURSE: forks, KERNEL_LAUNCH_TIMEOUT: "61"}
  profiles:
    fast: {title: Forked, default: true}
    plain: {title: Started plainly, fast_start: false}
    tongue: {title: In another language, environment: {LANG: C}}
    patient: {title: With time for slow kernels, environment: {KERNEL_LAUNCH_TIMEOUT: "90"}}
    strict: {title: Otherwise, environment: {NBFORMAT_VALIDATOR: jsonschema, JUPYTER_PREFER_ENV_PATH: "0"}}
"""


def children(pid: int) -> list[int]:
    """The processes that this one's threads have started."""
    return [int(one) for file in Path(f"/proc/{pid}/task").glob("*/children") for one in file.read_text().split()]


def parents(hub: RunningHub) -> list[int]:
    """The launcher's fork servers: one, or none."""
    return [pid for pid in children(hub.pid("launcher")) if b"forkserver/parent.py" in cmdline(pid)]


def the_parent(hub: RunningHub) -> int:
    """The fork server of this hub, once it is ready."""

    def ready() -> int | None:
        found = parents(hub)
        known = (hub.logs / "launcher.log").read_text().splitlines()
        last = [line for line in known if "fork server" in line or "for hub" in line][-1]
        return found[0] if found and "is ready" in last else None

    return int(await_that("the fork server is ready", ready, 90) or 0)


def server_pid(person: Person) -> int:
    record = json.loads((person.hub.state / "launcher" / "servers" / f"{person.name}.json").read_text())
    return int(record["handle"]["pid"])


def home(person: Person) -> Path:
    return person.hub.state / "homes" / person.name


def environment(hub: RunningHub) -> Path:
    """The users' environment."""
    return next((hub.state / "environments").glob("users-*/lib")).parent


def look_inside(hub: RunningHub) -> None:
    """Put the probe into the users' environment, and have the fork server see that."""
    parent = the_parent(hub)
    own = next(environment(hub).glob("lib/python*/site-packages/hubfleet_singleuser"))
    (own / "probe.py").write_text((Path(__file__).parent / "probe.py").read_text())
    with (own / "__init__.py").open("a") as file:
        file.write(
            "\n\n_load = _load_jupyter_server_extension\n\n\n"
            "def _load_jupyter_server_extension(server):\n"
            "    from hubfleet_singleuser import probe\n\n"
            "    probe.write_early()\n"
            "    _load(server)\n"
            "    probe._load_jupyter_server_extension(server)\n"
        )
    renew(hub, parent)


def renew(hub: RunningHub, parent: int) -> int:
    """End this fork server; returns the one that follows."""
    os.kill(parent, signal.SIGKILL)
    await_that("it has ended", lambda: parent not in parents(hub))
    return the_parent(hub)


def own_packages(person: Person) -> Path:
    """Where `pip install --user` puts this person's packages."""
    python = next((person.hub.state / "environments").glob("users-*/lib/python*")).name
    return home(person) / ".local" / "lib" / python / "site-packages"


def give(person: Person, path: Path, text: str) -> None:
    """A file of theirs in their home."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    top = home(person) / path.relative_to(home(person)).parts[0]
    subprocess.run(["chown", "-R", f"--reference={home(person)}", str(top)], check=True)


def start(person: Person, profile: str = "fast") -> int:
    """Start a server; returns its process id."""
    events = person.start({"profile": profile})
    assert events[-1].get("ready"), events
    return server_pid(person)


def is_forked(pid: int, parent: int) -> bool:
    """Whether it is the parent's image still: an exec would have made a new one, at addresses of its own."""
    return _read(f"/proc/{pid}/auxv") == _read(f"/proc/{parent}/auxv") != b""


def log(person: Person) -> str:
    """What the log says of the last start."""
    text = (person.hub.logs / "servers" / f"{person.name}.log").read_text()
    return text[text.rindex("--- server started 2") :]


def launcher_log(hub: RunningHub) -> str:
    return (hub.logs / "launcher.log").read_text()


def own_extension(person: Person) -> None:
    """A server extension of this person's own, installed as `pip install --user` would; it answers at /own/probe."""
    source = (Path(__file__).parent / "probe.py").read_text().replace('+ "probe"', '+ "own/probe"')
    give(person, own_packages(person) / "own_extension.py", source)
    wanted = {"ServerApp": {"jpserver_extensions": {"own_extension": True}}}
    give(person, home(person) / ".jupyter" / "jupyter_server_config.d" / "own.json", json.dumps(wanted))


def why_not_prepared(hub: RunningHub) -> str:
    """Why this hub's servers are started from the beginning; nothing if they are prepared up to their middle."""
    last = launcher_log(hub).rpartition("the fork server has ended")[2]
    return last.partition("servers are not prepared up to the middle of their start: ")[2].partition("\n")[0]


def probed(person: Person, path: str = "/probe") -> dict[str, Any]:
    """What the probe in this person's running server tells."""
    for _ in range(2):  # the first may come before the server has told that it is up
        answer = person.jupyter("GET", path)
        assert answer.status_code == 200, answer.text[:500]
    found: dict[str, Any] = answer.json()
    return found


def cmdline(pid: int) -> bytes:
    return _read(f"/proc/{pid}/cmdline")


def _read(path: str) -> bytes:
    with contextlib.suppress(OSError):
        return Path(path).read_bytes()
    return b""

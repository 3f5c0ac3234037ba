"""The hubs that are compared, all on this machine at the same time: ours, and JupyterHub as it is published.

Stock JupyterHub runs out of the environments that our hub has made, so that every version is the same. Its servers are
made by `SimpleLocalProcessSpawner`: JupyterHub's local spawner without accounts of the machine, so that nobody has to
make and remove hundreds of those. It asks for less than `LocalProcessSpawner` does: no other user id, no log-in shell.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from hubfleet import __version__
from hubfleet.layout import Layout
from hubfleet.loadtest import ApiRoster, HubfleetRoster, Target
from hubfleet.loadtest.hubapi import HubAPI
from hubfleet.loadtest.machine import Here
from hubfleet.loadtest.people import Login
from hubfleet.names import TEST_PREFIX
from hubfleet.supervisor.spec import SupervisorStatus
from hubfleet.units import Secret
from hubfleet.unixhttp import request

UP_LIMIT_S = 300
ANSWER_LIMIT_S = 60
OURS, TUNED, DEFAULTS = "hubfleet", "stock, tuned", "stock, defaults"

_COMMON = """
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_port = {hub_port}
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
c.ConfigurableHTTPProxy.command = {proxy!r}
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.services = [{{"name": "benchmark", "api_token": "{token}"}}]
c.JupyterHub.load_roles = [
    {{"name": "benchmark", "scopes": ["admin:users", "admin:servers", "tokens"], "services": ["benchmark"]}}
]
"""

_PROCESSES = """
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "{folder}/homes/{{username}}"
c.Spawner.cmd = {server!r}
"""

PATIENT = """
c.Spawner.start_timeout = 600
c.Spawner.http_timeout = 600
c.JupyterHub.concurrent_spawn_limit = 0
"""
"""What stock JupyterHub needs to get a class through: time, and no refusals."""


@dataclass(frozen=True)
class Peer:
    """A hub that runs: its name in tables, and how the load test reaches and measures it."""

    name: str
    target: Target


@dataclass(frozen=True)
class Hubs:
    """All hubs of a run, ours first. ``versions``: of what all of them run."""

    ours: Peer
    stock: tuple[Peer, ...]
    versions: Mapping[str, str]

    @property
    def all(self) -> tuple[Peer, ...]:
        return (self.ours, *self.stock)


class TokenRoster(HubfleetRoster):
    """Our load test's people, who enter with a token as those of any other JupyterHub do, not by the log-in form."""

    async def enter(self, api: HubAPI, count: int, seconds: int) -> list[Login]:
        return [dataclasses.replace(login, password=None) for login in await super().enter(api, count, seconds)]


@contextlib.contextmanager
def hubs(stock: str) -> Iterator[Hubs]:
    """Start all hubs (``stock``: "tuned", "defaults", "both" or "none"); nothing is left of them afterwards."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    wanted = {"tuned": [TUNED], "defaults": [DEFAULTS], "both": [TUNED, DEFAULTS], "none": []}[stock]
    # Our hub's own accounts must get through to it, so it is not below a private directory.
    with tempfile.TemporaryDirectory(
        prefix=f"hubfleet-bench-{os.getpid()}-", dir="/var/lib" if os.geteuid() == 0 else None
    ) as folder:
        os.chmod(folder, 0o755)
        with contextlib.ExitStack() as stack:
            layout, ours = stack.enter_context(our_hub(Path(folder)))
            peers = [
                stack.enter_context(_stock(name, Path(folder) / f"stock-{number}", layout))
                for number, name in enumerate(wanted)
            ]
            yield Hubs(ours, tuple(peers), _versions(layout))


# -- ours -------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def our_hub(folder: Path) -> Iterator[tuple[Layout, Peer]]:
    """A hub as `hubfleet up` makes it when nothing is configured but its port."""
    name, port = f"bench-{os.getpid()}", free_port()
    layout = Layout(name, folder / "state", os.geteuid() == 0)
    configuration = folder / "configuration"
    configuration.mkdir()
    (configuration / "hubfleet.yaml").write_text(f"hub: {name}\nlisten: {{address: 127.0.0.1, port: {port}}}\n")
    try:
        _hubfleet(layout, configuration, "up", "--yes", "--detach")
        yield layout, Peer(OURS, our_target(layout, port))
    finally:
        if (layout.supervisor_dir / "status.json").exists():
            _hubfleet(layout, configuration, "down", "--yes")
        _remove(layout)


def _hubfleet(layout: Layout, folder: Path, *arguments: str) -> None:
    environment = {**os.environ, "HUBFLEET_STATE_DIR": str(layout.base), "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "hubfleet", *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=UP_LIMIT_S,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"hubfleet {arguments[0]} failed:\n{done.stdout}{done.stderr}")


def our_target(layout: Layout, port: int) -> Target:
    token = json.loads((layout.secrets_dir / "tokens.json").read_text())["operator_token"]

    def server_pids() -> dict[str, int]:
        records = request(layout.launcher_socket, "GET", "/v1/servers")["servers"]
        return {record["user"]: record["handle"]["pid"] for record in records if "pid" in record["handle"]}

    return Target(
        f"http://127.0.0.1:{port}",
        Secret(token),
        TokenRoster(),
        meter=Here(_our_parts(layout), server_pids),
        sweep=lambda names: _remove_homes(layout, names),
    )


def _our_parts(layout: Layout) -> dict[str, int]:
    """Hub, proxy, launcher, and the parents of servers and kernels, which the launcher starts when it comes up."""
    status = SupervisorStatus.read(layout.supervisor_dir)
    if status is None:
        raise SystemExit(f"the hub's supervisor has ended; its logs are in {layout.logs}")
    parts = {name: entry.pid for name, entry in status.processes.items() if entry.pid}
    for child in psutil.Process(parts["launcher"]).children():
        if any(argument.endswith("forkserver/parent.py") for argument in child.cmdline()):
            parts["fork server"] = child.pid
        elif "hubfleet-kernels" in child.cmdline() or any("forkserver" in argument for argument in child.cmdline()):
            parts["parent of kernels"] = child.pid
    return parts


def _remove_homes(layout: Layout, names: list[str]) -> list[str]:
    for name in names:
        if re.fullmatch(rf"{TEST_PREFIX}\d+", name):
            shutil.rmtree(layout.homes / name, ignore_errors=True)
    return []


def _remove(layout: Layout) -> None:
    """What `hubfleet down` leaves to its owner: accounts, user ids, control groups. Files go with the folder."""
    if not layout.privileged:
        return
    for account in (f"hubproxy-{layout.hub}", f"hubfleet-{layout.hub}"):
        subprocess.run(["userdel", account], capture_output=True, check=False)
    for group in sorted(Path("/sys/fs/cgroup").glob(f"**/hubfleet/{layout.hub}/**/"), reverse=True):
        with contextlib.suppress(OSError):
            group.rmdir()
    if layout.uids.exists():
        with open(layout.uids.with_suffix(".lock"), "r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = json.loads(layout.uids.read_text())
            kept = {key: uid for key, uid in known.items() if not key.startswith(f"{layout.hub}/")}
            layout.uids.write_text(json.dumps(kept))


# -- stock ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _stock(name: str, folder: Path, layout: Layout) -> Iterator[Peer]:
    """JupyterHub as published, with what a user would set."""
    hub, users = _environments(layout)
    server = [str(users / "bin/jupyterhub-singleuser"), *(["--allow-root"] if os.geteuid() == 0 else [])]
    settings = _PROCESSES.format(folder=folder, server=server) + (PATIENT if name == TUNED else "")
    with published(name, folder, hub / "bin/jupyterhub", layout, settings) as peer:
        yield peer


@contextlib.contextmanager
def published(name: str, folder: Path, program: Path, layout: Layout, settings: str) -> Iterator[Peer]:
    """A JupyterHub that runs with these settings beside those that any of them needs; the proxy is our hub's."""
    folder.mkdir()
    hub, _ = _environments(layout)
    token, port = secrets.token_hex(20), free_port()
    proxy = [
        str(hub / "proxy/node"),
        str(hub / "proxy/node_modules/configurable-http-proxy/bin/configurable-http-proxy"),
    ]
    common = _COMMON.format(port=port, hub_port=free_port(), api_port=free_port(), proxy=proxy, token=token)
    config, log = folder / "jupyterhub_config.py", folder / "hub.log"
    config.touch(0o600)  # the token is in it
    config.write_text(common + settings)
    own = {key: os.environ[key] for key in ("PATH", "LANG", "USER") if key in os.environ}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "-f", config],
            cwd=folder,
            env={**own, "HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        await_answer(url, process, log)
        parts = {"hub": process.pid}
        for child in psutil.Process(process.pid).children():
            parts["proxy"] = child.pid
        yield Peer(name, Target(url, Secret(token), ApiRoster(), meter=Here(parts)))
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a hub, which ends its proxy and servers; then whatever of them is left."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        _, left = psutil.wait_procs(family, 5)
        for one in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
    if process.poll() is None:
        process.kill()
    process.wait()


def await_answer(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + ANSWER_LIMIT_S
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"stock JupyterHub did not come up:\n{log.read_text()}")
        try:
            with urllib.request.urlopen(f"{url}/hub/api/", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)


def _environments(layout: Layout) -> tuple[Path, Path]:
    """The hub's and the users' environment that our hub has made."""
    [hub], [users] = layout.environments.glob("hub-*/"), layout.environments.glob("users-*/")
    return hub, users


def _versions(layout: Layout) -> dict[str, str]:
    hub, users = _environments(layout)
    code = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
    found: dict[str, str] = {}
    for python, names in (
        (hub / "bin/python", ("jupyterhub",)),
        (users / "bin/python", ("jupyterlab", "jupyter_server", "ipykernel", "tornado")),
    ):
        for name in names:
            done = subprocess.run([python, "-c", code, name], capture_output=True, text=True, check=True)
            found[name] = done.stdout.strip()
    found["hubfleet"] = __version__
    found["python"] = sys.version.split()[0]
    found["node"] = subprocess.run([hub / "proxy/node", "--version"], capture_output=True, text=True).stdout.strip()
    proxy = json.loads((hub / "proxy/node_modules/configurable-http-proxy/package.json").read_text())
    found["configurable-http-proxy"] = proxy["version"]
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

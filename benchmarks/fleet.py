"""Users' servers on three machines: ours and stock JupyterHub's SwarmSpawner, one person and a class at once.

    .venv/bin/python benchmarks/fleet.py --json

Machines are the tests' own: containers with systemd, sshd and a Docker engine (root, docker.io, mmdebstrap and
openssh-client needed). Both hubs are on the first of them, in the same swarm, at the same time: same image of users'
servers, memory limit, machines to start on, and client; a network between machines of its own each. Ours is what
`hubfleet up` makes. Prints, among others, `ratio_single` and `ratio_wall` by number of people: how many times less ours
takes. `failed`: people each hub failed, by hub; what they were told is in `rounds`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from hubfleet.engines.docker.images import ENVIRONMENT
from hubfleet.loadtest import ApiRoster, Scenario, Target
from hubfleet.units import Secret
from installed import require
from measure import (
    LIMIT_S,
    SPARE,
    STEP_LIMIT_S,
    figures,
    machine,
    median,
    p50,
    play,
    ratio,
    row,
    table,
    wait_until_idle,
)
from peers import OURS, PATIENT, Peer, TokenRoster

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(CHECKOUT / "tests" / name) for name in ("lab", "docker", ".")]

import dockerd  # noqa: E402
import images  # noqa: E402
import machines  # noqa: E402
import stock  # noqa: E402

NEEDED = {"dockerd": "docker.io", "mmdebstrap": "mmdebstrap", "ssh": "openssh-client"}
PINS = ("jupyterhub==6.1.1", "dockerspawner==14.0.0")
STOCK = "SwarmSpawner"
NOTE = (
    "SwarmSpawner: JupyterHub and its spawner as published, without aiodns, with which nobody could start twice in ten "
    "minutes; same swarm, image, memory limit and client as ours."
)
MEMORY_LIMIT = 1024**3
EACH = 180 * 1024**2
"""What a server takes at most while it starts, for the decision whether N of them fit."""
USERS, SINGLES, WORKERS = 60, 5, ("worker1", "worker2")
HUB, OUR_PORT, STOCK_PORT = "lab", 8000, 8001
UP_LIMIT_S, ANSWER_LIMIT_S, BUILD_LIMIT_S = 1800, 120, 900
NETWORK, SUBNET, ADDRESS = "stock", "10.91.0.0/20", "10.91.0.9"

SETTINGS = """
import os
c.JupyterHub.bind_url = "http://0.0.0.0:8000"
c.JupyterHub.hub_ip = "0.0.0.0"
c.JupyterHub.hub_connect_ip = "{address}"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.ConfigurableHTTPProxy.command = [
    "{environment}/proxy/node",
    "{environment}/proxy/node_modules/configurable-http-proxy/bin/configurable-http-proxy",
]
c.JupyterHub.services = [{{"name": "benchmark", "api_token": "{token}"}}]
c.JupyterHub.load_roles = [
    {{"name": "benchmark", "scopes": ["admin:users", "admin:servers", "tokens"], "services": ["benchmark"]}}
]
c.JupyterHub.spawner_class = "dockerspawner.SwarmSpawner"
c.SwarmSpawner.image = {image!r}
c.SwarmSpawner.prefix = "stock"
c.SwarmSpawner.cmd = ["{environment}/bin/jupyterhub-singleuser", "--allow-root"]
c.SwarmSpawner.network_name = {network!r}
c.SwarmSpawner.use_internal_ip = True
c.SwarmSpawner.extra_endpoint_spec = {{"mode": "dnsrr"}}
c.SwarmSpawner.extra_task_spec = {{"restart_policy": {{"Condition": "none"}}}}
c.SwarmSpawner.mem_limit = {limit}
c.SwarmSpawner.volumes = {{"{folder}/homes/{{raw_username}}": "/home/user"}}
c.SwarmSpawner.notebook_dir = "/home/user"
# its mounts have to be there on the machine
c.Spawner.pre_spawn_hook = lambda spawner: os.makedirs(f"{folder}/homes/{{spawner.user.name}}", exist_ok=True)
"""


def main() -> None:
    """Options, machines, hubs, rounds, output."""
    options = _options()
    require(NEEDED)
    document = measure(options)
    print(json.dumps(document, indent=1) if options.json else table(document))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--users", type=int, metavar="N", help=f"(default: {USERS}, or as many as fit)")
    parser.add_argument("--rounds", type=int, default=2, metavar="R", help="of the class (default: 2)")
    parser.add_argument("--ours", action="store_true", help="ours alone")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--quick", action="store_true", help="one round of each: does it work at all?")
    options = parser.parse_args()
    room = max(1, (psutil.virtual_memory().available - SPARE) // EACH)
    if options.users is not None and not 1 <= options.users <= room:
        sys.exit(f"{room} servers fit into this machine's free memory, not {options.users}")
    options.users = options.users or min(USERS, room)
    options.rounds = 1 if options.quick else max(1, options.rounds)
    return options


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything about starts on a fleet."""
    about = {"began": time.strftime("%Y-%m-%d %H:%M:%S"), "machine": machine(), "pid": os.getpid()}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or else the machines would stay
    limits: dict[str, Any] = {"step_limit_s": STEP_LIMIT_S, "limit_s": LIMIT_S, "lab": False, "kernel": False}
    with fleet() as (there, shared, folder):
        peers = [_ours(there, shared, folder)]
        known = {"docker": there[0].docker("version", "--format", "{{.Server.Version}}")}
        if not options.ours:
            peers.append(_stock(there[0], shared))
            known |= dict(pin.split("==") for pin in PINS)
        for peer in peers:
            play(peer, Scenario(3, idle_s=0, **limits))  # files come into the machines' caches
        count = 1 if options.quick else SINGLES
        singles = _rounds(peers, Scenario(1, idle_s=0, **limits), count, options.quick)
        classes = _rounds(peers, Scenario(options.users, idle_s=0, **limits), options.rounds, options.quick)
        parts = [_parts(peers[0], there[0]) for _ in range(count)]
    names = [peer.name for peer in peers]
    found = {"versions": known, "stock": names[1:], "note": NOTE, "users": options.users}
    return {**about, **found, **summary(names, singles, classes, parts)}


def summary(
    names: Sequence[str],
    singles: list[dict[str, Any]],
    classes: list[dict[str, Any]],
    parts: list[dict[str, float]],
) -> dict[str, Any]:
    """Rows with medians, ratios, and the parts of a start of ours."""

    def each(made: list[dict[str, Any]], figure: Any) -> list[Any]:
        return [median(figure(one) for one in made if one["hub"] == name) for name in names]

    def share(which: str) -> Any:
        return lambda one: one["ready_s"][which] if one["ready_s"] else None

    single, wall = each(singles, p50("ready_s")), each(classes, lambda one: one["wall_s"])
    users = classes[0]["people"]
    lost = [sum(one["failed"] for one in classes if one["hub"] == name) for name in names]
    rows = [
        row("one person: click to ready", "s", single),
        row(f"{users} people at once: all ready", "s", wall),
        *(row(f"  {key}", "s", each(classes, share(key))) for key in ("p50", "p95")),
        {**row("  failed, all rounds", "", lost), "ratio": None},
        row("  processor time of all, a start and a stop", "s", each(classes, lambda one: one["cpu_s"])),
    ]
    steps = list(dict.fromkeys(step for one in parts for step in one))
    spans = {step: median(one.get(step) for one in parts) for step in steps}
    for step, value in spans.items():
        rows.append({**row(f"ours, one start: {step}", "ms", [value, *[None] * (len(names) - 1)]), "ratio": None})
    return {
        "ratio_single": ratio(single),
        "ratio_wall": ratio(wall),
        "failed": dict(zip(names, lost, strict=True)),
        "parts": spans,
        "rows": rows,
        "rounds": [*singles, *classes],
    }


def _rounds(peers: Sequence[Peer], scenario: Scenario, count: int, quick: bool) -> list[dict[str, Any]]:
    """So many classes at each hub, by turns, every second time the other way round. Beside its figures: the processor
    time of everything on this machine, which all machines of the fleet are on, for each person."""
    made = []
    for number in range(count):
        for peer in peers if number % 2 == 0 else reversed(peers):
            busy = wait_until_idle(quick)
            print(f"{peer.name}: {scenario.people} people, round {number + 1} of {count}", file=sys.stderr, flush=True)
            before = _busy_s()
            found = figures(play(peer, scenario))
            used = (_busy_s() - before) / scenario.people
            made.append({"hub": peer.name, "round": number + 1, "busy_before": busy, "cpu_s": used, **found})
    return made


def _busy_s() -> float:
    """The time that all processors have worked since the machine was started."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


# -- the machines -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def fleet() -> Iterator[tuple[list[machines.Machine], Path, Path]]:
    """Three machines, a directory that all have, and one for what an operator has. The first has a hub's images."""
    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(dockerd.shared())
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hfb-", dir="/tmp")))
        shared = Path(tempfile.mkdtemp(prefix="hubfleet-bench-", dir="/srv"))
        stack.callback(shutil.rmtree, shared, ignore_errors=True)
        shared.chmod(0o755)
        lab = machines.Lab(engine, place, owner=str(os.getpid()))
        stack.callback(lab.close)
        there = [stock.stocked(lab, "hub1", shared=shared)]
        there += [lab.start(name, docker_installed=True, shared=shared) for name in WORKERS]
        for one in there:
            one.run("mount --make-rshared /")  # as systemd has it outside containers
            one.start_docker()
        yield there, shared, Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hfb-", dir="/tmp")))


def _await_answer(url: str, log: Any) -> None:
    deadline = time.monotonic() + ANSWER_LIMIT_S
    while True:
        try:
            with urllib.request.urlopen(f"{url}/hub/api/", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline:
                raise SystemExit(f"{url} does not answer:\n{log()}") from None
            time.sleep(0.2)


# -- ours -------------------------------------------------------------------------------------------------------------


def _ours(there: Sequence[machines.Machine], shared: Path, folder: Path) -> Peer:
    """A hub as `hubfleet up` makes it. It goes with its machines."""
    hub = there[0]
    options = hub.options()
    pairs = [option.replace("=", " ", 1) for word, option in pairwise(options) if word == "-o"]
    key = options[options.index("-i") + 1]
    (folder / "ssh_config").write_text("\n".join(["Host *", f"IdentityFile {key}", *pairs]) + "\n")
    homes = shared / "ours"
    homes.mkdir(0o755)
    reached = {
        one.name: {
            "ssh": f"root@{one.address}",
            "ssh_config": "ssh_config",
            "private_ip": one.address,
            "roles": ["hub", "worker"] if one is hub else ["worker"],
        }
        for one in there
    }
    told = {
        "hub": HUB,
        "engine": "swarm",
        "machines": reached,
        "base_image": dockerd.BASE,
        "https": "off",
        "listen": {"address": "0.0.0.0", "port": OUR_PORT},
        "login": {"password": "file"},
        "servers": {"memory": {"limit": MEMORY_LIMIT}},
        "storage": {"homes": {"path": str(shared), "share": "mounted"}},
        # the kernel of such machines may have no way to encrypt
        "network": {"fleet": {"encrypted": False, "servers": 300}},
    }
    (folder / "hubfleet.yaml").write_text(json.dumps(told))
    done = subprocess.run(
        [sys.executable, "-m", "hubfleet", "up", "--yes"],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=UP_LIMIT_S,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"hubfleet up failed:\n{done.stdout}{done.stderr}")
    token = json.loads(hub.run("cat", f"/var/lib/hubfleet/{HUB}/secrets/tokens.json"))["operator_token"]
    url = f"http://{hub.address}:{OUR_PORT}"
    _await_answer(url, lambda: hub.docker("logs", "--tail", "50", f"hubfleet-{HUB}-hub"))
    return Peer(OURS, Target(url, Secret(token), TokenRoster(), sweep=lambda names: _remove_homes(shared, names)))


def _remove_homes(shared: Path, names: list[str]) -> list[str]:
    for name in names:
        shutil.rmtree(shared / name, ignore_errors=True)
    return []


def _parts(peer: Peer, hub: machines.Machine) -> dict[str, float]:
    """Where the time of one start goes: seconds until each thing that the hub tells next, as a browser is told."""
    api = f"{peer.target.url}/hub/api"
    headers = {"Authorization": f"token {peer.target.token.reveal()}", "Content-Type": "application/json"}

    def ask(method: str, target: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(f"{api}{target}", data, headers, method=method)
        return urllib.request.urlopen(asked, timeout=STEP_LIMIT_S)

    person = json.loads(ask("POST", "/hubfleet/loadtest", {"people": 1, "seconds": 600}).read())["people"][0]
    try:
        marks = [("asked", time.monotonic())]
        ask("POST", f"/users/{person['name']}/server", {}).close()
        with ask("GET", f"/users/{person['name']}/server/progress") as told:
            for line in told:
                if line.startswith(b"data:"):
                    marks.append((json.loads(line[5:])["message"], time.monotonic()))
    finally:
        with contextlib.suppress(urllib.error.HTTPError):
            ask("DELETE", f"/users/{person['name']}").close()
        ask("DELETE", "/hubfleet/loadtest").close()
    spans: dict[str, float] = {}
    for (what, begin), (_, end) in pairwise(marks):
        name = "Starting the server" if what.startswith("Starting the server on") else what
        spans[name] = spans.get(name, 0.0) + end - begin
    return spans


# -- stock ------------------------------------------------------------------------------------------------------------


def _stock(hub: machines.Machine, shared: Path) -> Peer:
    """JupyterHub and SwarmSpawner as published, in a container beside our hub's, with the patience that a class needs.
    The proxy is our hub's, and servers are made of our users' image, which all machines have."""
    token, folder = secrets.token_hex(20), shared / "stock"
    folder.mkdir(0o755)
    ours = hub.docker("inspect", "--format", "{{.Config.Image}}", f"hubfleet-{HUB}-hub")
    users = json.loads(hub.run("cat", f"/var/lib/hubfleet/{HUB}/launcher/launcher.json"))["engine"]["image"]
    text = SETTINGS.format(
        address=ADDRESS,
        environment=ENVIRONMENT,
        token=token,
        image=users,
        network=NETWORK,
        limit=MEMORY_LIMIT,
        folder=folder,
    )
    (folder / "jupyterhub_config.py").write_text(text + PATIENT)
    packages = f"{images.registry()} /opt/stock/bin/pip install --quiet --no-cache-dir --disable-pip-version-check"
    # With aiodns the stock hub keeps a server's address for ten minutes, and does not find the next one of that person.
    without = "/opt/stock/bin/pip uninstall --quiet --yes aiodns"
    made = f"python3 -m venv /opt/stock && {packages} {' '.join(PINS)} && {without}"
    dockerfile = f"FROM {ours}\nUSER root\nRUN {made}\n"
    hub.run(f"docker build --quiet --network host --tag {NETWORK} -", text=dockerfile, limit_s=BUILD_LIMIT_S)
    hub.docker("network", "create", "--driver", "overlay", "--attachable", "--subnet", SUBNET, NETWORK)
    program = ["/opt/stock/bin/jupyterhub", "-f", folder / "jupyterhub_config.py"]
    place = ["--publish", f"{STOCK_PORT}:8000", "--workdir", folder]
    seen = ["--volume", "/var/run/docker.sock:/var/run/docker.sock", "--volume", f"{folder}:{folder}"]
    # People come by the usual bridge: to the one of networks between machines our firewall lets nobody in.
    hub.docker("create", "--user", "0", "--name", NETWORK, *place, *seen, NETWORK, *program)
    hub.docker("network", "connect", "--ip", ADDRESS, NETWORK, NETWORK)
    hub.docker("start", NETWORK)
    url = f"http://{hub.address}:{STOCK_PORT}"
    _await_answer(url, lambda: hub.run(f"docker logs --tail 50 {NETWORK} 2>&1"))
    return Peer(STOCK, Target(url, Secret(token), ApiRoster()))


if __name__ == "__main__":
    main()

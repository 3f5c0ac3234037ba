"""Machines to try hubfleet on: containers that behave like bare servers, as the tests have them. See `make lab`."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(CHECKOUT / "tests" / name) for name in ("lab", "docker", ".")]

import dockerd  # noqa: E402
import machines  # noqa: E402

PLACE = CHECKOUT / ".lab"
OWNER = str(PLACE)
NUMBERS = range(127, 63, -1)
HOMES = "/srv/homes"
"""On all machines the same, as from one file server."""
NEEDED = {"dockerd": "docker.io", "mmdebstrap": "mmdebstrap", "ssh": "openssh-client"}


def up(count: int) -> str:
    """Start so many machines; returns how to reach them."""
    if PLACE.exists():
        return f"There is a lab already: see {shown(PLACE)}, or type: make lab-down"
    PLACE.mkdir(mode=0o700)
    print("Starting. The first time, images are made of downloaded packages, which takes some minutes ...", flush=True)
    with dockerd.shared() as engine:
        try:
            lab = machines.Lab(engine, PLACE, OWNER, NUMBERS)
            (PLACE / "homes").mkdir()
            for number in range(1, count + 1):
                lab.start("hub1" if number == 1 else f"worker{number - 1}", more={PLACE / "homes": HOMES})
        except BaseException:
            remove(engine)
            raise
        keep_engine(engine)
    return written(lab)


def down() -> str:
    """Remove the machines, their network and the files about them."""
    with dockerd.shared() as engine:
        remove(engine)
    return "The lab is gone."


def remove(engine: dockerd.Dockerd) -> None:
    machines.sweep(engine, OWNER)
    keeper = PLACE / "keeper"
    if keeper.exists() and alive(pid := int(keeper.read_text())):
        os.kill(pid, signal.SIGTERM)
    shutil.rmtree(PLACE, ignore_errors=True)


def keep_engine(engine: dockerd.Dockerd) -> None:
    """Have the engine outlive this process: it ends with its last user, so a process that only sleeps is one."""
    with (engine.place / "users").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        silent = subprocess.DEVNULL
        sleeper = subprocess.Popen(
            ["sleep", "infinity"],
            pass_fds=[users.fileno()],
            stdin=silent,
            stdout=silent,
            stderr=silent,
            start_new_session=True,
        )
    (PLACE / "keeper").write_text(str(sleeper.pid))


def alive(pid: int) -> bool:
    """Whether this is our sleeper still, and not another process with its id."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\0infinity\0"
    except OSError:
        return False


def written(lab: machines.Lab) -> str:
    """Write the files that say how to reach the machines; returns it in words."""
    config, sample = PLACE / "ssh_config", PLACE / "hubfleet.yaml"
    hosts = "".join(f"Host {one.name} {one.address}\n    HostName {one.address}\n" for one in lab.machines)
    all_hosts = " ".join(f"{one.name} {one.address}" for one in lab.machines)
    config.write_text(
        f"{hosts}Host {all_hosts}\n    User root\n    IdentityFile {PLACE}/user\n    IdentitiesOnly yes\n"
        f"    UserKnownHostsFile {PLACE}/known_hosts\n    StrictHostKeyChecking yes\n"
    )
    first, several = lab.machines[0], len(lab.machines) > 1
    roles = ["", *[", roles: [worker]"] * (len(lab.machines) - 1)]
    if several:
        roles[0] = ", roles: [hub, worker]"
    reached = "".join(
        f"  {one.name}: {{ssh: root@{one.address}, ssh_config: ssh_config{role}}}\n"
        for one, role in zip(lab.machines, roles, strict=True)
    )
    homes = f"storage: {{homes: {{path: {HOMES}, share: mounted}}}}\n" if several else ""
    sample.write_text(
        f"hub: lab\nengine: {'swarm' if several else 'docker'}\nmachines:\n{reached}"
        f"https: self-signed\nlogin: {{password: file}}\n{homes}"
    )
    reach = "\n".join(f"  ssh -F {shown(config)} {one.name}    # {one.address}" for one in lab.machines)
    return f"""{reach}
A configuration to begin with: {shown(sample)}
  hubfleet -c {shown(sample)} check
For other files, have ssh know the machines: put this at the top of ~/.ssh/config
  Include {config}
An image of this machine's Docker engine, into the machine's own, when it has one:
  docker save IMAGE | ssh -F {shown(config)} {first.name} docker load
`make lab-down` removes it all."""


def shown(path: Path) -> str:
    """As it can be typed in the checkout."""
    return str(path.relative_to(CHECKOUT))


def main() -> None:
    missing = [package for command, package in NEEDED.items() if shutil.which(command) is None]
    if os.geteuid() != 0 or missing:
        sys.exit(f"The lab needs root and: apt install {' '.join(missing or NEEDED.values())}")
    if sys.argv[1:] == ["down"]:
        print(down())
    elif sys.argv[1:2] == ["up"] and sys.argv[2].isdigit() and 0 < int(sys.argv[2]) < 100:
        print(up(int(sys.argv[2])))
    else:
        sys.exit("make lab LAB=3: a number of machines")


if __name__ == "__main__":
    main()

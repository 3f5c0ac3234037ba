"""What keeps a user's code in its container: each control by itself holds, and without them the code gets out.

A probe that never gets through would prove nothing. So each is run three ways: in a container as the launcher makes it,
without one of its controls where there are several, and without any of them, where it has to print OPEN.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confined import PREAMBLE, fork_bomb
from containers import Guest, House

import needs
from hubfleet.engines.docker import specification
from hubfleet.engines.docker.launch import DockerLaunch

pytestmark = [
    needs.root(),
    needs.command("dockerd", package="docker.io"),
    needs.command("mmdebstrap"),
    needs.command("ipcmk"),
    pytest.mark.timeout(900),
]

Removal = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Case:
    """``probe``: code, made for a running server. ``controls``: what takes each away from a container's description."""

    name: str
    probe: Callable[[Guest, int], str]
    controls: tuple[Removal, ...]

    def __str__(self) -> str:
        return self.name


def host(**changed: Any) -> Removal:
    """Changes what the container may of its machine."""

    def change(body: dict[str, Any]) -> None:
        body["HostConfig"].update(changed)

    return change


def homes_shown(body: dict[str, Any]) -> None:
    """One mount too many: everybody's homes."""
    own = next(mount for mount in body["HostConfig"]["Mounts"] if mount["Target"].startswith("/home/"))
    homes = str(Path(own["Source"]).parent)
    body["HostConfig"]["Mounts"].append({**own, "Source": homes, "Target": homes})


def roots_own(guest: Guest, name: str, source: str) -> Path:
    """A program that an administrator has put into the home, with the set-user-id bit."""
    program = guest.home / name
    program.write_bytes(Path(source).read_bytes())
    os.chown(program, 0, 0)
    program.chmod(0o4755)
    return program


def become_root(guest: Guest, segment: int) -> str:
    roots_own(guest, "whoami", "/usr/bin/id")
    return 'who = run("./whoami", "-u").strip()\nprint("OPEN" if who == "0" else f"blocked: {who}")'


def raw_socket(guest: Guest, segment: int) -> str:
    roots_own(guest, "snake", os.path.realpath("/usr/bin/python3"))
    code = "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"
    return f'attempt(lambda: run("./snake", "-I", "-c", {code!r}))'


def write_in_image(guest: Guest, segment: int) -> str:
    own = ("/proc", "/sys", "/dev", "/tmp", "/var/tmp", "/run", "/home", str(Path(guest.socket).parent))
    return f"""
import tempfile
found = ""
for top, folders, _ in os.walk("/"):
    if top.startswith({own!r}):
        folders.clear()
        continue
    try:
        tempfile.TemporaryFile(dir=top).close()
        found = top
        break
    except OSError:
        continue
print("OPEN" if found else "blocked: nowhere", found)
"""


def start_processes(guest: Guest, segment: int) -> str:
    return fork_bomb(200, 60)


def take_memory(guest: Guest, segment: int) -> str:
    # the kernel ends this program first, and not the server
    code = "open('/proc/self/oom_score_adj', 'w').write('1000'); held = b'x' * (700 << 20)"
    return f'attempt(lambda: run(sys.executable, "-c", {code!r}))'


def others_memory(guest: Guest, segment: int) -> str:
    return f"attempt(lambda: must(libc.shmget({segment}, 0, 0)))"


def others_processes(guest: Guest, segment: int) -> str:
    return """
import glob
others = set()
for path in glob.glob("/proc/[0-9]*"):
    try:
        others.add(os.stat(path).st_uid)
    except FileNotFoundError:
        continue  # it has ended meanwhile
others -= {os.getuid()}
print("OPEN" if others else "blocked: none", others)
"""


def others_homes(guest: Guest, segment: int) -> str:
    (guest.home.parent / "ben").mkdir(exist_ok=True)
    return f"attempt(lambda: os.stat({str(guest.home.parent / 'ben')!r}))"


NO_PRIVILEGES, CAPABILITIES = host(SecurityOpt=[]), host(CapDrop=[])

CASES = (
    Case("become root by a program of root's", become_root, (NO_PRIVILEGES,)),
    Case("forge packets by such a program", raw_socket, (NO_PRIVILEGES, CAPABILITIES)),
    Case("write into the image", write_in_image, (host(ReadonlyRootfs=False),)),
    Case("start processes without end", start_processes, (host(PidsLimit=0),)),
    Case("take memory without end", take_memory, (host(Memory=0, MemorySwap=0),)),
    Case("read the shared memory of other programs", others_memory, (host(IpcMode="host"),)),
    Case("see other people's processes", others_processes, (host(PidMode="host"),)),
    Case("see other people's homes", others_homes, (homes_shown,)),
)


@pytest.fixture
def segment() -> Iterator[int]:
    """The key of a piece of shared memory of this machine's that all may read."""
    said = subprocess.run(["ipcmk", "--shmem", "4096", "--mode", "0666"], check=True, capture_output=True, text=True)
    number = said.stdout.split()[-1]
    listed = subprocess.run(["ipcs", "--shmems"], check=True, capture_output=True, text=True).stdout
    key = next(line.split()[0] for line in listed.splitlines() if line.split()[1:2] == [number])
    yield int(key, 16)
    subprocess.run(["ipcrm", "--shmem-id", number], check=True)


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_each_control_holds_and_without_them_the_way_is_open(
    case: Case, house: House, launch: DockerLaunch, segment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = specification.container

    async def said(*removals: Removal) -> str:
        def changed(*arguments: Any) -> dict[str, Any]:
            body = made(*arguments)
            for remove in removals:
                remove(body)
            return body

        monkeypatch.setattr(specification, "container", changed)
        guest = await house.start(launch, "ada", processes=120)
        answer = (await guest.run(PREAMBLE + case.probe(guest, segment))).strip()
        await launch.stop(guest.record, 5)
        assert answer.startswith(("OPEN", "blocked")), answer
        return answer

    assert (await said()).startswith("blocked")
    if len(case.controls) > 1:
        for control in case.controls:
            without = [other for other in case.controls if other is not control]
            assert (await said(*without)).startswith("blocked"), "one alone must hold"
    assert (await said(*case.controls)).startswith("OPEN"), "the probe proves nothing"

"""`up` is killed at each line that it says: what was begun is carried on, and whoever computes goes on.

The hub of the first machine is deployed without any of that: what the second one has in the end is compared with it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from harness import Kernel, await_that
from hubs_there import HubThere
from machines import Lab, Machine
from stock import stocked

import hubfleet
import needs
from hubfleet.errors import ApplyError, LockedError, UnreachableError

pytestmark = needs.machines()

STATE = "/var/lib/hubfleet/lab"
BEFORE_ANY = {f"create directory {path}" for path in ("/var/lib/hubfleet", STATE, f"{STATE}/generations")}
"""Steps that are done already when the first step begins, for the lock and the plan's record need them."""
LOCK_S = 120.0
"""For the step that was begun: the longest is a trial, or to build an image of which most is there."""
BACK_S = 60.0
REPLACED = ("homes", "launcher", "proxy", "hub")
DOES = "stopping the earlier {}", "starting {}", "waiting for {} to answer"
"""What is told of the replacing of a part's container."""
MOST = 150
"""Of cuts: more than there are lines."""
_LIBC = ctypes.CDLL(None, use_errno=True)
_STEP = re.compile(r"\[ *\d+/\d+\] (.*)")
_CHANGING = re.compile(r"\b[0-9a-f]{12,}\b|\d+(\.\d+)?|(?<=the test user: ).*|(?<=building image).*")
"""What is another each time; and how far a trial or an image is, which would cost one for each cut."""


class Line(NamedTuple):
    """What `up` says: at which step, and which words, numbers left out."""

    step: str
    words: str

    @classmethod
    def of(cls, text: str, step: str) -> Line | None:
        """None for what is neither a step's line nor the first or last one."""
        if found := _STEP.match(text):
            return cls(_CHANGING.sub("#", found[1]), "")
        if text.startswith((" " * 8, "lab: ", "Hub lab is")):
            return None if "done in" in text else cls(step, _CHANGING.sub("#", text.strip()))
        return None


class Up:
    """A running `hubfleet up --yes`, a group of processes of its own.

    It cannot go on to its next line before its last one is taken: the pipe has room for one.
    """

    def __init__(self, hub: HubThere) -> None:
        self.text = ""
        self._said, theirs = os.pipe2(os.O_DIRECT | os.O_CLOEXEC)
        fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, select.PIPE_BUF)
        self._seen, self._copied = os.pipe()
        self._process = subprocess.Popen(
            hub.command("up", "--yes"),
            cwd=hub.folder,
            env=hub.environment,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def await_new(self, known: set[Line]) -> Line | None:
        """Until it stands at a line that it has not said before; None when it has come to its end."""
        step = ""
        while text := self._look():
            line = Line.of(text, step)
            step = line.step if line else step
            if line is not None and line not in known:
                return line
            self._take()
        return None

    def await_step(self) -> bool:
        """Until it stands at the beginning of its first step; False when it has come to its end before."""
        while text := self._look():
            if _STEP.match(text):
                return True
            self._take()
        return False

    def _look(self) -> str:
        """What it has said last, which stays where it is; empty at the end."""
        size = _LIBC.tee(self._said, self._copied, select.PIPE_BUF, 0)
        assert size >= 0, os.strerror(ctypes.get_errno())
        return os.read(self._seen, size).decode() if size else ""

    def _take(self) -> bool:
        text = os.read(self._said, select.PIPE_BUF).decode()
        self.text += text
        return bool(text)

    def kill(self) -> None:
        """SIGKILL."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self.end()

    def end(self) -> int:
        """The exit code."""
        while self._take():
            pass
        for descriptor in (self._said, self._seen, self._copied):
            os.close(descriptor)
        return self._process.wait(LOCK_S)


def the_operator(up: Up, machine: Machine) -> None:
    """What was begun is brought to its end over there."""
    up.kill()


def the_agent(up: Up, machine: Machine) -> None:
    """The program over there: what was begun stays as it is at this moment."""
    machine.run("pkill -9 -f 'hubfleet.agent.[s]erve'", check=False)
    code = up.end()
    assert code in (0, UnreachableError.exit_code, ApplyError.exit_code), up.text


def cut(
    hub: HubThere,
    kill: Callable[[Up, Machine], None],
    known: set[Line],
    look: Callable[[Line], None] = lambda line: None,
) -> None:
    """Kill one `up` after another, each at a line that is not yet ``known``, until one comes to its end by itself.

    ``look`` is called after each, when the lock is free.
    """
    for _ in range(MOST):
        up = Up(hub)
        line = up.await_new(known)
        if line is None:
            assert up.end() == 0, up.text
            return
        known.add(line)
        kill(up, hub.machine)
        assert "Traceback" not in up.text
        began = time.monotonic()
        await_that(f"the lock is free after {line}", lambda: free(hub.machine), LOCK_S)
        print(f"{line}: the lock is free after {time.monotonic() - began:.1f} s", flush=True)
        look(line)
    raise AssertionError(f"no end after {MOST} cuts: {sorted(known)}")


def free(machine: Machine) -> bool:
    """Whether nobody has the lock, and no program of hubfleet's is left."""
    lock = f"test ! -e {STATE}/lock || flock --nonblock {STATE}/lock true || echo taken"
    return not machine.run(f"pgrep -f 'hubfleet.agent.[s]erve'; {lock}", check=False)


def steps(said: str) -> set[str]:
    return {line.step for text in said.splitlines() if (line := Line.of(text, "")) and not line.words}


def traces(machine: Machine) -> dict[str, set[str]]:
    """What a deployment leaves on a machine, less what generations, people and databases there were."""
    less = " ".join(
        f"-path '{STATE}/{one}' -prune -o" for one in ("generations/*", "homes/*", "hub/jupyterhub.sqlite*")
    )
    looks = {
        "files": f"find {STATE} {less} -printf '%p %y %m %u:%g\\n'",
        "around": "ls -A /var/lib/hubfleet /etc/hubfleet /etc/docker /tmp /var/tmp /root | grep -v systemd-private",
        "containers": "docker ps --all --format '{{.Names}} {{.State}}'",
        "networks": "docker network ls --format '{{.Name}}'",
        "volumes": "docker volume ls --quiet",
        "images": "docker images --all --format '{{.Repository}}:{{.Tag}}'",
        "firewall": "nft list tables",
        "accounts": "getent passwd; getent group",
        "units": "systemctl list-units --all --plain --no-legend '*hubfleet*' | cut -d' ' -f1",
    }
    return {name: set(machine.run(look).splitlines()) for name, look in looks.items()}


def differences(one: dict[str, set[str]], other: dict[str, set[str]]) -> list[str]:
    return sorted(f"{name}: {line}" for name in one for line in one[name] ^ other[name])


@pytest.fixture(scope="module")
def plain(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> tuple[HubThere, set[str]]:
    """A hub that was deployed undisturbed, and the steps of that."""
    hub = HubThere(stocked(lab), tmp_path_factory.mktemp("plain"))
    hub.write()
    return hub, steps(hub.up())


def test_the_first_up_is_killed_at_every_step(lab: Lab, plain: tuple[HubThere, set[str]], tmp_path: Path) -> None:
    reference, wanted = plain
    hub = HubThere(stocked(lab, "hub2"), tmp_path)
    hub.write()
    known: set[Line] = set()
    cut(hub, the_operator, known)
    assert wanted - BEFORE_ANY <= {line.step for line in known if not line.words}, "each was cut off when it began"
    assert hub.changes() == []
    assert hub.status()["state"] == "running"
    assert differences(traces(hub.machine), traces(reference.machine)) == []
    ada = hub.person("ada")
    assert ada.start()[-1].get("ready")
    assert ada.kernel().run("print(6 * 7)") == "42\n"
    assert "current" in rows(hub)[-1]


def rows(hub: HubThere) -> list[str]:
    """The generations that `rollback --list` shows."""
    return hub.run("rollback", "--list").stdout.splitlines()[1:]


class Release:
    """The command line as another release: each has other words at the end of files of the hub and the launcher."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number = folder, 0

    def next(self) -> None:
        self.number += 1
        target = self.folder / "hubfleet"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(Path(hubfleet.__file__).parent, target, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("hub/app.py", "launcher/daemon.py"):
            with (target / name).open("a") as code:
                code.write(f"# {time.time()} {self.number}\n")


@pytest.mark.parametrize("kill", [the_operator, the_agent])
def test_an_upgrade_is_killed_at_every_step_and_the_kernel_runs_on(
    plain: tuple[HubThere, set[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kill: Callable[[Up, Machine], None],
) -> None:
    hub, _ = plain
    ada = hub.person(f"ada{kill.__name__[4:]}".replace("_", ""))
    assert ada.start()[-1].get("ready")
    kernel = ada.kernel()
    kernel.run("import os; kept = 42")
    before = kernel.run("print(kept, os.getpid())")
    kernel.close()
    release = Release(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    running = processes(hub.machine)

    def look(line: Line) -> None:
        assert running <= processes(hub.machine), "her server and its kernel are the same"
        if kill is the_operator:
            await_that(f"the hub answers after {line}", hub.answers, BACK_S)
            assert again(kernel) == before

    had = traces(hub.machine)
    known: set[Line] = set()
    count = -1
    # What the operator's death leaves begun is brought to its end: a step's other lines come with another release.
    while len(known) > count and (kill is the_operator or not known):
        count = len(known)
        release.next()
        cut(hub, kill, known, look)
        assert hub.changes() == []
        assert again(kernel) == before
    if kill is the_operator:
        every = {does.format(f"hubfleet-lab-{part}") for does in DOES for part in REPLACED}
        assert every <= {words for _, words in known}
    assert {f"restart container hubfleet-lab-{part}" for part in REPLACED} <= {step for step, _ in known}
    assert hub.status()["state"] == "running"
    assert "current" in rows(hub)[-1]
    hub.run("rollback", "--yes")
    assert again(kernel) == before
    assert hub.status()["state"] == "running"
    hub.up()
    assert again(kernel) == before
    assert [line for line in differences(traces(hub.machine), had) if not line.startswith("images: ")] == []


TIMES = 20


def test_of_two_at_once_one_wins_each_time(plain: tuple[HubThere, set[str]]) -> None:
    """Who wins stands at the first step until the other has been told. Another class password is a cheap change."""
    hub, _ = plain
    secrets = hub.folder / "hubfleet.secrets.yaml"
    for number in range(TIMES):
        word = f"word-{number}-of-the-class"
        secrets.write_text(secrets.read_text().replace(hub.password("class_password"), word))
        both = [Up(hub) for _ in range(2)]
        with ThreadPoolExecutor() as beside:
            stand = list(beside.map(lambda up: up.await_step(), both))
        assert sorted(stand) == [False, True], [up.text for up in both]
        loser, winner = both[stand.index(False)], both[stand.index(True)]
        assert loser.end() == LockedError.exit_code, loser.text
        assert "is changing this hub now. Nothing was changed" in " ".join(loser.text.split())
        assert winner.end() == 0, winner.text
        assert hub.changes() == []
        assert word in hub.machine.run("cat", f"{STATE}/hub/hub-secrets.json")


def processes(machine: Machine) -> set[str]:
    """Of users' servers, by their numbers on the machine."""
    servers = machine.docker("ps", "--quiet", "--filter", "name=hubfleet-lab-user-").split()
    return {pid for server in servers for pid in machine.docker("top", server, "-eo", "pid").split()[1:]}


def again(kernel: Kernel) -> str:
    kernel.connect()
    try:
        return kernel.run("print(kept, os.getpid())")
    finally:
        kernel.close()

"""Started by root: what a server may use, and what it may see of the machine's directories."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confined import Inside
from harness import Person, RunningHub, await_that, expect_failure

import needs
from hubfleet.supervisor.spec import identity

pytestmark = [needs.root(), needs.linux()]

GROUPS = Path("/sys/fs/cgroup")
MB = 1024**2

if (GROUPS / "cgroup.controllers").exists():  # version 2
    FILES = {"memory": "memory.max", "processes": "pids.max", "cpu": "cpu.max"}
else:
    FILES = {"memory": "memory/memory.limit_in_bytes", "processes": "pids/pids.max", "cpu": "cpu/cpu.cfs_quota_us"}


@pytest.fixture(autouse=True)
def _logs(strict_hub: RunningHub, hub_logs: list[Path]) -> None:
    hub_logs.append(strict_hub.logs)


@pytest.fixture(scope="module")
def pair(strict_hub: RunningHub) -> Iterator[tuple[Inside, Inside]]:
    """Somebody who goes over limits, and a neighbour who must not notice."""
    pair = Inside.of(strict_hub, "lima"), Inside.of(strict_hub, "limb")
    yield pair
    for inside in pair:
        inside.person.stop()


def groups(hub: RunningHub, server: str) -> list[Path]:
    """The control groups of a server that are there."""
    return sorted({*GROUPS.glob(f"hubfleet/{hub.name}/{server}"), *GROUPS.glob(f"*/hubfleet/{hub.name}/{server}")})


def limit(hub: RunningHub, server: str, what: str) -> int:
    controller, _, name = FILES[what].rpartition("/")
    text = (GROUPS / controller / "hubfleet" / hub.name / server / name).read_text().split()[0]
    return int(text)


def count(hub: RunningHub, server: str, what: str, file: str, key: str) -> int:
    """One of the kernel's counts for a server's control group."""
    path = GROUPS / FILES[what].rpartition("/")[0] / "hubfleet" / hub.name / server / file
    return int(dict(line.split() for line in path.read_text().splitlines())[key])


def throttled(hub: RunningHub, server: str) -> int:
    """How often a server had used up its quota."""
    return count(hub, server, "cpu", "cpu.stat", "nr_throttled")


def forks_refused(hub: RunningHub, server: str) -> int:
    """How often a server had as many processes as it may have."""
    return count(hub, server, "processes", "pids.events", "max")


def members(hub: RunningHub, server: str) -> set[int]:
    return {int(line) for group in groups(hub, server) for line in (group / "cgroup.procs").read_text().split()}


@pytest.mark.parametrize(
    ("name", "profile", "memory", "processes", "cores"),
    [
        ("limc", None, 700, 200, 2),  # servers
        ("limc", "slow", 700, 200, 0.5),  # a profile
        ("tess", None, 800, 150, 2),  # a group
        ("tess", "large", 900, 150, 3),  # a group, and a profile of that group
        ("ulla", None, 700, 120, 2),  # a user
    ],
)
def test_values_reach_the_control_group(
    name: str, profile: str | None, memory: int, processes: int, cores: float, strict_hub: RunningHub
) -> None:
    person = Person(strict_hub, name, "correct-horse-battery")
    if person.log_in().status_code != 302:
        person = strict_hub.person(name)
    person.start({"profile": profile} if profile else None)
    try:
        assert limit(strict_hub, name, "memory") == memory * MB
        assert limit(strict_hub, name, "processes") == processes
        assert limit(strict_hub, name, "cpu") == cores * 100_000
        assert members(strict_hub, name)
    finally:
        person.stop()
    assert groups(strict_hub, name) == []


def test_memory(pair: tuple[Inside, Inside]) -> None:
    """The cell that takes too much is ended; its server and the neighbour's cell go on."""
    greedy, neighbour = pair
    busy = neighbour.kernel.send("import time\ntime.sleep(3)\nprint('finished')")
    kernel = greedy.person.kernel()
    said = kernel.run("block = bytearray(3 * 1024**3)\nprint('got it')")
    assert "got it" not in said
    assert greedy.person.jupyter("GET", "/api/status").status_code == 200
    kernel.close()  # what is sent while a kernel is being restarted may get lost, forked or not; a page connects anew
    await_that("the kernel is back", lambda: kernel.run("print(1 + 1)") == "2\n", 60)
    assert neighbour.kernel.finish(busy) == "finished\n"


def test_the_log_tells_of_a_kernel_ended_for_its_memory(pair: tuple[Inside, Inside]) -> None:
    greedy, neighbour = pair
    told = "a kernel (or another program of this server) went over the memory limit of 700M and was ended"

    def times(inside: Inside) -> int:
        return inside.hub.run("logs", inside.person.name, "-n", "1000").stdout.count(told)

    group = {"v2": "memory.events", "v1": "memory.oom_control"}["v2" if FILES["memory"] == "memory.max" else "v1"]
    killed = count(greedy.hub, greedy.name, "memory", group, "oom_kill")  # also by other tests
    kernel = greedy.person.kernel()
    assert "got it" not in kernel.run("block = bytearray(3 * 1024**3)\nprint('got it')")
    kernel.close()
    assert count(greedy.hub, greedy.name, "memory", group, "oom_kill") == killed + 1
    await_that("each is told", lambda: times(greedy) == killed + 1)
    assert times(neighbour) == 0


def test_processes(pair: tuple[Inside, Inside]) -> None:
    greedy, neighbour = pair
    busy = neighbour.kernel.send("import time\ntime.sleep(3)\nprint('finished')")
    said = greedy.kernel.run(
        """
import os, signal
children, error = [], "none"
try:
    for _ in range(1000):
        child = os.fork()
        if child == 0:
            signal.pause()
        children.append(child)
except OSError as refused:
    error = refused.strerror
for child in children:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
print(len(children), error)
"""
    )
    count, _, error = said.strip().partition(" ")
    assert 50 < int(count) < 200
    assert error == "Resource temporarily unavailable"
    assert neighbour.kernel.finish(busy) == "finished\n"


def test_a_fork_bomb_ends_with_its_server(strict_hub: RunningHub, pair: tuple[Inside, Inside]) -> None:
    neighbour = pair[1]
    bomber = pair[0]
    before = forks_refused(strict_hub, "lima")
    bomber.kernel.send("import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass")
    await_that("the group is full", lambda: forks_refused(strict_hub, "lima") > before)
    assert len(members(strict_hub, "lima")) <= 200
    assert neighbour.kernel.run("print(sum(range(1000)))") == "499500\n"
    inside = members(strict_hub, "lima")
    began = time.monotonic()
    bomber.person.stop()
    assert time.monotonic() - began < 30
    assert [pid for pid in inside if identity(pid)] == []
    assert groups(strict_hub, "lima") == []
    bomber.person.start()
    bomber.kernel = bomber.person.kernel()


def test_cpu(strict_hub: RunningHub) -> None:
    """Two busy loops get half a core together, as the profile says."""
    person = Person(strict_hub, "limc", "correct-horse-battery")
    if person.log_in().status_code != 302:
        person = strict_hub.person("limc")
    person.start({"profile": "slow"})
    try:
        kernel = person.kernel()
        said = kernel.run(
            """
import os, resource, time
def used():
    return sum(getattr(resource.getrusage(who), key) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
               for key in ("ru_utime", "ru_stime"))
before, began = used(), time.monotonic()
children = []
for _ in range(2):
    child = os.fork()
    if child == 0:
        while time.monotonic() - began < 4:
            pass
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
print((used() - before) / (time.monotonic() - began))
"""
        )
        assert float(said) < 0.65
        # On a busy machine that would be so without a quota too; that it had to wait for its next turn would not.
        assert throttled(strict_hub, "limc") > 5
    finally:
        person.stop()


def test_too_little_to_start(strict_hub: RunningHub) -> None:
    person = strict_hub.person("limt")
    (strict_hub.mounts / "people" / "limt").mkdir(mode=0o777)
    began = time.monotonic()
    person.api("POST", "/users/limt/server", json={"profile": "tiny"})
    message = person.progress()[-1]["message"]
    assert "needs more than its memory limit of 64M" in message
    assert time.monotonic() - began < 30
    assert groups(strict_hub, "limt") == []
    assert not person.servers()


def test_a_server_that_goes_over_its_memory_limit_is_gone_and_its_user_is_told_why(strict_hub: RunningHub) -> None:
    """The server itself, not a kernel of it: the home page and the one at its address say so until the next start."""
    (strict_hub.mounts / "people" / "limo").mkdir(mode=0o777)
    person = strict_hub.person("limo")
    assert person.start()[-1]["ready"]
    person.stop()
    pages = (f"{strict_hub.url}/hub/home", f"{strict_hub.url}/user/limo/lab")
    why = "Your server has ended: it went over its memory limit and the system ended it."

    def told() -> list[bool]:
        return [why in " ".join(person.session.get(page).text.split()) for page in pages]

    assert told() == [False, False], "who stops a server knows why it ended"
    file = person.configure(
        "import threading, time\n"
        "from pathlib import Path\n"
        "def grow():\n"
        "    while not Path('/home/limo/now').exists():\n"
        "        time.sleep(0.1)\n"
        "    return bytearray(3 * 1024**3)\n"
        "threading.Thread(target=grow, daemon=True).start()\n"
    )
    assert person.start()[-1]["ready"]
    assert told()[0] is False
    now = strict_hub.homes / "limo" / "now"
    now.touch()
    await_that("it is gone", lambda: not person.servers())
    assert told() == [True, True]
    file.unlink()
    assert person.start()[-1]["ready"]
    assert told()[0] is False
    person.stop()
    assert told() == [False, False]


def test_nothing_outlives_its_server(strict_hub: RunningHub) -> None:
    """Daemons that have left the session and lost their parent are ended with the server they came from."""
    inside = Inside.of(strict_hub, "ulla")
    said = inside.in_kernel(
        """
code = "import os, time; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); time.sleep(1000)"
subprocess.run([sys.executable, "-c", code, "daemon-of-ulla"])
subprocess.Popen(["nohup", "setsid", "sleep", "1000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print("left")
"""
    )
    assert "left" in said
    before = members(strict_hub, "ulla")
    assert len(before) >= 4
    inside.person.stop()
    assert [pid for pid in before if identity(pid)] == []  # zombies wait for the machine's first process
    assert groups(strict_hub, "ulla") == []


# -- mounts ------------------------------------------------------------------------------------------------------------


def test_mounts_are_there_as_configured(pair: tuple[Inside, Inside], strict_hub: RunningHub) -> None:
    first, second = pair
    look = """
print(open("/srv/shared/notes.txt").read().strip())
attempt(lambda: open("/srv/shared/new", "w"))
open("/srv/work/mine", "w").write(os.environ["USER"])
print(os.listdir("/srv/work"), os.path.exists("/srv/staff"))
"""
    for inside in pair:
        notes, refused, work = inside.in_kernel(look).strip().splitlines()
        assert notes == "for everybody"
        assert "Read-only" in refused
        assert work == "['mine'] False"
        mine = strict_hub.mounts / "people" / inside.name / "mine"
        assert mine.read_text() == inside.name
        assert mine.stat().st_uid == inside.uid
    # Under its own path, where its mode would let everybody in, nobody sees what is mounted, and least of all others'.
    path = str(strict_hub.mounts / "people" / second.name / "mine")
    assert first.in_kernel(f"attempt(lambda: open({path!r}).read())").startswith("blocked")
    assert first.in_kernel(f"attempt(lambda: open({str(strict_hub.mounts / 'staff/marks.txt')!r}))").startswith(
        "blocked"
    )


def test_what_is_mounted_inside_a_read_only_mount_is_read_only_too(strict_hub: RunningHub) -> None:
    inner = strict_hub.mounts / "shared" / "inner"
    inner.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=777", "none", inner], check=True)
    try:
        (inner / "there").write_text("x")
        inside = Inside.of(strict_hub, "limc") if not (strict_hub.state / "homes/limc").exists() else None
        person = inside.person if inside else Person(strict_hub, "limc", "correct-horse-battery")
        if inside is None:
            person.log_in()
            person.start()
            inside = Inside(person, person.kernel())
        said = inside.in_kernel(
            "print(os.listdir('/srv/shared/inner'))\nattempt(lambda: open('/srv/shared/inner/new', 'w'))"
        )
        person.stop()
        assert "there" in said
        assert "Read-only" in said
    finally:
        subprocess.run(["umount", "-l", inner], check=True)
        inner.rmdir()


def test_a_missing_directory_is_found_before_anything_changes(strict_hub: RunningHub) -> None:
    settings = strict_hub.settings
    before = strict_hub.status()["generation"]
    try:
        strict_hub.write(f'{settings}  nina: {{storage: {{mounts: ["/nowhere/at/all:/data:ro"]}}}}\n')
        lines = (strict_hub.folder / "hubfleet.yaml").read_text().splitlines()
        line = next(number for number, text in enumerate(lines, 1) if "/nowhere" in text)
        for command in (("check",), ("up", "--yes", "--detach")):
            done = strict_hub.run(*command, check=False)
            assert done.returncode == 3
            said = done.stdout + done.stderr
            assert f"hubfleet.yaml:{line}: /nowhere/at/all is missing on this machine" in said
        assert strict_hub.status()["generation"] == before
    finally:
        strict_hub.write(settings)


def test_a_directory_of_ones_own_that_is_missing(strict_hub: RunningHub) -> None:
    message = expect_failure(strict_hub.person("nobodys"))
    assert (
        f"{strict_hub.mounts}/people/nobodys is missing on this machine; an administrator has to create it" in message
    )
    assert groups(strict_hub, "nobodys") == []


def test_a_link_to_a_forbidden_place_is_refused(strict_hub: RunningHub) -> None:
    link = strict_hub.mounts / "people" / "linus"
    link.symlink_to("/etc")
    message = expect_failure(strict_hub.person("linus"))
    assert f"{link} leads to /etc, which users must not see" in message
    assert groups(strict_hub, "linus") == []


def test_a_link_in_the_home_does_not_lead_root_astray(strict_hub: RunningHub) -> None:
    """mira's mount lies in her home: where she puts a link on the way, root would make directories elsewhere."""
    mira = Inside.of(strict_hub, "mira")
    assert "notes.txt" in mira.in_kernel("print(os.listdir('/home/mira/inner/data'))")
    mira.person.stop()
    target = strict_hub.mounts / "astray"
    target.mkdir(mode=0o755)
    os.rename(mira.home / "inner", mira.home / "old")
    (mira.home / "inner").symlink_to(target)
    os.lchown(mira.home / "inner", mira.uid, mira.uid)
    message = expect_failure(mira.person)
    assert "/home/mira/inner/data is needed for a mount, but inner in it is not a directory" in message
    assert list(target.iterdir()) == []

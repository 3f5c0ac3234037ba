"""What a server has of the process it was forked from, and of other people's servers: nothing."""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path

import pytest
from forked import children, is_forked, parents, server_pid, start, the_parent
from harness import Kernel, Person, RunningHub
from kernels import forked, pid_of, the_parent_of_kernels, the_starter

import needs

pytestmark = needs.root()

SERVERS = [b"COURSE", b"HOME", b"JUPYTERHUB_API_URL", b"JUPYTERHUB_SERVICE_PREFIX", b"JUPYTER_CONFIG_PATH"]
SERVERS += [b"KERNEL_LAUNCH_TIMEOUT", b"LANG", b"PATH", b"SHELL", b"TMPDIR", b"TZ", b"USER"]


@pytest.fixture(scope="module")
def people(running_fork_hub: RunningHub) -> tuple[Person, Person]:
    running_fork_hub.await_answer()
    one, other = (running_fork_hub.person(name) for name in ("isa", "ivo"))
    for person in (one, other):
        assert is_forked(start(person), the_parent(running_fork_hub))
    return one, other


@pytest.fixture(scope="module")
def kernel(people: tuple[Person, Person]) -> Kernel:
    kernel = people[0].kernel()
    assert forked(kernel)
    return kernel


PARENTS = {"servers": the_parent, "kernels": the_parent_of_kernels}
both = pytest.mark.parametrize("of", PARENTS)


def token(person: Person) -> str:
    """The one of this person's server, as it stands in its environment."""
    found = re.search(rb"JUPYTERHUB_API_TOKEN=(\w+)", Path(f"/proc/{server_pid(person)}/environ").read_bytes())
    assert found
    return found[1].decode()


def memory_has(pid: int, texts: list[str]) -> list[str]:
    """Those of the texts that stand anywhere in the process's memory."""
    found = set()
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            place, rights, *_ = line.split()
            if "r" not in rights or "[v" in line:  # the kernel's own pages
                continue
            begin, end = (int(number, 16) for number in place.split("-"))
            try:
                memory.seek(begin)
                block = memory.read(end - begin)
            except OSError:
                continue
            found |= {text for text in texts if text.encode() in block or text.encode("utf-16-le") in block}
    return sorted(found)


def test_a_token_is_in_its_own_server_only(people: tuple[Person, Person]) -> None:
    one, other = people
    tokens = [token(one), token(other)]
    assert len(set(tokens)) == 2
    assert memory_has(server_pid(one), tokens) == [tokens[0]]
    assert memory_has(server_pid(other), tokens) == [tokens[1]]
    for pid in (the_parent(one.hub), the_parent_of_kernels(one.hub), the_starter(one), the_starter(other)):
        assert memory_has(pid, ["reason_for_plain_start"]), "nothing could be read, so this would prove nothing"
        assert memory_has(pid, tokens) == []


@both
def test_the_parent_has_no_secret_to_tell(people: tuple[Person, Person], of: str) -> None:
    hub = people[0].hub
    parent = PARENTS[of](hub)
    environment = Path(f"/proc/{parent}/environ").read_bytes().rstrip(b"\0").split(b"\0")
    known = SERVERS if of == "servers" else [b"JUPYTERHUB_USER"]
    assert sorted(line.partition(b"=")[0] for line in environment) == known
    secrets = [hub.password("class_password"), *re.findall(r"\w{32,}", (hub.state / "secrets/tokens.json").read_text())]
    assert len(secrets) > 1
    assert memory_has(parent, secrets) == []


def test_a_server_has_no_descriptor_of_the_parent(people: tuple[Person, Person]) -> None:
    parent = the_parent(people[0].hub)
    theirs = descriptors(parent)
    control = [link for link in theirs if link.startswith("socket:")]
    assert len(control) == 1, theirs
    assert len([link for link in theirs if link.startswith("pipe:")]) == 2, theirs  # its own, for signals
    for person in people:
        own = descriptors(server_pid(person))
        shared = {link for link in own if link.startswith(("socket:", "pipe:"))} & set(theirs)
        assert not shared
        assert not [link for link in own if "memfd" in link]
        places = {link for link in own if link.startswith("/")}
        environments = str(
            person.hub.state / "environments"
        )  # a server opens and closes files of its home and of these
        log = str(person.hub.logs / "servers" / f"{person.name}.log")
        assert {place for place in places if not place.startswith(("/home/", "/run/user/", environments))} == {
            os.devnull,
            log,
        }


def descriptors(pid: int) -> list[str]:
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed in between
            found.append(os.readlink(link))
    return found


ATTEMPTS = {
    "see": "os.listdir('/proc/{pid}')",
    "signal": "os.kill({pid}, 0)",
    "trace": "must(libc.ptrace(16, {pid}, 0, 0))",
    "read": "open('/proc/{pid}/mem', 'rb')",
    "reach": "os.readlink('/proc/{pid}/fd/0')",
    "take a descriptor of": "must(libc.syscall(438, os.pidfd_open({pid}), 0, 0))",
}
PREAMBLE = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def must(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
def attempt(act):
    try:
        act()
        print("OPEN")
    except OSError as error:
        print("blocked", error)
"""


@both
@pytest.mark.parametrize("what", ATTEMPTS)
def test_a_user_cannot_get_at_the_parent(people: tuple[Person, Person], kernel: Kernel, what: str, of: str) -> None:
    code = PREAMBLE + f"attempt(lambda: {ATTEMPTS[what]})"
    assert kernel.run(code.format(pid=PARENTS[of](people[0].hub))).startswith("blocked")
    # The same on a process of their own is possible, or the attempt would prove nothing.
    if what == "trace":  # a process cannot trace an ancestor's exec'd self here: a child of its own will do
        own = kernel.run("import subprocess; p = subprocess.Popen(['sleep', '300']); print(p.pid)").strip()
    else:
        own = kernel.run("import os; print(os.getpid())").strip()
    assert kernel.run(code.format(pid=own)) == "OPEN\n"


@both
def test_a_user_cannot_connect_to_the_parent(people: tuple[Person, Person], of: str) -> None:
    """Its socket has no name, in the file system or out of it."""
    parent = PARENTS[of](people[0].hub)
    inodes = {link[8:-1] for link in descriptors(parent) if link.startswith("socket:")}
    known = [line.split() for line in Path(f"/proc/{parent}/net/unix").read_text().splitlines()[1:]]
    names = {fields[6]: fields[7:] for fields in known}
    assert inodes
    assert [names[inode] for inode in inodes] == [[]]
    listening = {line.split()[9] for line in Path(f"/proc/{parent}/net/tcp").read_text().splitlines()[1:]}
    assert not inodes & listening


def test_a_starter_is_its_users_and_in_the_servers_sandbox(people: tuple[Person, Person]) -> None:
    for person in people:
        server, starter = server_pid(person), the_starter(person)
        for field in ("Uid", "Gid", "Groups", "NoNewPrivs", "CapEff", "CapPrm", "CapBnd", "CapAmb", "Umask"):
            assert status(starter, field) == status(server, field), field
        assert status(starter, "Uid") == " ".join([str(Path(f"/proc/{server}").stat().st_uid)] * 4)
        assert Path(f"/proc/{starter}/cgroup").read_text() == Path(f"/proc/{server}/cgroup").read_text()
        for kind in ("mnt", "ipc", "pid", "user", "net"):
            assert os.readlink(f"/proc/{starter}/ns/{kind}") == os.readlink(f"/proc/{server}/ns/{kind}")


def test_a_starter_has_nothing_open_but_its_socket(people: tuple[Person, Person]) -> None:
    log = str(people[1].hub.logs / "servers" / f"{people[1].name}.log")
    found = descriptors(the_starter(people[1]))
    socket = next(link for link in found if link.startswith("socket:"))
    assert sorted(found) == sorted([os.devnull, log, log, socket, "anon_inode:[pidfd]"])
    parent = the_parent_of_kernels(people[0].hub)
    for pid in (parent, the_parent(people[0].hub), people[0].hub.pid("launcher"), the_starter(people[0])):
        assert socket not in descriptors(pid)


def test_a_kernel_does_not_reach_the_starter(people: tuple[Person, Person], kernel: Kernel) -> None:
    """What asks it has to come from the server: a kernel, or what it starts, has neither end of its socket."""
    server, starter = server_pid(people[0]), the_starter(people[0])
    sockets = {link for link in descriptors(starter) if link.startswith("socket:")}
    assert not sockets & set(descriptors(pid_of(kernel)))
    inherited = kernel.run("import subprocess; print(subprocess.getoutput('ls -l /proc/self/fd'))")
    assert "socket:" not in inherited
    assert b"HUBFLEET" not in Path(f"/proc/{pid_of(kernel)}/environ").read_bytes()
    flags = Path(f"/proc/{server}/fdinfo/4").read_text()
    assert os.readlink(f"/proc/{server}/fd/4").startswith("socket:")
    assert int(flags.split("flags:")[1].split()[0], 8) & os.O_CLOEXEC


def test_a_starter_takes_little_memory(people: tuple[Person, Person]) -> None:
    lines = Path(f"/proc/{the_starter(people[1])}/smaps_rollup").read_text().splitlines()
    private = sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
    assert 0 < private < 4096, "kB"


def status(pid: int, field: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return " ".join(next(line for line in lines if line.startswith(f"{field}:")).split()[1:])


def test_the_rehearsal_leaves_nothing(people: tuple[Person, Person]) -> None:
    hub = people[0].hub
    parent = the_parent(hub)
    assert parents(hub) == [parent]
    records = [json.loads(file.read_text()) for file in (hub.state / "launcher" / "servers").iterdir()]
    assert set(children(parent)) <= {record["handle"]["pid"] for record in records}
    assert list((hub.state / "run" / "rehearsal").iterdir()) == []
    assert not Path("/tmp/rehearsal.sock").exists()
    environments = [str(path) for path in hub.state.rglob("*rehearsal*")]
    assert environments == [str(hub.state / "run" / "rehearsal")]

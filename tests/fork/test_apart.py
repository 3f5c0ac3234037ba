"""What a server has of the process it was forked from, and of other people's servers: nothing."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from forked import is_forked, parents, server_pid, start, the_parent
from harness import Kernel, Person, RunningHub

import needs

pytestmark = needs.root()


@pytest.fixture(scope="module")
def people(running_fork_hub: RunningHub) -> tuple[Person, Person]:
    running_fork_hub.await_answer()
    one, other = (running_fork_hub.person(name) for name in ("isa", "ivo"))
    for person in (one, other):
        assert is_forked(start(person), the_parent(running_fork_hub))
    return one, other


@pytest.fixture(scope="module")
def kernel(people: tuple[Person, Person]) -> Kernel:
    return people[0].kernel()


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
    parent = the_parent(one.hub)
    assert memory_has(parent, ["hubfleet_child"]), "nothing could be read, so this would prove nothing"
    assert memory_has(parent, tokens) == []


def test_the_parent_has_no_secret_to_tell(people: tuple[Person, Person]) -> None:
    hub = people[0].hub
    parent = the_parent(hub)
    environment = Path(f"/proc/{parent}/environ").read_bytes().rstrip(b"\0").split(b"\0")
    assert sorted(line.partition(b"=")[0] for line in environment) == [
        b"HOME",
        b"JUPYTERHUB_API_URL",
        b"JUPYTERHUB_SERVICE_PREFIX",
        b"JUPYTER_CONFIG_PATH",
        b"LANG",
        b"PATH",
        b"SHELL",
        b"USER",
    ]
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
    return [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]


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


@pytest.mark.parametrize("what", ATTEMPTS)
def test_a_user_cannot_get_at_the_parent(people: tuple[Person, Person], kernel: Kernel, what: str) -> None:
    code = PREAMBLE + f"attempt(lambda: {ATTEMPTS[what]})"
    assert kernel.run(code.format(pid=the_parent(people[0].hub))).startswith("blocked")
    # The same on a process of their own is possible, or the attempt would prove nothing.
    if what == "trace":  # a process cannot trace an ancestor's exec'd self here: a child of its own will do
        own = kernel.run("import subprocess; p = subprocess.Popen(['sleep', '300']); print(p.pid)").strip()
    else:
        own = kernel.run("import os; print(os.getpid())").strip()
    assert kernel.run(code.format(pid=own)) == "OPEN\n"


def test_a_user_cannot_connect_to_the_parent(people: tuple[Person, Person], kernel: Kernel) -> None:
    """Its socket has no name, in the file system or out of it."""
    parent = the_parent(people[0].hub)
    inodes = {link[8:-1] for link in descriptors(parent) if link.startswith("socket:")}
    known = [line.split() for line in Path(f"/proc/{parent}/net/unix").read_text().splitlines()[1:]]
    names = {fields[6]: fields[7:] for fields in known}
    assert inodes
    assert [names[inode] for inode in inodes] == [[]]
    listening = {line.split()[9] for line in Path(f"/proc/{parent}/net/tcp").read_text().splitlines()[1:]}
    assert not inodes & listening


def test_the_rehearsal_leaves_nothing(people: tuple[Person, Person]) -> None:
    hub = people[0].hub
    parent = the_parent(hub)
    assert parents(hub) == [parent]
    children = {int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()}
    records = [json.loads(file.read_text()) for file in (hub.state / "launcher" / "servers").iterdir()]
    assert children <= {record["handle"]["pid"] for record in records}
    assert list((hub.state / "run" / "rehearsal").iterdir()) == []
    assert not Path("/tmp/rehearsal.sock").exists()
    environments = [str(path) for path in hub.state.rglob("*rehearsal*")]
    assert environments == [str(hub.state / "run" / "rehearsal")]

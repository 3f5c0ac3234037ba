"""Three ways to bring machines to the same state: ours, Ansible and pyinfra. Each writes its own files and commands.

What is wanted is what all three can do: accounts, directories and files with owner, group and mode.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from hubfleet.resources import Account, Directory, File

OURS, ANSIBLE, PYINFRA = "hubfleet", "Ansible", "pyinfra"
PINS = ("ansible-core==2.19.14", "pyinfra==3.10.0")
ROOT = "/opt/hubfleet-benchmark"
CHANGED = "another-value"
"""In the files that a plan finds changed, once in each."""
ACCOUNTS, DIRECTORIES, FILES = 5, 12, 23
Verb = Literal["plan", "apply"]


@dataclass(frozen=True)
class Wanted:
    """What a machine should have."""

    accounts: Sequence[Account]
    directories: Sequence[Directory]
    files: Sequence[File]

    @property
    def count(self) -> int:
        return len(self.accounts) + len(self.directories) + len(self.files)


def wanted(changed: int = 0) -> Wanted:
    """The state, with so many files other than usual."""
    accounts = [Account(f"bench{number}", f"service {number}") for number in range(ACCOUNTS)]
    directories = [Directory(ROOT, "root", "root", 0o755)]
    for number in range(DIRECTORIES - 1):
        owner = accounts[number % ACCOUNTS].name
        directories.append(Directory(f"{ROOT}/part{number}", owner, owner, 0o750 if number % 2 else 0o755))
    files = []
    for number in range(FILES):
        folder = directories[1 + number % (DIRECTORIES - 1)]
        lines = [f"setting_{line} = value {number * line}" for line in range(30)]
        if number < changed:
            lines[15] = f"setting_15 = {CHANGED}"
        mode = 0o640 if number % 4 == 3 else 0o644  # of private ones ours shows no differences
        files.append(
            File(f"{folder.path}/file{number}.conf", "\n".join(lines) + "\n", folder.owner, folder.group, mode)
        )
    return Wanted(accounts, directories, files)


@dataclass(frozen=True)
class Reach:
    """Machines, address by name; the key that opens them all, and the file that knows them. ``ssh``: options to it."""

    addresses: Mapping[str, str]
    key: Path
    known_hosts: Path
    ssh: Sequence[str]


class Controller(Protocol):
    """One of the three. ``name``: in tables."""

    name: str

    def command(self, verb: Verb, what: Wanted, reach: Reach, folder: Path) -> list[str]:
        """The command that does it, to be run in ``folder`` with `environment`; it says CHANGED for each file."""

    def environment(self, folder: Path) -> dict[str, str]:
        """Variables for it."""


class Ours:
    """hubfleet's machines and plan, see converge.py."""

    name = OURS

    def command(self, verb: Verb, what: Wanted, reach: Reach, folder: Path) -> list[str]:
        resources = [one.to_json() for one in (*what.accounts, *what.directories, *what.files)]
        told = {
            "machines": dict(reach.addresses),
            "options": list(reach.ssh),
            "resources": resources,
            "state": "/var/lib/hubfleet-benchmark",
        }
        _write(folder / "wanted.json", json.dumps(told))
        return [sys.executable, str(Path(__file__).with_name("converge.py")), verb, "wanted.json"]

    def environment(self, folder: Path) -> dict[str, str]:
        return dict(os.environ)


class Ansible:
    """ansible-playbook as its users make it fast: pipelining, kept connections, a fork a host, no facts gathered."""

    name = ANSIBLE

    def __init__(self, programs: Path) -> None:
        self._programs = programs

    def command(self, verb: Verb, what: Wanted, reach: Reach, folder: Path) -> list[str]:
        accounts = [
            {"name": one.name, "comment": one.comment, "system": True, "create_home": False}
            | {"home": "/nonexistent", "shell": "/usr/sbin/nologin"}
            for one in what.accounts
        ]
        access = [{"path": one.path, **_access(one)} for one in what.directories]
        files = [{"dest": one.path, "content": one.content, **_access(one)} for one in what.files]
        tasks: list[dict[str, Any]] = [
            *({"ansible.builtin.user": one} for one in accounts),
            *({"ansible.builtin.file": {"state": "directory", **one}} for one in access),
            *({"ansible.builtin.copy": one} for one in files),
        ]
        play = [{"hosts": "all", "gather_facts": False, "strategy": "free", "tasks": tasks}]
        _write(folder / "play.yml", json.dumps(play))  # JSON is YAML
        common = (
            f"ansible_user=root ansible_python_interpreter=/usr/bin/python3 ansible_ssh_private_key_file={reach.key}"
        )
        hosts = "".join(f"{name} ansible_host={address} {common}\n" for name, address in reach.addresses.items())
        _write(folder / "hosts.ini", hosts)
        options = f"-o ControlMaster=auto -o ControlPersist=60s -o UserKnownHostsFile={reach.known_hosts} -F none"
        _write(
            folder / "ansible.cfg",
            f"[defaults]\nforks = 8\ngathering = explicit\nhost_key_checking = True\nretry_files_enabled = False\n"
            f"[ssh_connection]\npipelining = True\nssh_args = {options}\ncontrol_path_dir = {folder}/cp\n",
        )
        words = ["--check", "--diff"] if verb == "plan" else []
        return [str(self._programs / "ansible-playbook"), "-i", "hosts.ini", *words, "play.yml"]

    def environment(self, folder: Path) -> dict[str, str]:
        own = {"HOME": str(folder), "ANSIBLE_CONFIG": str(folder / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        return {**os.environ, **own, "LC_ALL": "C.UTF-8", "PATH": f"{self._programs}:{os.environ['PATH']}"}


class Pyinfra:
    """pyinfra's command; without its questions, and hosts do not wait for each other."""

    name = PYINFRA

    def __init__(self, programs: Path) -> None:
        self._programs = programs

    def command(self, verb: Verb, what: Wanted, reach: Reach, folder: Path) -> list[str]:
        data = {"ssh_user": "root", "ssh_key": str(reach.key), "ssh_known_hosts_file": str(reach.known_hosts)}
        data |= {"ssh_strict_host_key_checking": "yes"}
        hosts = [(address, data) for address in reach.addresses.values()]
        _write(folder / "inventory.py", f"hosts = {hosts!r}\n")
        lines = ["import io", "from pyinfra.operations import files, server"]
        for account in what.accounts:
            given = {"comment": account.comment, "system": True, "create_home": False, "ensure_home": False}
            given |= {"home": "/nonexistent", "shell": "/usr/sbin/nologin"}
            lines.append(f"server.user(user={account.name!r}, **{given!r})")
        for one in what.directories:
            lines.append(f"files.directory(path={one.path!r}, **{_access(one, owner='user')!r})")
        for file in what.files:
            source = f"src=io.StringIO({file.content!r})"
            lines.append(f"files.put({source}, dest={file.path!r}, **{_access(file, owner='user')!r})")
        _write(folder / "state.py", "\n".join(lines) + "\n")
        words = ["--dry", "--diff"] if verb == "plan" else ["--yes"]
        return [str(self._programs / "pyinfra"), *words, "--no-wait", "inventory.py", "state.py"]

    def environment(self, folder: Path) -> dict[str, str]:
        return {**os.environ, "HOME": str(folder), "NO_COLOR": "1"}


def _access(one: Directory | File, owner: str = "owner") -> dict[str, str]:
    told = asdict(one)
    return {owner: told["owner"], "group": told["group"], "mode": f"{told['mode']:04o}"}


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")

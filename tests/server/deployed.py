"""A hub that `hubfleet up` has deployed to a server over SSH, with what tests look at on that server."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import requests
from cells import Cell
from dockerd import BASE
from harness import PASSWORD, Person, RunningHub, await_that
from machines import Machine

from authority import certificate
from hubfleet.layout import ROOT_BASE

PARTS = ("homes", "launcher", "proxy", "hub", "edge")
BUILD_LIMIT_S = 1200.0
CANARIES = ("class_password", "admin_password.admin")
_SETTINGS = """\
hub: {name}
engine: docker
machines: {{{machine}: {{ssh: root@{address}, ssh_config: ssh_config}}}}
base_image: {base}
https: self-signed
network: {{ca_bundle: site.crt}}
login: {{password: file}}
{more}"""
_SSH_CONFIG = """\
Host {address}
    IdentityFile {keys}/user
    IdentitiesOnly yes
    UserKnownHostsFile {keys}/known_hosts
    GlobalKnownHostsFile /dev/null
"""
_WATCH = """
import glob, json, sys, threading
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
seen = set()
while not ended.wait({pause}):
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            seen.add(open(path, "rb").read().replace(b"\\0", b" ").decode(errors="replace"))
        except OSError:
            pass
print(json.dumps(sorted(seen)))
"""


class Server(RunningHub):
    """A hub on ``machine``, deployed from the folder. It is spoken to at the machine's address, over HTTPS.

    beside: where that machine reaches this one. site: files with a certificate for that, which the hub trusts as the
    site's own authority, and its key.
    """

    def __init__(self, machine: Machine, folder: Path, name: str = "") -> None:
        self.machine, self.folder, self.as_user = machine, folder, None
        self.name = name or f"t{secrets.token_hex(3)}"
        self.base, self.python = ROOT_BASE, Path(sys.executable)
        self.url = f"https://{machine.address}"
        self.homes = self.state / "homes"
        self.told, self.seen = "", frozenset()
        self.beside = f"{machine.address.rpartition('.')[0]}.1"
        self.site = certificate(folder, self.beside)
        keys = machine.lab.place
        (folder / "ssh_config").write_text(_SSH_CONFIG.format(address=machine.address, keys=keys))
        self.write("")

    def write(self, settings: str) -> None:
        self.settings = settings
        given = {"name": self.name, "machine": self.machine.name, "address": self.machine.address}
        (self.folder / "hubfleet.yaml").write_text(_SETTINGS.format(**given, base=BASE, more=settings))

    def plant(self) -> None:
        """Choose the passwords that hubfleet would make up, so that their like is nowhere else."""
        file = self.folder / "hubfleet.secrets.yaml"
        klass, admin = (f"canary-{secrets.token_hex(12)}" for _ in CANARIES)
        file.write_text(f"class_password: {klass}\nadmin_password:\n  admin: {admin}\n")
        file.chmod(0o600)

    @property
    def root(self) -> Path:
        """A file with the certificate of the edge's own authority, and no other."""
        return self.folder / "root.crt"

    def up(self) -> str:
        """`hubfleet up`, and what it says; afterwards the edge's own authority is known, and trusted alone."""
        told = self.run("up", "--yes", timeout=BUILD_LIMIT_S).stdout
        authority = f"{self.state}/edge/storage/pki/authorities/local/root.crt"
        self.root.write_text(self.machine.run("cat", authority) + "\n")
        return told

    def trusted(self, patch: pytest.MonkeyPatch) -> None:
        """Have this process trust that authority, and no other."""
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "WEBSOCKET_CLIENT_CA_BUNDLE"):
            patch.setenv(name, str(self.root))

    def plan(self) -> str:
        return self.run("plan").stdout

    def answers(self) -> bool:
        """Whether the hub answers through edge and proxy."""
        try:
            return requests.get(f"{self.url}/hub/api/", timeout=5, verify=str(self.root)).status_code == 200
        except requests.RequestException:
            return False

    def await_answer(self, limit: float = 60) -> None:
        await_that("the hub answers", self.answers, limit)

    def new_name(self, name: str) -> str:
        """One that nobody has on a hub that many tests share."""
        return f"{name}-{secrets.token_hex(2)}"

    def known(self, name: str) -> Person:
        """Somebody who has signed up."""
        person = Person(self, name, PASSWORD)
        assert person.log_in().status_code == 302
        return person

    def tokens(self) -> dict[str, str]:
        """hubfleet's own."""
        tokens: dict[str, str] = json.loads(self.machine.run("cat", f"{self.state}/secrets/tokens.json"))
        return tokens

    def operator_token(self) -> str:
        return self.tokens()["operator_token"]

    def remove(self) -> None:
        """The machine goes, and all with it."""

    # -- its containers ----------------------------------------------------------------------------------------------

    def container(self, part: str) -> str:
        return f"hubfleet-{self.name}-{part}"

    def users_container(self, user: str) -> str:
        return str(self._record(user)["handle"]["container"])

    def users_socket(self, user: str) -> str:
        """Where a user's server listens."""
        return unquote(self._record(user)["url"].removeprefix("http+unix://"))

    def _record(self, user: str) -> dict[str, Any]:
        (found,) = [entry for entry in self.status()["servers"] if entry["user"] == user]
        return dict(found)

    def inspect(self, *names: str) -> list[dict[str, Any]]:
        """All the engine there knows of these."""
        found: list[dict[str, Any]] = json.loads(self.machine.docker("inspect", *names))
        return found

    def process(self, part: str) -> int:
        """The first process of a part's container, by its number on the machine; 0 while there is none."""
        state = self.inspect(self.container(part))[0]["State"]
        return int(state["Pid"]) if state["Running"] else 0

    def images(self) -> list[str]:
        """Of the hub's own parts, each once."""
        return sorted({entry["Config"]["Image"] for entry in self.inspect(*map(self.container, PARTS))})


class DistantCell(Cell):
    """A `Cell` whose home is on the server."""

    def __init__(self, person: Person, server: Server) -> None:
        self.machine = server.machine
        super().__init__(person, server.homes / person.name)

    def noted(self) -> int:
        return int(self.machine.run(f"wc -l < {self.folder}/noted.txt 2>/dev/null || echo 0", check=False) or 0)

    def goes_on(self) -> None:
        begun = self.noted()
        await_that("the cell goes on", lambda: self.noted() > begun + 2, 60)

    def end(self) -> None:
        self.machine.run("touch", self.folder / "enough")


class DistantCommandLines:
    """Collects the command lines of all processes of a machine, as `ps` shows them, while it is entered."""

    def __init__(self, machine: Machine, pause: float = 0.02) -> None:
        self._machine, self._pause = machine, pause
        self.seen: frozenset[str] = frozenset()

    def __enter__(self) -> DistantCommandLines:
        there = ["ssh", "-T", *self._machine.options(), f"root@{self._machine.address}"]
        self._machine.run("cat > /root/watch.py", text=_WATCH.format(pause=self._pause))
        self._ssh = subprocess.Popen(
            [*there, "python3 /root/watch.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.seen = frozenset(json.loads(self._ssh.communicate()[0]))


class Running:
    """A command of hubfleet that goes on beside the test. ``text``: what it has said so far."""

    def __init__(self, server: Server, *arguments: str) -> None:
        self.text = ""
        self._process = subprocess.Popen(
            server.command(*arguments),
            cwd=server.folder,
            env=server.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.text += line

    def await_text(self, *words: str, limit: float = 300) -> None:
        """Until it has said one of these; fails if it ends before."""

        def said() -> bool:
            found = any(word in self.text for word in words)
            assert found or self._process.poll() is None, f"it ended without {words}: {self.text}"
            return found

        await_that(f"it says one of {words}", said, limit)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self.end()

    def end(self, limit: float = BUILD_LIMIT_S) -> int:
        """Wait for its end; the exit code."""
        code = self._process.wait(limit)
        self._reader.join(5)
        return code


def until(what: str, look: Callable[[], object], limit: float) -> None:
    """As `await_that`, where a look may fail while things are away."""

    def tried() -> object:
        try:
            return look()
        except (AssertionError, requests.RequestException, KeyError, IndexError, ValueError):
            return False

    await_that(what, tried, limit)

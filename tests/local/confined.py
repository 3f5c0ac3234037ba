"""Runs a probe where a user's code runs (or the hub's), with all controls or without some of them.

Every probe prints a line that begins with OPEN or with "blocked". It is run three ways: in a real kernel of the user;
in a sandbox made from the launcher's own specification; and in one whose specification lacks a control, where it has
to print OPEN, or else the test would prove nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness import Kernel, Person, RunningHub

from hubfleet.config import Config
from hubfleet.config.effective import effective
from hubfleet.config.owner import Owner
from hubfleet.engines.local import sandbox, specification
from hubfleet.engines.local.launch import LocalLaunch
from hubfleet.engines.local.specification import Settings
from hubfleet.launcher.base import Request
from hubfleet.names import short_id, system_name

PREAMBLE = """
import ctypes, http.client, json, os, signal, socket, stat, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)

def attempt(act):
    try:
        print("OPEN", act())
    except (OSError, subprocess.SubprocessError) as error:
        print("blocked:", error)

def must(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

def connect(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    return connection

def ask(path, method, target, body=None, headers={}):
    client = http.client.HTTPConnection("localhost")
    client.sock = connect(path)
    client.request(method, target, None if body is None else json.dumps(body), headers)
    answer = client.getresponse()
    return answer.status, answer.read().decode()

def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
"""


def fork_bomb(processes: int, seconds: int) -> str:
    """Code that starts so many processes, which last so long; it prints OPEN if it may."""
    return f"""
import time
children = []
try:
    for _ in range({processes}):
        pid = os.fork()
        if not pid:
            time.sleep({seconds})
            os._exit(0)
        children.append(pid)
    print("OPEN")
except OSError as error:
    print("blocked:", error)
for pid in children:
    os.kill(pid, 9)
for pid in children:
    os.waitpid(pid, 0)
"""


Spec = dict[str, Any]
Removal = Callable[[Spec], None]


def run_sandbox(spec: Spec, code: str, python: Path) -> str:
    """What the probe prints inside the sandbox of this specification."""
    spec = {**spec, "argv": [str(python), "-c", PREAMBLE + code]}
    command = [sys.executable, "-I", "-S", sandbox.__file__]
    done = subprocess.run(command, input=json.dumps(spec), capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


@dataclass
class Inside:
    """One user with a running server: a kernel of it, and sandboxes like it."""

    person: Person
    kernel: Kernel

    @classmethod
    def of(cls, hub: RunningHub, name: str) -> Inside:
        person = hub.person(name)
        events = person.start()
        assert events[-1].get("ready"), events
        return cls(person, person.kernel())

    @property
    def hub(self) -> RunningHub:
        return self.person.hub

    @property
    def name(self) -> str:
        return system_name(self.person.name)

    @property
    def home(self) -> Path:
        return self.hub.state / "homes" / self.name

    @property
    def uid(self) -> int:
        return self.home.stat().st_uid

    @property
    def pid(self) -> int:
        record = json.loads((self.hub.state / "launcher" / "servers" / f"{self.name}.json").read_text())
        return int(record["handle"]["pid"])

    @property
    def socket(self) -> Path:
        return self.hub.state / "run" / "servers" / short_id(self.name) / "server.sock"

    @cached_property
    def settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = json.loads((self.hub.state / "launcher" / "launcher.json").read_text())
        return settings

    @property
    def environment(self) -> Path:
        return Path(self.settings["engine"]["environment"])

    def in_kernel(self, code: str) -> str:
        return self.kernel.run(PREAMBLE + code)

    def in_sandbox(self, code: str, *removals: Removal) -> str:
        """Run code where another server of this user would run, less the given controls."""
        settings = Settings.from_json(self.settings["engine"])
        launch = LocalLaunch(settings)
        request = Request(self.person.name, "probe")
        run = self.hub.state / "run" / "servers" / short_id(request.id)
        options = effective(Config.from_dump(self.settings["config"]), self.person.name)
        try:
            launch._make_run_directory(run, Owner(self.uid, self.uid))
            cgroups = launch._limit(request.id, options)
            server = (self.name, Owner(self.uid, self.uid), self.home, run / "server.sock")
            spec = specification.server(settings, request, options, *server, cgroups)
            for removal in removals:
                removal(spec)
            return run_sandbox(spec, code, self.environment / "bin" / "python")
        finally:
            launch._clean(request.id)


def as_uid(uid: int) -> Removal:
    """Not an id of its own, but this one."""

    def remove(spec: Spec) -> None:
        for key in ("account", "shared_group"):
            spec.pop(key, None)
        spec.update(uid=uid, gid=uid, directory="/")

    return remove


as_root = as_uid(0)


def unhidden(*places: Path) -> Removal:
    """These directories of the machine stay in sight."""

    def remove(spec: Spec) -> None:
        kept = [place for place in spec["hide"] if Path(place) not in places]
        assert len(kept) < len(spec["hide"])
        spec["hide"] = kept

    return remove


def shared_scratch(spec: Spec) -> None:
    """The machine's own /tmp and the like."""
    spec["scratch"] = []


def all_processes(spec: Spec) -> None:
    """The machine's own /proc."""
    assert spec.pop("hide_processes")


def writable_environment(spec: Spec) -> None:
    spec["show"] = [[source, target, True] for source, target, _ in spec["show"]]

"""A real hub for tests: made by the command line, spoken to over HTTP like by anybody else."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote as _quote

import requests
import websocket

from hubfleet.layout import Layout

Answer = TypeVar("Answer")
PASSWORD = "correct-horse-battery"
WAITS = """
import os, time
while not os.path.exists(os.path.expanduser("~/go")):
    time.sleep(0.05)
"""
"""For `Person.configure`: a start that is as slow as one wishes, up when there is a file `go` in the home."""
APPROVAL = "login: {signup: approval, admins: [admin]}\nstorage: {homes: none}\n"


def quote(name: str) -> str:
    """A user's name inside an address, written as JupyterHub writes it."""
    return _quote(name, safe="@~")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_that(what: str, look: Callable[[], Answer], limit: float = 30.0) -> Answer:
    """Call ``look`` until it gives something true; fail with ``what`` after ``limit`` seconds."""
    deadline = time.monotonic() + limit
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit:.0f} s: {what}")
        time.sleep(0.1)


class CommandLines:
    """Collects the command lines of all processes of this machine, as `ps` shows them, while it is entered."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._collect)

    @property
    def seen(self) -> frozenset[str]:
        return frozenset(self._seen)

    def __enter__(self) -> CommandLines:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _collect(self) -> None:
        while not self._ending.wait(0.01):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    self._seen.add(process.read_bytes().replace(b"\0", b" ").decode(errors="replace"))


class Person:
    """Somebody with an account: a browser's session and an API token."""

    def __init__(self, hub: RunningHub, name: str, password: str) -> None:
        self.hub, self.name, self.password = hub, name, password
        self.session = requests.Session()
        self.token = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"token {self.token}"}

    @property
    def xsrf(self) -> str:
        """The hub's token against forms from elsewhere; a server has one of its own."""
        found = [cookie for cookie in self.session.cookies if cookie.name == "_xsrf" and cookie.path == "/hub/"]
        return found[-1].value or ""

    def form(self, page: str, data: dict[str, str]) -> requests.Response:
        """Open one of the hub's pages and send its form.

        Somebody who is logged in is led away from the log-in, to a server that is started then and there: not followed.
        """
        self.session.get(f"{self.hub.url}/hub/{page}", allow_redirects=False)
        xsrf = self.xsrf
        return self.session.post(f"{self.hub.url}/hub/{page}", data={**data, "_xsrf": xsrf}, allow_redirects=False)

    def sign_up(self, class_password: str | None = None) -> requests.Response:
        data = {"username": self.name, "signup_password": self.password, "signup_password_confirmation": self.password}
        if class_password is not None:
            data["class_password"] = class_password
        return self.form("signup", data)

    def log_in(self) -> requests.Response:
        """Log in; on success (302) also get an API token."""
        answer = self.form("login", {"username": self.name, "password": self.password})
        if answer.status_code == 302:
            self.session.get(f"{self.hub.url}/hub/home")
            xsrf = self.xsrf
            made = self.session.post(
                f"{self.hub.url}/hub/api/users/{quote(self.name)}/tokens",
                headers={"X-XSRFToken": xsrf, "Referer": f"{self.hub.url}/hub/home"},
                json={"expires_in": 36000},
            )
            made.raise_for_status()
            self.token = made.json()["token"]
        return answer

    def api(self, method: str, target: str, **arguments: Any) -> requests.Response:
        """JupyterHub's API as this person."""
        return requests.request(
            method, f"{self.hub.url}/hub/api{target}", headers=self.headers, timeout=60, **arguments
        )

    def start(self, options: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Start the server and return the events of its progress stream, to the last."""
        answer = self.api("POST", f"/users/{quote(self.name)}/server", json=options or {})
        assert answer.status_code in (201, 202), answer.text
        return self.progress()

    def progress(self, server: str = "") -> list[dict[str, Any]]:
        """The events of a start, to the last."""
        return list(self.events(server))

    def events(self, server: str = "") -> Iterator[dict[str, Any]]:
        """The events of a start as they come, to the last."""
        which = f"servers/{server}" if server else "server"
        with requests.get(
            f"{self.hub.url}/hub/api/users/{quote(self.name)}/{which}/progress",
            headers=self.headers,
            stream=True,
            timeout=120,
        ) as stream:
            for line in stream.iter_lines():
                if line.startswith(b"data:"):
                    event = json.loads(line[5:])
                    yield event
                    if event.get("ready") or event.get("failed"):
                        return

    def stop(self, server: str = "") -> None:
        which = f"servers/{server}" if server else "server"
        self.api("DELETE", f"/users/{quote(self.name)}/{which}")
        await_that(f"{self.name}'s server {server} is gone", lambda: server not in self.servers())

    def room(self, data: dict[str, str] | None = None) -> str:
        """The page where room is made, as a browser has it; with what a form sends."""
        address = f"{self.hub.url}/user/{self.name}/hubfleet/room"
        text = self.session.get(address).text
        if data is not None:
            token = re.search(r'name="_xsrf" value="([^"]*)"', text)
            assert token, text
            text = self.session.post(address, data={**data, "_xsrf": token[1]}).text
        return text

    def servers(self) -> dict[str, Any]:
        """Servers that run or start, by name."""
        answer = self.api("GET", f"/users/{quote(self.name)}")
        answer.raise_for_status()
        servers: dict[str, Any] = answer.json()["servers"]
        return servers

    def jupyter(self, method: str, target: str, **arguments: Any) -> requests.Response:
        """The API of this person's Jupyter server."""
        return requests.request(
            method, f"{self.hub.url}/user/{quote(self.name)}{target}", headers=self.headers, timeout=60, **arguments
        )

    def configure(self, code: str) -> Path:
        """Have every start of this person's servers, forked or plain, run this code; returns its file.

        There has to be a home: one that was made by a start.
        """
        file = self.hub.homes / self.name / ".jupyter" / "jupyter_server_config.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(code)
        home = self.hub.homes / self.name
        subprocess.run(["chown", "-R", f"--reference={home}", str(file.parent)], check=True)
        return file

    def kernel(self) -> Kernel:
        """A new Python kernel."""
        answer = self.jupyter("POST", "/api/kernels", json={"name": "python3"})
        assert answer.status_code == 201, answer.text
        return Kernel(self, answer.json()["id"])


def expect_failure(person: Person) -> str:
    """Start a server that cannot start; returns what its user reads."""
    answer = person.api("POST", f"/users/{person.name}/server", json={})
    if answer.status_code >= 400:
        return str(answer.json()["message"])
    event = person.progress()[-1]
    assert event.get("failed"), event
    return str(event["message"])


class Kernel:
    """One kernel, over the public websocket."""

    def __init__(self, person: Person, identifier: str) -> None:
        self.person, self.id = person, identifier
        self._socket: websocket.WebSocket | None = None

    def connect(self) -> websocket.WebSocket:
        server = f"{self.person.hub.url.replace('http', 'ws')}/user/{quote(self.person.name)}"
        self._socket = websocket.create_connection(
            f"{server}/api/kernels/{self.id}/channels",
            header=[f"Authorization: token {self.person.token}"],
            timeout=180,
        )
        return self._socket

    def close(self) -> None:
        """Close the connection; the kernel stays."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, code: str) -> str:
        """Begin to run code; returns the message's id."""
        identifier = uuid.uuid4().hex
        header = {"msg_id": identifier, "msg_type": "execute_request", "username": "", "session": "s", "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        message = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}
        (self._socket or self.connect()).send(json.dumps(message))
        return identifier

    def receive(self) -> dict[str, Any]:
        """The next message, whatever it is."""
        text = (self._socket or self.connect()).recv()
        if not text:
            raise websocket.WebSocketConnectionClosedException("the other side said goodbye")
        message: dict[str, Any] = json.loads(text)
        return message

    def run(self, code: str) -> str:
        """Run code and return what it printed (and its result, and its error's name and value)."""
        return self.finish(self.send(code))

    def finish(self, identifier: str) -> str:
        """What the code of this message printed until it was done, or until its kernel died."""
        text = ""
        while True:
            message = self.receive()
            content = message["content"]
            if content.get("execution_state") in ("restarting", "dead"):
                return text
            if message["parent_header"].get("msg_id") != identifier:
                continue
            if message["msg_type"] == "stream":
                text += content["text"]
            elif message["msg_type"] == "execute_result":
                text += content["data"]["text/plain"]
            elif message["msg_type"] == "error":
                text += f"{content['ename']}: {content['evalue']}"
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                return text


class RunningHub:
    """A hub in a state directory of its own, below ``base``."""

    def __init__(
        self, base: Path, folder: Path, *, as_user: str | None = None, settings: str = "", name: str = ""
    ) -> None:
        self.base, self.folder, self.as_user = base, folder, as_user
        self.port = free_port()
        self.name = name or f"t{secrets.token_hex(3)}"
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir(parents=True, exist_ok=True)
        self.seen: frozenset[str] = frozenset()
        self.told = ""
        self.mounts = Path()
        self.homes = self.state / "homes"
        self.python = Path(sys.executable)
        self.settings = settings
        self.write(settings)

    @property
    def state(self) -> Path:
        return self.base / self.name

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    def write(self, settings: str) -> None:
        """Write the configuration: name and port, and what is given."""
        self.settings = settings
        text = f"hub: {self.name}\nlisten: {{port: {self.port}}}\n{settings}"
        (self.folder / "hubfleet.yaml").write_text(text)

    def command(self, *arguments: str) -> list[str]:
        return [str(self.python), "-m", "hubfleet", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        mine = {"HUBFLEET_STATE_DIR": str(self.base), "NO_COLOR": "1"}
        if self.as_user:
            mine |= {"HOME": pwd.getpwnam(self.as_user).pw_dir, "USER": self.as_user, "LOGNAME": self.as_user}
        return {**os.environ, **mine}

    def run(self, *arguments: str, check: bool = True, timeout: float = 280) -> subprocess.CompletedProcess[str]:
        """Run a command of hubfleet in the folder of the configuration."""
        who: dict[str, Any] = {}
        if self.as_user:
            who = {"user": self.as_user, "group": pwd.getpwnam(self.as_user).pw_gid, "extra_groups": []}
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            **who,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"hubfleet {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done

    def up(self) -> str:
        return self.run("up", "--yes", "--detach").stdout

    def changes(self) -> list[dict[str, Any]]:
        changes: list[dict[str, Any]] = json.loads(self.run("plan", "--json").stdout)["changes"]
        return changes

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return status

    def pid(self, process: str) -> int:
        """The process id of hub, proxy or launcher, once it runs."""
        return int(await_that(f"{process} runs", lambda: self._pid(process)))

    def _pid(self, process: str) -> int | None:
        status = json.loads((self.state / "supervisor" / "status.json").read_text())
        pid: int | None = status["processes"].get(process, {}).get("pid")
        return pid

    def answers(self) -> bool:
        """Whether the hub answers through the proxy."""
        try:
            return requests.get(f"{self.url}/hub/api/", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def await_answer(self) -> None:
        await_that("the hub answers", self.answers, 60)

    def password(self, name: str) -> str:
        """A password out of the secrets file: "class_password" or "admin_password.admin"."""
        text = (self.folder / "hubfleet.secrets.yaml").read_text()
        key = re.escape(name.rpartition(".")[2])
        found = re.search(rf"^\s*{key}: (\S+)$", text, re.MULTILINE)
        assert found, f"no {name} in the secrets file"
        return found[1]

    def person(self, name: str) -> Person:
        """Sign up (class password) and log in."""
        person = Person(self, name, PASSWORD)
        assert person.sign_up(self.password("class_password")).status_code == 200
        assert person.log_in().status_code == 302
        return person

    def admin(self, name: str = "admin") -> Person:
        person = Person(self, name, self.password(f"admin_password.{name}"))
        assert person.log_in().status_code == 302
        return person

    def operator_token(self) -> str:
        token: str = json.loads((self.state / "secrets" / "tokens.json").read_text())["operator_token"]
        return token

    def down(self) -> None:
        self.run("down", "--yes")

    def remove(self) -> None:
        """Stop the hub and remove every trace of it (accounts included)."""
        if (self.state / "supervisor" / "status.json").exists():
            self.run("down", "--yes", check=False)
        for account in (f"hubproxy-{self.name}", f"hubfleet-{self.name}"):
            if os.geteuid() == 0 and self.as_user is None:
                subprocess.run(["userdel", account], capture_output=True, check=False)
        shutil.rmtree(self.state, ignore_errors=True)
        self._forget_ids()

    def _forget_ids(self) -> None:
        """Take this hub's people out of the machine's table, or tests would use up its ids."""
        table = Layout(self.name, self.base, True).uids
        if os.geteuid() != 0 or not table.exists():
            return
        with open(table.with_suffix(".lock"), "r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = json.loads(table.read_text())
            table.write_text(
                json.dumps({key: uid for key, uid in known.items() if not key.startswith(f"{self.name}/")})
            )

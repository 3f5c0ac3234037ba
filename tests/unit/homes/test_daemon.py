"""The keeper of homes as a process: what it does for the launcher, and refuses to everybody else."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

import needs
from hubfleet import link
from hubfleet.config.owner import Owner
from hubfleet.homes import ARCHIVED, HOMES_MARKER
from hubfleet.homes.asked import Asked
from hubfleet.homes.keeper import NoHome
from hubfleet.homes.making import HomeFailed
from hubfleet.homes.settings import Limits, settings
from hubfleet.unixhttp import Refused, answers, request
from waiting import soon

ADA = Owner(70_001, 70_001)
ENDS = ("certificate", "key")
pytestmark = needs.root()


class Service:
    """A keeper of homes, which is also asked over TLS at a port of this machine."""

    def __init__(self, base: Path) -> None:
        self.base, self.homes, self.socket = base, base / "homes", base / "run" / "keeper.sock"
        for folder in (self.homes, self.socket.parent):
            folder.mkdir()
        (self.homes / HOMES_MARKER).touch()
        made = link.make()
        self.line: dict[str, Any] = {"address": "127.0.0.1", "port": _free_port()}
        self._write("keeper", made.gate_certificate, made.gate_key, "launcher", made.edge_certificate)
        self._write("launcher", made.edge_certificate, made.edge_key, "keeper", made.gate_certificate)
        self.process: subprocess.Popen[bytes] | None = None

    def _write(self, end: str, certificate: str, key: str, other: str, others: str) -> None:
        (self.base / end).mkdir()
        for name, text in (("certificate", certificate), ("key", key), (other, others)):
            (self.base / end / f"{name}.pem").write_text(text)

    def start(self) -> None:
        own = self.files("keeper", *ENDS, "launcher")
        told = {**settings(self.homes, None, 1000, Limits()), "socket": str(self.socket), "line": {**self.line, **own}}
        (self.base / "keeper.json").write_text(json.dumps(told))
        command = [sys.executable, "-m", "hubfleet.homes.daemon", str(self.base / "keeper.json")]
        with open(self.base / "log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        soon(lambda: answers(self.socket))

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process:
            self.process.send_signal(number)
            self.process.wait(20)

    def files(self, end: str, *names: str) -> dict[str, str]:
        return {name: str(self.base / end / f"{name}.pem") for name in names}

    def away(self, **other: str) -> dict[str, Any]:
        """How the launcher on another machine asks; some of what it has can be another."""
        return {**self.line, **self.files("launcher", *ENDS, "keeper"), **other}

    def ask(self, method: str, target: str, body: Any = None) -> Any:
        return request(self.socket, method, target, body)

    def refusal(self, method: str, target: str, body: Any = None) -> int:
        with pytest.raises(Refused) as told:
            self.ask(method, target, body)
        assert str(told.value)
        return told.value.status


@contextmanager
def running() -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="hf-", dir="/tmp") as base:
        made = Service(Path(base))
        made.start()
        yield made
        made.end()


@pytest.fixture
def service() -> Iterator[Service]:
    with running() as made:
        yield made


@pytest.fixture(scope="module")
def empty() -> Iterator[Service]:
    """One that all share who ask for what is refused."""
    with running() as made:
        yield made


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return int(probe.getsockname()[1])


async def test_over_both_lines_it_makes_homes_and_tells_of_them(service: Service) -> None:
    for number, line in enumerate(({"socket": str(service.socket)}, service.away())):
        homes = Asked(line)
        name = f"ada{number}"
        with pytest.raises(NoHome):
            await homes.home(name)
        home = await homes.ensure(name, ADA)
        assert (home.path, home.uid, home.inode) == (service.homes / name, ADA.uid, home.path.stat().st_ino)
        assert await homes.ensure(name, ADA) == await homes.home(name) == home
        assert name in [one.name for one in await homes.report()]
        with pytest.raises(HomeFailed, match="belongs to user id 70001, not 70002"):
            await homes.ensure(name, Owner(70_002, 70_002))
        done = await homes.archive(name)
        assert (done.tar.exists(), home.path.exists()) == (True, False)
        await homes.close()


@pytest.mark.parametrize(
    "body",
    [
        {"uid": 70_001},
        {"uid": 70_001, "gid": 70_001, "path": "/etc"},
        {"uid": 70_001, "gid": 70_001, "limit": "1"},
        {"uid": 70_001, "gid": 70_001, "limit": None},
        {"uid": 70_001, "group": "lab"},
        {"uid": 70_001, "gid": 70_001, "group": 1},
        {"uid": "70001", "gid": 70_001},
        {"uid": True, "gid": 70_001},
        {"uid": 70_001.0, "gid": 70_001},
        [],
        None,
    ],
)
def test_it_takes_two_numbers_and_nothing_else(empty: Service, body: Any) -> None:
    assert empty.refusal("PUT", "/homes/ada", body) == 400
    assert os.listdir(empty.homes) == [HOMES_MARKER]


NOBODYS = [(0, 70_001), (70_001, 0), (999, 999), (65_534, 65_534)]


@pytest.mark.parametrize(("uid", "gid"), NOBODYS)
def test_nobodys_ids_are_refused(empty: Service, uid: int, gid: int) -> None:
    assert empty.refusal("PUT", "/homes/ada", {"uid": uid, "gid": gid}) == 409
    assert os.listdir(empty.homes) == [HOMES_MARKER]


WAYS_OUT = ["..", "%2e%2e", "..%2fada", "%2fetc", "ada%2f..", ".hubfleet-homes", "Ada", "ada%0a", "a" * 31]


@pytest.mark.parametrize("name", WAYS_OUT)
def test_other_names_are_refused(empty: Service, name: str) -> None:
    for method, target in (("PUT", f"/homes/{name}"), ("GET", f"/homes/{name}"), ("POST", f"/homes/{name}/archive")):
        body = {"uid": 70_001, "gid": 70_001} if method == "PUT" else None
        assert empty.refusal(method, target, body) in (400, 404, 405)
    assert os.listdir(empty.homes) == [HOMES_MARKER]
    assert sorted(os.listdir(empty.base)) == sorted(["homes", "run", "keeper", "launcher", "keeper.json", "log"])


@pytest.mark.parametrize(
    ("method", "target"),
    [("DELETE", "/homes/ada"), ("POST", "/homes/ada"), ("PUT", "/homes"), ("GET", "/etc/passwd"), ("POST", "/limits")],
)
def test_there_is_nothing_else_to_ask_for(empty: Service, method: str, target: str) -> None:
    assert empty.refusal(method, target, {}) in (404, 405)


# -- strangers -------------------------------------------------------------------------------------------------------

_AS_ANOTHER = """
import encodings.idna, http.client, os, socket, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from hubfleet.unixhttp import Refused, request
os.setgroups([]); os.setgid(70002); os.setuid(70002)
try:
    print(request(Path(sys.argv[1]), "PUT", "/homes/eve", {"uid": 70002, "gid": 70002}))
except Refused as refused:
    print(refused.status)
except OSError as error:
    print(type(error).__name__)
"""


def as_another(service: Service) -> str:
    """What another account of the machine gets."""
    command = [sys.executable, "-c", _AS_ANOTHER, str(service.socket), *sys.path]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_other_accounts_of_the_machine_are_refused(service: Service) -> None:
    service.base.chmod(0o711)
    assert as_another(service) == "PermissionError", "the socket is not theirs"
    service.socket.chmod(0o666)
    assert as_another(service) == "403", "and who gets to it all the same is known by the kernel"
    assert os.listdir(service.homes) == [HOMES_MARKER]


async def test_who_has_not_the_launchers_certificate_gets_no_word_in(service: Service) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def said(shown: tuple[str, str] | None) -> str:
        if shown:
            context.load_cert_chain(*shown)
        try:
            with (
                socket.create_connection((service.line["address"], service.line["port"]), 5) as plain,
                context.wrap_socket(plain) as line,
            ):
                line.sendall(b"GET /homes HTTP/1.1\r\nHost: x\r\n\r\n")
                return line.recv(1000).decode()
        except (ssl.SSLError, ConnectionError) as error:
            return type(error).__name__

    assert "HTTP" not in said(None)
    stranger = link.make()
    for name, text in (("certificate", stranger.edge_certificate), ("key", stranger.edge_key)):
        (service.base / f"{name}.pem").write_text(text)
    assert "HTTP" not in said((str(service.base / "certificate.pem"), str(service.base / "key.pem")))
    own = service.files("launcher", *ENDS)
    assert "HTTP/1.1 200" in said((own["certificate"], own["key"])), "the same way, with the launcher's"


async def test_who_has_not_the_keepers_certificate_is_told_nothing(service: Service) -> None:
    (service.base / "another.pem").write_text(link.make().gate_certificate)
    homes = Asked(service.away(keeper=str(service.base / "another.pem")))
    with pytest.raises(HomeFailed, match="cannot be asked now"):
        await homes.report()
    await homes.close()


# -- faults ----------------------------------------------------------------------------------------------------------


async def test_one_that_is_being_replaced_is_waited_for(service: Service) -> None:
    homes = Asked({"socket": str(service.socket)})
    await homes.ensure("ada", ADA)
    service.end(signal.SIGKILL)
    asked = asyncio.create_task(homes.ensure("ben", ADA))
    starting = threading.Timer(1.0, service.start)
    starting.start()
    assert (await asked).path == service.homes / "ben"
    starting.join()
    await homes.close()


async def test_one_that_stays_away_is_told_in_words(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubfleet.homes.asked.PATIENCE_S", 0.5)
    service.end()
    for line in ({"socket": str(service.socket)}, service.away()):
        homes = Asked(line)
        with pytest.raises(HomeFailed, match=r"the storage of homes cannot be asked now \(.*\). Please try again"):
            await homes.ensure("ada", ADA)
        await homes.close()


async def test_who_asks_twice_for_an_archive_waits_for_the_same(service: Service) -> None:
    homes = Asked({"socket": str(service.socket)})
    home = await homes.ensure("ada", ADA)
    for number in range(20):
        (home.path / f"file{number}").write_bytes(os.urandom(1_000_000))
    first, second = (asyncio.create_task(homes.archive("ada")) for _ in range(2))
    await asyncio.to_thread(soon, (service.homes / ARCHIVED).exists)
    with pytest.raises(HomeFailed, match="your home directory is being archived"):
        await homes.ensure("ada", ADA)
    assert await first == await second
    assert len(os.listdir(service.homes / ARCHIVED)) == 2
    assert (await homes.ensure("ada", ADA)).inode != home.inode
    await homes.close()


async def test_the_end_of_who_asked_does_not_end_an_archive(service: Service) -> None:
    homes = Asked({"socket": str(service.socket)})
    home = await homes.ensure("ada", ADA)
    (home.path / "file").write_bytes(os.urandom(30_000_000))
    asked = asyncio.create_task(homes.archive("ada"))
    await asyncio.to_thread(soon, (service.homes / ARCHIVED).exists)
    asked.cancel()
    await homes.close()
    await asyncio.to_thread(soon, lambda: not home.path.exists())
    assert len(os.listdir(service.homes / ARCHIVED)) == 2

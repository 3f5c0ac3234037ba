"""How a server's first program finds out that it may go on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hubfleet.singleuser import enter


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as there:
        there.settimeout(20)
        yield there


def test_what_answers_is_not_kept_apart(listening: socket.socket) -> None:
    assert enter._answered(listening.getsockname())


def test_that_there_is_nobody_is_an_answer() -> None:
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    assert enter._answered(closed.getsockname())
    closed.close()


def test_silence_is_what_rules_make() -> None:
    """A queue that is full drops what comes, as rules do."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            assert not enter._answered(full.getsockname())


def test_without_rules_it_ends_and_says_so(listening: socket.socket) -> None:
    begun = time.monotonic()
    with pytest.raises(OSError, match="the rules that keep servers apart are not in force on this machine"):
        enter._await_rules(listening.getsockname(), time.monotonic() + 0.3)
    assert time.monotonic() - begun >= 0.3


def test_a_hub_that_cannot_be_reached_is_named() -> None:
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    with pytest.raises(OSError, match=r"cannot be reached in the fleet's network \(127.0.0.1, TCP port"):
        enter._connected(closed.getsockname(), time.monotonic() + 0.2)
    closed.close()


_BECOMES = """
import json, os, sys
status = open('/proc/self/status').read()
print(json.dumps({
    'argv': sys.argv, 'url': os.environ['JUPYTERHUB_SERVICE_URL'], 'token': os.environ['TOKEN'],
    'nothing': 'NoNewPrivs:\\t1' in status, 'files': __import__('resource').getrlimit(7)[0],
}), flush=True)
os.write(int(os.environ['HUBFLEET_READY']), b'+')
"""


def begun(folder: Path, listening: socket.socket, **changed: Any) -> subprocess.Popen[str]:
    """The first program, told what to become by a file."""
    script = folder / "script"
    script.write_text(_BECOMES)
    told = {
        "key": "the-key",
        "door": listening.getsockname(),
        "probe": None,
        "limit": 20,
        "look": [str(folder)],
        "private": str(folder / "private"),
        "files": 200,
        "listen": [8888, "/user/ada/"],
        "argv": [str(script), "word"],
        "environment": {"TOKEN": "canary"},
        **changed,
    }
    (folder / "told").write_text(json.dumps(told))
    command = [sys.executable, "-I", enter.__file__, str(folder / "told")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_it_becomes_what_a_file_says_when_it_is_let_in(tmp_path: Path, listening: socket.socket) -> None:
    first = begun(tmp_path, listening)
    guest, _ = listening.accept()
    with guest, guest.makefile("rw") as lines:
        said = {"key": "the-key", "seen": {str(tmp_path): tmp_path.stat().st_ino}, "shown": {}}
        assert json.loads(lines.readline()) == said
        assert first.poll() is None
        lines.write("enter\n")
        lines.flush()
        assert lines.read(1) == "+"
    said, _ = first.communicate(timeout=20)
    assert json.loads(said) == {
        "argv": [str(tmp_path / "script"), "word"],
        "url": "http://127.0.0.1:8888/user/ada/",
        "token": "canary",
        "nothing": True,
        "files": 200,
    }
    assert oct(os.stat(tmp_path / "private").st_mode) == "0o40700"


def test_it_says_what_is_mounted_at_its_places(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc")
    (tmp_path / "plain").mkdir()
    told = enter._shown(["/proc", f"{tmp_path}/link", f"{tmp_path}/plain", "/nowhere"])
    whole = {"type": "proc", "root": "/", "top": True, "has": ["sys"]}
    assert told == {"/proc": whole, f"{tmp_path}/link": whole}
    assert enter._shown([]) == {}
    assert enter._plain(r"/my\040data") == "/my data"


def test_it_becomes_nothing_when_nobody_waits(tmp_path: Path, listening: socket.socket) -> None:
    first = begun(tmp_path, listening)
    guest, _ = listening.accept()
    guest.recv(1000)
    guest.close()
    said, wrong = first.communicate(timeout=20)
    assert (said, first.returncode) == ("", 1)
    assert "the server could not be entered: nobody waits for this server (any more)" in wrong

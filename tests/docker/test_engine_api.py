"""The agent's client of the engine: what it asks for, and what it says when it gets nothing."""

from __future__ import annotations

import socket
import subprocess
import threading
from pathlib import Path

import dockerd
import pytest
from converging import own

import needs
from hubfleet.agent import docker
from hubfleet.agent.docker import Absent, Engine, NotRunning
from hubfleet.agent.logs import Said, read_log
from hubfleet.errors import ApplyError, CheckError
from hubfleet.resources import Container, Image, Network
from hubfleet.resources.dockerengine import STOPPED
from waiting import soon

pytestmark = [
    needs.root(),
    needs.command("dockerd", package="docker.io"),
    needs.command("mmdebstrap"),
    pytest.mark.usefixtures("reach"),
]


def test_the_engines_own_words_are_told() -> None:
    with pytest.raises(ApplyError, match=r"Docker: .*[Nn]o such image.*hubfleet-test/nothing"):
        Engine().call("POST", "/containers/create", {"Image": "hubfleet-test/nothing:1"})
    with pytest.raises(Absent, match="No such container"):
        Engine().get(f"/containers/{own('none')}/json")
    assert Engine().find(f"/containers/{own('none')}/json") is None


def test_what_a_container_says_later_is_read_from_there_on(engine: dockerd.Dockerd) -> None:
    name = own("later")
    program = "print('one', flush=True); print('two', flush=True); input()"
    engine.docker(
        "create", "--interactive", "--name", name, "--network", "none", dockerd.BASE, "python3", "-c", program
    )
    try:
        engine.docker("start", name)
        begin = soon(lambda: (said := read_log(name, 9, "")).lines == ("one", "two") and said)
        assert read_log(name, 9, begin.at) == Said((), begin.at)
        engine.docker("restart", "--time", "0", name)
        later = soon(lambda: (said := read_log(name, 9, begin.at)).lines and said)
        assert set(later.lines) <= {"one", "two"}
        assert later.at > begin.at
    finally:
        engine.docker("rm", "--force", name)


def test_what_a_container_said_is_read_without_the_engines_frames(engine: dockerd.Dockerd) -> None:
    name = own("said")
    program = "import sys; print('out'); print('ä', file=sys.stderr); print('x' * 70000)"
    engine.docker("run", "--name", name, "--network", "none", dockerd.BASE, "python3", "-c", program)
    try:
        assert sorted(Engine().logs(name, 9)) == ["out", "x" * 70000, "ä"]
    finally:
        engine.docker("rm", "--force", name)


def test_an_engine_that_no_longer_knows_our_version_is_spoken_to_in_its_oldest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answering(tmp_path, monkeypatch, b'{"ApiVersion": "1.52", "MinAPIVersion": "1.44"}')
    Engine().get("/info")
    assert asked == [b"GET /version HTTP/1.1", b"GET /v1.44/info HTTP/1.1"]


def test_an_engine_newer_than_ours_is_spoken_to_in_our_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(tmp_path, monkeypatch, b'{"ApiVersion": "1.43", "MinAPIVersion": "1.12"}')
    Engine().get("/info")
    assert asked[-1] == b"GET /v1.41/info HTTP/1.1"


def answering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes) -> list[bytes]:
    """Have a server that always says ``body`` stand for the engine; the requests it gets."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    listener.listen()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/socket")
    asked: list[bytes] = []

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(65536).split(b"\r\n")[0])
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    threading.Thread(target=serve, daemon=True).start()
    return asked


def test_without_an_engine_there_is_nothing_and_without_a_running_one_nobody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/socket")
    holds = [Container("c", "i", ("p",)), Image.of("l", "b", "FROM b\n"), Network("n", "br")]
    for one in holds:
        assert docker.observed_of(lambda engine, resource: engine.get("/info"), one) == STOPPED
        assert one.diff(STOPPED)
        assert one.removal(STOPPED)
    monkeypatch.setattr(docker, "installed", lambda: False)
    for one in holds:
        assert docker.observed_of(lambda engine, resource: engine.get("/info"), one) is None


def test_an_engine_that_cannot_be_asked_is_an_error_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/socket")
    with pytest.raises(NotRunning, match=r"nothing listens on .*/socket. Try: systemctl start docker"):
        Engine().get("/info")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "socket"))
        silent.listen()
        monkeypatch.setattr(docker, "TIMEOUT_S", 0.2)
        with pytest.raises(CheckError, match=r"does not answer on .*/socket \(.*timed out\)") as caught:
            Engine().get("/info")
        assert caught.value.remedy
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:2375")
    with pytest.raises(CheckError, match="over a Unix socket only"):
        Engine()


def test_who_may_not_use_the_engine_is_told_so(engine: dockerd.Dockerd) -> None:
    command = ["setpriv", "--reuid", "nobody", "--clear-groups", "python3", "-c", _ASK]
    source = str(Path(docker.__file__).parents[2])
    environment = {"DOCKER_HOST": f"unix://{engine.socket}", "PYTHONPATH": source, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "CheckError" in done.stderr
    assert "Docker may not be used by this account" in done.stderr


_ASK = "from hubfleet.agent.docker import Engine; Engine().get('/info')"

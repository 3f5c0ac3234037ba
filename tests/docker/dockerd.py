"""A Docker engine for the tests, on a socket of its own, and an image made on this machine: none can be pulled."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

BASE = "hubfleet-test/base:1"
"""Debian 12 with Python and this machine's certificates: what stands for the images that sites pull."""
LIMIT_S = 60
_PLACE = Path(tempfile.gettempdir()) / "hubfleet-test-docker"
_BUILD = Path(__file__).parents[1] / "local" / "clean_root.sh"
_CACHE = Path(os.environ.get("HUBFLEET_TEST_CACHE", "/var/cache/hubfleet-tests"))
_PACKAGES = "iproute2 procps curl"
_DOCKERFILE = """FROM {image}
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PIP_CERT=/etc/ssl/certs/ca-certificates.crt \\
    NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
"""


class Dockerd:
    """A running engine: ``socket`` is where it answers."""

    PROGRAM: tuple[str, ...] = ("dockerd",)

    def __init__(self, place: Path) -> None:
        self.place = place
        self.socket = place / "docker.sock"

    def docker(self, *arguments: str | Path, text: str | None = None, check: bool = True) -> str:
        """What ``docker ARGUMENTS`` prints. Fails with what it says on its other channel."""
        command = ["docker", "--host", f"unix://{self.socket}", *map(str, arguments)]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.stderr}"
        return done.stdout.strip() if done.returncode == 0 else done.stderr.strip()

    def inspect(self, name: str) -> dict[str, Any]:
        """All the engine knows of a container, an image or a network."""
        return dict(json.loads(self.docker("inspect", name))[0])

    def answers(self) -> bool:
        command = ["docker", "--host", f"unix://{self.socket}", "version", "--format", "{{.Server.Version}}"]
        return subprocess.run(command, capture_output=True).returncode == 0

    def network(self) -> list[str]:
        """Its way to networks. Not the usual addresses: the machine may have an engine of its own."""
        return ["--bip", "172.29.0.1/24", "--default-address-pool", "base=172.30.0.0/16,size=24"]

    def start(self) -> None:
        """Start it. It outlives the process that starts it, for tests in other processes use it too."""
        self.place.mkdir(parents=True, exist_ok=True)
        places = ["--data-root", self.place / "data", "--exec-root", self.place / "run"]
        reach = ["--host", f"unix://{self.socket}", "--pidfile", self.place / "pid"]
        with (self.place / "log").open("ab") as log:
            child = subprocess.Popen(
                [*self.PROGRAM, *places, *reach, *self.network()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + LIMIT_S
        while not self.answers():
            said = (self.place / "log").read_text(errors="replace")[-3000:]
            assert child.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)

    def stop(self) -> None:
        """End it and its containers."""
        for name in self.docker("ps", "--quiet").split():
            self.docker("kill", name, check=False)
        pid = int((self.place / "pid").read_text())
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + LIMIT_S
        while Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
            assert time.monotonic() < deadline, "dockerd does not end"
            time.sleep(0.1)

    def make_base(self) -> None:
        """The base image, unless it is there."""
        if self.docker("images", "--quiet", BASE):
            return
        with tempfile.TemporaryDirectory() as folder:
            made = {**os.environ, "HUBFLEET_TEST_PACKAGES": _PACKAGES}
            root = Path(folder) / "root"
            subprocess.run([_BUILD, "build", root], check=True, env=made, stdout=subprocess.DEVNULL)
            archive = subprocess.Popen(["tar", "-C", root, "--numeric-owner", "-c", "."], stdout=subprocess.PIPE)
            command = ["docker", "--host", f"unix://{self.socket}", "import", "-", "hubfleet-test/bare:1"]
            subprocess.run(command, stdin=archive.stdout, check=True, stdout=subprocess.DEVNULL)
            assert archive.wait() == 0
            context = Path(folder) / "context"
            context.mkdir()
            bundle = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
            (context / "ca-certificates.crt").write_bytes(bundle.read_bytes())
            (context / "Dockerfile").write_text(_DOCKERFILE.format(image="hubfleet-test/bare:1"))
            self.docker("build", "--quiet", "--tag", BASE, context)


@contextmanager
def shared() -> Iterator[Dockerd]:
    """The engine that all test processes of this machine share: the first starts it, the last ends it."""
    _PLACE.mkdir(mode=0o700, exist_ok=True)
    engine = Dockerd(_PLACE)
    with (_PLACE / "users").open("w") as users:
        with _alone():
            fcntl.flock(users, fcntl.LOCK_SH)
            if not engine.answers():
                engine.start()
            engine.make_base()
        yield engine
        with _alone():
            fcntl.flock(users, fcntl.LOCK_UN)
            if _free(users):
                engine.stop()


@contextmanager
def _alone() -> Iterator[None]:
    with (_PLACE / "starting").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _free(users: IO[str]) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

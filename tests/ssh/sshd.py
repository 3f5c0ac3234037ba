"""A real sshd on a port of its own, with keys and accounts made for the test."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from hubfleet.machines import SSHMachine

LIMIT_S = 20


class Server:
    """An sshd; ``more``: lines for its configuration. ``options`` are what an operator's own would say to ssh."""

    def __init__(self, base: Path, *more: str) -> None:
        self.base = base
        self.more = more
        self.port = 0
        for name in ("host", "other_host", "user", "stranger"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", base / name], check=True)
        shutil.copy(base / "user.pub", base / "authorized_keys")
        self.process: subprocess.Popen[bytes] | None = None
        self.start("host")

    def start(self, key: str) -> None:
        """Start it with this host key, on the port it had before."""
        self.stop()
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        (self.base / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.base}/{key}\nPidFile none\n"
            f"AuthorizedKeysFile {self.base}/authorized_keys\nPasswordAuthentication no\nStrictModes no\n"
            "PermitRootLogin yes\nUsePAM no\nMaxStartups 100\n" + "".join(f"{line}\n" for line in self.more)
        )
        Path("/run/sshd").mkdir(exist_ok=True)
        with open(self.base / "sshd.log", "wb") as log:
            command = ["/usr/sbin/sshd", "-D", "-e", "-f", self.base / "sshd_config"]
            self.process = subprocess.Popen(command, stderr=log)
        deadline = time.monotonic() + LIMIT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < deadline, (self.base / "sshd.log").read_text()
                time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def know(self, key: str) -> None:
        """Have the operator know this host key."""
        words = " ".join((self.base / f"{key}.pub").read_text().split()[:2])
        (self.base / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {words}\n")

    def options(self, key: str = "user") -> list[str]:
        words = ["IdentitiesOnly=yes", f"UserKnownHostsFile={self.base}/known_hosts", "GlobalKnownHostsFile=/dev/null"]
        return [
            "-F",
            "none",
            "-p",
            str(self.port),
            "-i",
            f"{self.base}/{key}",
            *(w for one in words for w in ("-o", one)),
        ]


Reach = Callable[..., SSHMachine]
"""Makes machines: by default as root of this one."""

"""What the tests of this group share."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from loginnode import Reached, drop
from sshd import Reach, Server

from hubfleet.machines import SSHMachine

if TYPE_CHECKING:
    from hubfleet.engines.slurm.remote import Remote


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """In a directory that other accounts can look into: sshd reads the keys as the one who comes."""
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        base.chmod(0o755)
        made = Server(base)
        made.know("host")
        yield made
        made.stop()


@pytest.fixture
def reach(server: Server) -> Iterator[Reach]:
    """Makes machines: by default as root of this one, over SSH."""
    with ExitStack() as made:

        def reach(user: str = "root", key: str = "user", *more: str) -> SSHMachine:
            machine = SSHMachine("hub1", f"{user}@127.0.0.1", [*server.options(key), *more])
            made.callback(machine.close)
            return machine

        yield reach


@pytest.fixture(scope="module")
def account() -> Iterator[str]:
    """An ordinary account without a password."""
    name = f"hubfleet-t{os.getpid() % 100000}"
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", "--password", "*", name], check=True)
    yield name
    subprocess.run(["pkill", "-KILL", "-u", str(pwd.getpwnam(name).pw_uid)], check=False)
    subprocess.run(["userdel", "--remove", "--force", name], check=True, stderr=subprocess.DEVNULL)


@pytest.fixture
def sudoer(account: str) -> Iterator[None]:
    """The account may do everything, without a password."""
    allowed = Path(f"/etc/sudoers.d/{account}")
    allowed.write_text(f"{account} ALL=(ALL) NOPASSWD: ALL\n")
    allowed.chmod(0o440)
    yield
    allowed.unlink()


@pytest.fixture
def login(account: str) -> Iterator[Server]:
    """A login node that lets the account in with the key ``user``, and by certificates of the key ``other_host``."""
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        base.chmod(0o755)
        made = Server(base, f"TrustedUserCAKeys {base}/other_host.pub", "LogLevel VERBOSE")
        yield made
        drop(made)
        made.stop()


@pytest.fixture
async def reached(login: Server, account: str) -> AsyncIterator[Reached]:
    """Makes connections to it: by default as the account, with the key that it knows."""
    from hubfleet.engines.slurm.remote import SESSIONS, Access, Remote  # it needs the package

    async with AsyncExitStack() as made:

        def reached(sessions: int = SESSIONS, **change: Any) -> Remote:
            host_key = " ".join((login.base / "host.pub").read_text().split()[:2])
            access = Access("127.0.0.1", account, (host_key,), login.base / "user", login.port)
            one = Remote(replace(access, **change), sessions)
            made.push_async_callback(one.close)
            return one

        yield reached

"""By way of a jump host: what counts for the machine counts for it, and the user's own configuration still does."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sshd import Server

import hubfleet
import needs
from hubfleet import sshcommand
from hubfleet.errors import UnreachableError
from hubfleet.machines import SSHMachine

pytestmark = [
    needs.root(),
    needs.command("ssh", package="openssh-client"),
    needs.command("/usr/sbin/sshd", package="openssh-server"),
]

_LOOK = "from hubfleet.machines import SSHMachine; print(SSHMachine('hub1', 'far').address); "
_ASK = "machine = SSHMachine('hub1', 'far'); print(machine.facts()['user']); machine.close()"


@pytest.fixture(scope="module")
def jump() -> Iterator[Server]:
    """The host on the way, whose key nobody knows beforehand."""
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        base.chmod(0o755)
        made = Server(base)
        yield made
        made.stop()


class Way:
    """A user's configuration by which ``far`` is behind ``near``. ``known``: the host keys that the user has."""

    def __init__(self, folder: Path, server: Server, jump: Server) -> None:
        self.file, self.known = folder / "ssh_config", folder / "known_hosts"
        self._server, self._jump = server, jump

    def write(self, *more: str, keys: bool = True, jump_known: bool = True) -> None:
        self.known.write_text("".join([self._key(self._server), self._key(self._jump) if jump_known else ""]))
        self.file.write_text("\n".join([*self.hosts(keys=keys), *more]) + "\n")

    def hosts(self, *, keys: bool) -> list[str]:
        lines = []
        for name, server, way in (("near", self._jump, ""), ("far", self._server, "ProxyJump near")):
            lines += [f"Host {name}", "HostName 127.0.0.1", f"Port {server.port}", "User root", way]
            lines += [f"IdentityFile {server.base}/user", "IdentitiesOnly yes"] if keys else ["IdentityFile none"]
        return [*lines, "Host *", f"UserKnownHostsFile {self.known}", "GlobalKnownHostsFile /dev/null"]

    @staticmethod
    def _key(server: Server) -> str:
        return f"[127.0.0.1]:{server.port} {' '.join((server.base / 'host.pub').read_text().split()[:2])}\n"

    def user(self) -> str:
        """Who we are at its end."""
        with closing(SSHMachine("hub1", "far", ("-F", str(self.file)))) as machine:
            return str(machine.facts()["user"])

    def refused(self) -> str:
        with pytest.raises(UnreachableError) as caught:
            self.user()
        return str(caught.value)


@pytest.fixture
def way(tmp_path: Path, server: Server, jump: Server) -> Way:
    return Way(tmp_path, server, jump)


def test_a_machine_behind_another(way: Way) -> None:
    way.write()
    assert way.user() == "root"


@pytest.mark.parametrize("careless", ["no", "accept-new", "off"])
def test_a_jump_hosts_unknown_key_is_not_accepted_whatever_the_user_has_told_ssh(way: Way, careless: str) -> None:
    way.write(f"StrictHostKeyChecking {careless}", jump_known=False)
    before = way.known.read_text()
    said = way.refused()
    assert "hub1: a jump host on the way there: its host key is not known here" in said
    assert way.known.read_text() == before


def test_a_jump_host_that_would_ask_for_the_words_of_a_key_is_told(
    way: Way, tmp_path: Path, jump: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question would go to a terminal or a window, where nobody waits for it."""
    key, asked, program = tmp_path / "key", tmp_path / "asked", tmp_path / "program"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "words", "-f", key], check=True)
    with (jump.base / "authorized_keys").open("a") as keys:
        keys.write(key.with_suffix(".pub").read_text())
    program.write_text(f"#!/bin/sh\ntouch {asked}\n")
    program.chmod(0o755)
    monkeypatch.setenv("SSH_ASKPASS", str(program))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    monkeypatch.setenv("DISPLAY", ":0")
    way.write(keys=False)
    way.file.write_text(way.file.read_text().replace("IdentityFile none", f"IdentityFile {key}", 1))
    assert "a jump host on the way there: it does not let us in" in way.refused()
    assert not asked.exists()


def test_keys_that_the_users_agent_has_and_no_file(way: Way, server: Server, jump: Server, tmp_path: Path) -> None:
    way.write(keys=False)
    socket = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL) as agent:
        try:
            with pytest.MonkeyPatch.context() as patched:
                patched.setenv("SSH_AUTH_SOCK", str(socket))
                keys = [str(one.base / "user") for one in (server, jump)]
                while subprocess.run(["ssh-add", "-q", *keys], capture_output=True).returncode == 2:
                    assert agent.poll() is None  # it begins to listen
                assert way.user() == "root"
                subprocess.run(["ssh-add", "-q", "-D"], check=True, capture_output=True)
                assert "it does not let us in" in way.refused()
        finally:
            agent.terminate()


def test_a_file_that_others_may_write_to_is_read_as_ssh_reads_it(way: Way) -> None:
    """Where it is named, `ssh` does not ask whose it is: such files lie in directories that several people work in."""
    way.write()
    way.file.chmod(0o666)
    os.chown(way.file, 1, 1)
    assert way.user() == "root"


def test_the_users_own_configuration_and_what_it_includes(way: Way, account: str, server: Server, jump: Server) -> None:
    home, ids = Path(pwd.getpwnam(account).pw_dir), pwd.getpwnam(account)
    folder = home / ".ssh"
    folder.mkdir(mode=0o700)
    way.known = folder / "known"
    way.write()
    hosts = [line for line in way.hosts(keys=False) if line != "IdentityFile none"]
    (folder / "hosts").write_text("\n".join([*hosts, f"IdentityFile {folder}/one"]) + "\n")
    for number, one in (("one", server), ("two", jump)):
        (folder / number).write_bytes((one.base / "user").read_bytes())
        (folder / number).chmod(0o600)
    (folder / "config").write_text(f"Include hosts\nHost *\nIdentityFile {folder}/two\nStrictHostKeyChecking no\n")
    for path in [folder, *folder.iterdir()]:
        os.chown(path, ids.pw_uid, ids.pw_gid)

    # With the system's Python, and where the account may look: the tests' own may be root's only.
    shutil.copytree(Path(hubfleet.__file__).parent, home / "code" / "hubfleet")

    def ask() -> str:
        who = {"user": account, "group": ids.pw_gid, "extra_groups": []}
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": f"{home}/code"}
        command = ["/usr/bin/python3", "-c", _LOOK + _ASK]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, cwd="/", **who)  # type: ignore[call-overload]
        return str(done.stdout + done.stderr)

    said = ask()
    assert said.split() == ["127.0.0.1", "root"], said
    way.known.write_text("")
    assert "its host key is not known here" in ask()
    assert way.known.read_text() == ""


def test_what_ssh_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = "".join(f"{name} {value}\n" for name, value in sshcommand.OPTIONS.items())
    system = tmp_path / "ssh_config"
    system.write_text('Host *\n  Include more/*.conf /etc/other "/etc/third"\nSendEnv LANG\n')
    monkeypatch.setattr(sshcommand, "_SYSTEM", str(system))
    assert sshcommand.configuration("none").decode() == ours
    assert sshcommand.configuration(str(system)).decode() == ours + system.read_text()
    home = pwd.getpwuid(os.geteuid()).pw_dir
    included = f'Include {tmp_path}/more/*.conf /etc/other "/etc/third"\nSendEnv LANG\n'
    assert sshcommand.configuration(None).decode() == f'{ours}Include "{home}/.ssh/config"\nHost *\n{included}'
    with pytest.raises(FileNotFoundError):
        sshcommand.configuration(str(tmp_path / "none"))


def test_a_file_that_is_not_there_is_told_by_ssh(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match=r"Can.t open user config.* file .*/none"):
        SSHMachine("hub1", "far", ("-F", str(tmp_path / "none"))).facts()

"""The account of the tunnel can do what it is for and nothing else, by each of the controls alone.

Every attempt is made with all controls, where it fails; with each one of those that stand against it alone, where it
fails too; and with none of them, where it has to succeed, or the test would show nothing.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import needs
from hubfleet.engines.slurm import gate
from hubfleet.engines.slurm.gate import Gate, Place
from waiting import soon

pytestmark = [
    needs.root(),
    needs.command("ssh", package="openssh-client"),
    needs.command("/usr/sbin/sshd", package="openssh-server"),
    needs.command("ssh-agent", package="openssh-client"),
]

WORD = "let-in-3f"
LIMIT_S = 20.0


class Greeter:
    """Says a word to who connects, at a port of the loopback or a socket."""

    def __init__(self, path: Path | None = None) -> None:
        self.socket = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self.socket.bind(str(path) if path else ("127.0.0.1", 0))
        self.socket.listen()
        self.place = str(path) if path else f"127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._greet, daemon=True).start()

    def _greet(self) -> None:
        with suppress(OSError):  # closed
            while True:
                there, _ = self.socket.accept()
                there.sendall(WORD.encode())
                there.close()

    @property
    def port(self) -> int:
        return int(self.place.rpartition(":")[2])


class Hub:
    """The hub's machine: an API, a sshd with the gate's configuration, and a server that listens here for the job."""

    def __init__(self, base: Path, account: str) -> None:
        self.base, self.account = base, account
        self.api, self.elsewhere, self.server = Greeter(), Greeter(), Greeter()
        self.port, self.own, self.other = free(), free(), free()
        self.socket = base / "open" / "somebody.sock"
        self.socket.parent.mkdir(mode=0o777)
        self.socket.parent.chmod(0o777)
        self.key, host = gate.new_key(), gate.new_key()
        for name, text in (("key", self.key.private), ("host", host.private)):
            (base / name).write_text(text)
            (base / name).chmod(0o600)
        (base / "known").write_text(f"[127.0.0.1]:{self.port} {host.public}\n")
        self.process: subprocess.Popen[bytes] | None = None
        self.by_tunnel = True

    @property
    def place(self) -> Place | None:
        return Place("127.0.0.1", self.api.port) if self.by_tunnel else None

    def options(self) -> tuple[dict[str, str], list[str]]:
        """What the gate makes: sshd's options and those of the key's line."""
        made = Gate(self.account, self.port, self.base / "host", self.base / "keys", self.place, "127.0.0.1")
        assert gate.sshd_config(made)
        return gate.sshd_options(made), gate.line_options(self.own, self.place)

    @contextmanager
    def open(self, without: tuple[str, ...] = ()) -> Iterator[None]:
        """With the gate's configuration, but for these options of sshd and of the key."""
        sshd, line = self.options()
        if "no subsystem" in without:
            sshd["Subsystem"] = "sftp internal-sftp"
        for option in without:
            if option in OPPOSITES:
                sshd[option] = OPPOSITES[option]
            line = [ALLOWED.get(option, "") if one.partition("=")[0] == option else one for one in line]
        sshd = {keyword: value for keyword, value in sshd.items() if value}
        (self.base / "config").write_text("".join(f"{keyword} {value}\n" for keyword, value in sshd.items()))
        (self.base / "keys").write_text(f"{','.join(one for one in line if one)} {self.key.public}\n")
        (self.base / "keys").chmod(0o644)
        Path("/run/sshd").mkdir(exist_ok=True)
        with (self.base / "log").open("wb") as log:
            self.process = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", self.base / "config"], stderr=log)
        try:
            soon(lambda: answers("127.0.0.1", self.port))
            yield
        finally:
            self.process.terminate()
            self.process.wait()

    def ssh(self, *words: str, user: str = "", **more: str) -> subprocess.Popen[bytes]:
        """A client with the job's key."""
        options = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(self.base / "known"),
            "GlobalKnownHostsFile": "/dev/null",
            "ExitOnForwardFailure": "yes",
            "LogLevel": "VERBOSE",
            **more,
        }
        command = ["ssh", "-F", "none", "-p", str(self.port), "-i", str(self.base / "key")]
        command += [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        command += [*words[:-1], f"{user or self.account}@127.0.0.1", *words[-1:]]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT)

    def said(self, *words: str, user: str = "", stdin: bytes = b"", **more: str) -> str:
        """All that such a client prints."""
        with self.ssh(*words, user=user, **more) as client:
            out, _ = client.communicate(stdin, timeout=LIMIT_S)
        return out.decode(errors="replace")

    def tunnel(self, *words: str, reached: Callable[[], bool]) -> bool:
        """Whether a client with these forwardings leads there."""
        with self.ssh("-N", *words, "") as client:
            try:
                while client.poll() is None:
                    if reached():
                        return True
                    time.sleep(0.02)
                return reached()
            finally:
                client.kill()


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


def greeted(family: int, place: object) -> bool:
    """Whether somebody there says the word."""
    with socket.socket(family) as one:
        one.settimeout(2)
        try:
            one.connect(place)
            return one.recv(100) == WORD.encode()
        except OSError:
            return False


def at(port: int, host: str = "127.0.0.1") -> Callable[[], bool]:
    return lambda: greeted(socket.AF_INET, (host, port))


@pytest.fixture(scope="module")
def hub(account: str) -> Iterator[Hub]:
    """Not below /tmp: sshd believes no file in a directory that others can write to."""
    with tempfile.TemporaryDirectory(dir="/var/lib") as directory:
        base = Path(directory)
        base.chmod(0o755)
        yield Hub(base, account)


# -- what must not be, and how each thing is tried -------------------------------------------------------------------


def a_command(hub: Hub) -> bool:
    return WORD in hub.said(f"echo {WORD}")


def a_shell(hub: Hub) -> bool:
    return WORD in hub.said("-T", "", stdin=f"echo {WORD}\n".encode())


def a_terminal(hub: Hub) -> bool:
    return "/dev/pts" in hub.said("-tt", "tty")


def files_by_sftp(hub: Hub) -> bool:
    hello = b"\0\0\0\5\1\0\0\0\3"  # the first message of the protocol, and its answer
    with hub.ssh("-T", "-s", "sftp") as client:
        assert client.stdin is not None
        assert client.stdout is not None
        said = b""
        with suppress(BrokenPipeError):
            client.stdin.write(hello)
            client.stdin.flush()
        while part := os.read(client.stdout.fileno(), 4096):
            said += part
            if b"\2\0\0\0\3" in said:
                client.kill()
                return True
    return False


def the_agent(hub: Hub) -> bool:
    with subprocess.Popen(["ssh-agent", "-D", "-a", hub.base / "agent"], stdout=subprocess.DEVNULL) as agent:
        soon(lambda: (hub.base / "agent").exists())
        try:
            said = hub.said("-A", "echo socket=$SSH_AUTH_SOCK.", IdentityAgent=str(hub.base / "agent"))
        finally:
            agent.terminate()
    return bool(re.search(r"socket=/\S+\.", said))


def another_port(hub: Hub) -> bool:
    return hub.tunnel("-R", f"127.0.0.1:{hub.other}:{hub.server.place}", reached=at(hub.other))


def any_port(hub: Hub) -> bool:
    with hub.ssh("-N", "-R", f"127.0.0.1:0:{hub.server.place}", "") as client:
        assert client.stdout is not None
        found = next((line for line in client.stdout if b"Allocated port" in line or b"failed" in line), b"")
        client.kill()
    return b"Allocated port" in found


def every_address(hub: Hub) -> bool:
    """The loopback has more than one: what listens on all of them listens on the network's too."""

    def look() -> bool:
        if at(hub.own, "127.0.0.2")():
            return True
        if at(hub.own)():
            raise Refused
        return False

    return hub.tunnel("-R", f"0.0.0.0:{hub.own}:{hub.server.place}", reached=look)


def a_socket(hub: Hub) -> bool:
    path = hub.socket.with_name("ours.sock")
    path.unlink(missing_ok=True)
    return hub.tunnel("-R", f"{path}:{hub.server.place}", reached=lambda: greeted(socket.AF_UNIX, str(path)))


def somebodys_port(hub: Hub) -> bool:
    return WORD in hub.said("-W", hub.elsewhere.place, "")


def somebodys_socket(hub: Hub) -> bool:
    port = free()
    hub.socket.unlink(missing_ok=True)
    Greeter(hub.socket)
    hub.socket.chmod(0o777)
    return hub.tunnel("-L", f"127.0.0.1:{port}:{hub.socket}", reached=at_once(port))


def at_once(port: int) -> Callable[[], bool]:
    """A client listens whether or not the other end lets it: the first answer counts."""
    tried: list[bool] = []

    def look() -> bool:
        if not tried and answers("127.0.0.1", port):
            tried.append(greeted(socket.AF_INET, ("127.0.0.1", port)))
            if not tried[0]:
                raise Refused
        return bool(tried) and tried[0]

    return look


class Refused(Exception):
    """The client listens, and what it reaches says nothing."""


def another_account(hub: Hub) -> bool:
    """All keys are in one file, which sshd would take for everybody's."""
    return WORD in hub.said("-W", hub.api.place, "", user="daemon")


def a_password(hub: Hub) -> bool:
    return "password" in methods(hub)


def a_question(hub: Hub) -> bool:
    return "keyboard-interactive" in methods(hub)


def methods(hub: Hub) -> list[str]:
    """The ways to log in that there are."""
    said = hub.said("-N", "", PreferredAuthentications="none")
    found = re.search(r"Permission denied \(([a-z,-]+)\)", said)
    assert found, said
    return found[1].split(",")


SESSION = ("MaxSessions", "ForceCommand", "command")
"""Against programs of any kind; with these away, what else stands against one is seen."""
OPPOSITES = {
    "MaxSessions": "10",
    "ForceCommand": "",
    "PermitTTY": "yes",
    "GatewayPorts": "clientspecified",
    "AllowStreamLocalForwarding": "yes",
    "AllowAgentForwarding": "yes",
    "AllowTcpForwarding": "yes",
    "PermitOpen": "any",
    "AllowUsers": "",
    "PasswordAuthentication": "yes",
    "KbdInteractiveAuthentication": "yes",
    "AuthenticationMethods": "",
}
"""Each of sshd's options without which it is as sshd has it, or worse."""
ALLOWED = {"restrict": ""}
ATTEMPTS: list[tuple[Callable[[Hub], bool], tuple[str, ...], tuple[str, ...]]] = [
    # What is tried; the controls that stand against it; those of others that would hide it.
    (a_command, SESSION, ()),
    (a_shell, SESSION, ()),
    (files_by_sftp, (*SESSION, "no subsystem"), ()),
    (a_terminal, ("PermitTTY", "restrict"), SESSION),
    (the_agent, ("AllowAgentForwarding", "restrict"), SESSION),
    (another_port, ("permitlisten",), ()),
    (any_port, ("permitlisten",), ()),
    (every_address, ("permitlisten", "GatewayPorts"), ()),
    (a_socket, ("AllowStreamLocalForwarding",), ()),
    (somebodys_port, ("permitopen", "PermitOpen"), ()),
    (somebodys_socket, ("AllowStreamLocalForwarding", "permitopen", "PermitOpen"), ()),
    (another_account, ("AllowUsers",), ()),
    (a_password, ("PasswordAuthentication", "AuthenticationMethods"), ()),
    (a_question, ("KbdInteractiveAuthentication", "AuthenticationMethods"), ()),
]


def succeeds(attempt: Callable[[Hub], bool], hub: Hub) -> bool:
    try:
        return attempt(hub)
    except Refused:
        return False


@pytest.mark.parametrize(("attempt", "controls", "hidden"), ATTEMPTS, ids=[one[0].__name__ for one in ATTEMPTS])
def test_what_must_not_be(
    hub: Hub,
    attempt: Callable[[Hub], bool],
    controls: tuple[str, ...],
    hidden: tuple[str, ...],
) -> None:
    with hub.open():
        assert not succeeds(attempt, hub)
    for control in controls:
        others = tuple(one for one in controls if one != control)
        with hub.open(without=(*hidden, *others)):
            assert not succeeds(attempt, hub), f"{control} alone stands against it"
    with hub.open(without=(*hidden, *controls)):
        assert succeeds(attempt, hub), "without any control it goes, so the attempt is one"


# -- what it is for --------------------------------------------------------------------------------------------------


def test_the_job_is_reached_and_reaches_the_api(hub: Hub) -> None:
    with hub.open():
        assert hub.tunnel("-R", f"127.0.0.1:{hub.own}:{hub.server.place}", reached=at(hub.own))
        assert WORD in hub.said("-W", hub.api.place, "")


def test_without_the_api_it_can_open_nothing_at_all(hub: Hub) -> None:
    hub.by_tunnel = False
    try:
        for without in (
            (),
            ("permitopen", "PermitOpen"),
            ("permitopen", "AllowTcpForwarding"),
            ("PermitOpen", "AllowTcpForwarding"),
        ):
            with hub.open(without):
                assert WORD not in hub.said("-W", hub.api.place, "")
                assert hub.tunnel("-R", f"127.0.0.1:{hub.own}:{hub.server.place}", reached=at(hub.own))
        with hub.open(("permitopen", "PermitOpen", "AllowTcpForwarding")):
            assert WORD in hub.said("-W", hub.api.place, "")
    finally:
        hub.by_tunnel = True


def test_a_key_that_was_taken_back_is_refused(hub: Hub) -> None:
    with hub.open():
        assert "Authenticated" in hub.said("-W", hub.api.place, "")
        (hub.base / "keys").write_text(gate.keys_file([gate.line(gate.new_key().public, hub.own)]))
        assert "Permission denied (publickey)" in hub.said("-W", hub.api.place, "")


def test_keys_that_others_could_write_to_do_not_count(hub: Hub) -> None:
    with hub.open():
        os.chmod(hub.base / "keys", 0o666)
        assert "Permission denied (publickey)" in hub.said("-W", hub.api.place, "")


@contextmanager
def usual_sshd(hub: Hub, line: str) -> Iterator[None]:
    """As a login node's, where the line alone has to do."""
    sshd = {"Port": str(hub.port), "ListenAddress": "127.0.0.1", "HostKey": str(hub.base / "host"), "UsePAM": "no"}
    sshd |= {"AuthorizedKeysFile": str(hub.base / "keys"), "PidFile": "none", "GatewayPorts": "clientspecified"}
    (hub.base / "config").write_text("".join(f"{keyword} {value}\n" for keyword, value in sshd.items()))
    (hub.base / "keys").write_text(f"{line}\n")
    (hub.base / "keys").chmod(0o644)
    with subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", hub.base / "config"]) as process:
        try:
            soon(lambda: answers("127.0.0.1", hub.port))
            yield
        finally:
            process.terminate()


FORWARD: list[tuple[Callable[[Hub], bool], tuple[str, ...]]] = [
    (a_command, ("command",)),
    (a_shell, ("command",)),
    (a_terminal, ("command", "restrict")),
    (the_agent, ("command", "restrict")),
    (another_port, ("permitlisten",)),
    (every_address, ("permitlisten",)),
    (somebodys_port, ("permitopen",)),
    (somebodys_socket, ("permitopen",)),
]


@pytest.mark.parametrize(("attempt", "controls"), FORWARD, ids=[one[0].__name__ for one in FORWARD])
def test_the_other_direction_opens_servers_and_nothing_else(
    hub: Hub, attempt: Callable[[Hub], bool], controls: tuple[str, ...]
) -> None:
    line = gate.forward_line(hub.key.public, [Place("127.0.0.1", hub.server.port)], "demo")

    def without(*gone: str) -> str:
        options, _, rest = line.partition(" ")
        kept = [one for one in options.split(",") if one.partition("=")[0] not in gone]
        return f"{','.join(kept)} {rest}"

    with usual_sshd(hub, line):
        assert WORD in hub.said("-W", hub.server.place, "")
        assert not succeeds(attempt, hub)
    for control in controls:
        with usual_sshd(hub, without(*(one for one in controls if one != control))):
            assert not succeeds(attempt, hub), f"{control} alone stands against it"
    with usual_sshd(hub, without(*controls)):
        assert succeeds(attempt, hub), "without any control it goes, so the attempt is one"

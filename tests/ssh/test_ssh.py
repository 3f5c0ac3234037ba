"""Work on a machine over SSH, with a real sshd and the system's client."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from sshd import Reach, Server

import hubfleet
import needs
from hubfleet import parcel
from hubfleet.agent.lock import hold
from hubfleet.errors import ApplyError, CheckError, LockedError, UnreachableError
from hubfleet.machines import LocalMachine, Machine, ssh
from hubfleet.resources import Directory, File, Resource
from hubfleet.unixhttp import Refused
from waiting import soon

pytestmark = [
    needs.root(),
    needs.command("ssh", package="openssh-client"),
    needs.command("/usr/sbin/sshd", package="openssh-server"),
    needs.command("sudo"),
]

WORD = "canary-7b1c9"


def test_several_are_connected_to_at_once_and_asked_afterwards(reach: Reach, monkeypatch: pytest.MonkeyPatch) -> None:
    both, made = threading.Barrier(2), []
    connection = ssh.Connection

    def connect(*words: Any) -> Any:
        both.wait(20)  # passes only when both are on their way
        made.append(words)
        return connection(*words)

    monkeypatch.setattr(ssh, "Connection", connect)
    machines = [reach(), reach()]
    for machine in machines:
        machine.open()
    assert [machine.facts()["user"] for machine in machines] == ["root", "root"]
    assert len(made) == 2


def test_what_goes_wrong_while_it_connects_is_told_to_who_asks(reach: Reach) -> None:
    machine = reach("root", "stranger")
    machine.open()
    for _ in range(2):  # the second time it tries again
        with pytest.raises(UnreachableError, match="hub1"):
            machine.facts()


def resources(base: Path) -> list[Resource]:
    return [
        Directory(str(base / "dir"), owner="root", group="root", mode=0o755),
        File(str(base / "dir" / "secret"), content=WORD, secret=True, mode=0o600),
    ]


def settle(machine: Machine, wanted: list[Resource], said: list[str]) -> list[bool]:
    """Have a machine become as wanted, one change at a time."""
    made = []
    for resource in wanted:
        change = resource.diff(machine.observe([resource])[resource.id])
        made.append(change is not None and machine.apply(change, said.append))
    return made


def test_it_sees_and_changes_what_a_local_machine_would(reach: Reach, tmp_path: Path) -> None:
    far, near, wanted = reach(), LocalMachine(), resources(tmp_path)
    assert far.observe(wanted) == near.observe(wanted) == {one.id: None for one in wanted}
    assert settle(far, wanted, []) == [True, True]
    assert (tmp_path / "dir" / "secret").read_text() == WORD
    assert far.observe(wanted) == near.observe(wanted)
    assert settle(far, wanted, []) == [False, False]


def test_no_secret_goes_over_to_look(reach: Reach, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far, wanted, sent = reach(), resources(tmp_path), []
    send = ssh.Connection._send
    monkeypatch.setattr(ssh.Connection, "_send", lambda self, data: (sent.append(data), send(self, data))[1])
    far.observe(wanted)
    assert WORD.encode() not in b"".join(sent)
    assert b"dir/secret" in b"".join(sent)
    settle(far, wanted, [])
    assert WORD.encode() in b"".join(sent)
    far.observe(wanted)
    assert WORD.encode() not in sent[-1]


def test_the_machine_is_told_with_its_facts(reach: Reach) -> None:
    facts = reach().facts()
    assert facts["user"] == "root"
    assert facts["hostname"] == os.uname().nodename
    assert facts["system"] in Path("/etc/os-release").read_text()


def test_what_fails_there_fails_here_in_the_same_words(reach: Reach, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    wanted = [resources(tmp_path / "missing")[1], Directory(str(tmp_path / "taken"))]
    for resource, kind in zip(wanted, (ApplyError, CheckError), strict=True):
        change = resource.diff(None)
        assert change is not None
        errors = []
        for machine in (reach(), LocalMachine()):
            with pytest.raises(kind) as error:
                machine.apply(change, print)
            errors.append(str(error.value))
        assert errors[0] == errors[1]


def test_no_secret_is_on_a_command_line(reach: Reach, tmp_path: Path) -> None:
    machine, seen, over = reach(), set(), threading.Event()
    machine.facts()

    def look() -> None:
        while not over.is_set():
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(entry.read_bytes())
                except OSError:
                    continue  # it has just ended

    watching = threading.Thread(target=look)
    watching.start()
    settle(machine, resources(tmp_path), [])
    over.set()
    watching.join()
    assert any(b"hubfleet" in line and b"memfd_create" in line for line in seen), "the agent was seen"
    own = Path(f"/proc/{os.getpid()}/cmdline").read_bytes()
    assert not [line for line in seen - {own} if WORD.encode() in line]


# -- the lock ---------------------------------------------------------------------------------------------------------


def test_one_operator_at_a_time(reach: Reach, tmp_path: Path) -> None:
    first, second = reach(), reach()
    with first.hold(str(tmp_path)) as holder:
        assert holder.user == "root"
        with pytest.raises(LockedError, match=r"root .* is changing this hub now"), second.hold(str(tmp_path)):
            pass
        second.observe(resources(tmp_path))  # looking is free
    with second.hold(str(tmp_path)):
        assert not free(tmp_path)
    with first.hold(str(tmp_path)):
        first.close()
        soon(lambda: free(tmp_path))


def test_a_lock_is_free_after_a_failure(reach: Reach, tmp_path: Path) -> None:
    machine = reach()
    with pytest.raises(CheckError), machine.hold(str(tmp_path)):
        raise CheckError("something else")
    assert free(tmp_path)
    assert machine.facts()


def test_small_files_and_sockets_are_asked_for_as_on_this_machine(reach: Reach, tmp_path: Path) -> None:
    for store in (reach().store, LocalMachine().store):
        place = tmp_path / type(store).__name__
        assert store.read(str(place / "a")) is None
        assert store.names(str(place)) == []
        assert store.pointed(str(place / "link")) is None
        store.make_directory(str(place), 0o711)
        assert place.stat().st_mode & 0o777 == 0o711
        store.write(str(place / "a"), WORD)
        assert (store.read(str(place / "a")), (place / "a").stat().st_mode & 0o777) == (WORD, 0o600)
        store.make_folder(str(place / "new"), {"one": "1", "two": "2"})
        store.point(str(place / "link"), "a")
        store.point(str(place / "link"), "new")
        assert store.pointed(str(place / "link")) == "new"
        assert store.names(str(place)) == ["a", "link", "new"]
        store.remove(str(place / "link"))
        store.remove(str(place / "new"))
        store.remove(str(place / "new"))
        assert store.names(str(place)) == ["a"]
        with pytest.raises(FileNotFoundError):
            store.write(str(place / "nowhere" / "a"), "")


def test_sockets_there_are_asked(reach: Reach, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    said = {"path": "/a?b", "token": "token x", "body": {"c": 1}}
    with answering(path):
        for machine in (reach(), LocalMachine()):
            assert machine.request(path, "POST", "/a?b", {"c": 1}, "x", 5.0) == said
            with pytest.raises(Refused, match="not you") as refused:
                machine.request(path, "GET", "/refused", None, None, 5.0)
            assert refused.value.status == 403
    for machine in (reach(), LocalMachine()):
        with pytest.raises(ConnectionRefusedError):
            machine.request(path, "GET", "/", None, None, 5.0)


@contextmanager
def answering(path: str) -> Iterator[None]:
    """An HTTP server on a Unix socket that says what it was asked, and refuses at /refused."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(403, {"message": "not you"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(200, {"path": self.path, "token": self.headers["Authorization"], "body": body})

        def answer(self, status: int, told: dict[str, object]) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(told).encode())

        def log_message(self, *words: object) -> None:
            """Quietly."""

    class Server(socketserver.UnixStreamServer):
        def get_request(self) -> tuple[socket.socket, object]:
            connection, _ = super().get_request()
            return connection, ("somebody", 0)

    with Server(path, Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


def free(directory: Path) -> bool:
    try:
        with hold(directory):
            return True
    except LockedError:
        return False


def test_an_operator_who_is_killed_leaves_no_lock(server: Server, tmp_path: Path) -> None:
    program = (
        "import sys, time; from hubfleet.machines import SSHMachine; "
        "held = SSHMachine('hub1', 'root@127.0.0.1', sys.argv[2:]).hold(sys.argv[1]); held.__enter__(); "
        "print('held', flush=True); time.sleep(99)"
    )
    command = [sys.executable, "-c", program, str(tmp_path), *server.options()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as operator:
        assert operator.stdout is not None
        assert operator.stdout.readline() == "held\n"
        assert not free(tmp_path)
        operator.kill()
    soon(lambda: free(tmp_path))


def test_an_operator_of_whom_nothing_is_heard_leaves_no_lock(
    reach: Reach, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "hubfleet"
    shutil.copytree(Path(hubfleet.__file__).parent, package)
    changed = package / "agent" / "serve.py"
    changed.write_text(changed.read_text().replace("SILENCE_S = 60.0", "SILENCE_S = 0.5"))
    impatient = parcel.packed(package)
    monkeypatch.setattr(parcel, "parcel", lambda: impatient)
    machine = reach()  # whose own signs of life are a quarter of the usual limit apart
    with machine.hold(str(tmp_path)):
        soon(lambda: free(tmp_path))
        with pytest.raises(UnreachableError, match="hub1: the connection was lost"):
            machine.facts()


# -- ways that do not lead there ---------------------------------------------------------------------------------------


def reason(reach: Reach, *how: str) -> str:
    with pytest.raises(UnreachableError) as error:
        reach(*how).facts()
    assert error.value.exit_code == 8
    assert "Nothing was changed there" in str(error.value)
    return str(error.value)


def test_an_unknown_host_key_is_not_accepted(reach: Reach, server: Server) -> None:
    known = server.base / "known_hosts"
    kept = known.read_text()
    known.write_text("")
    try:
        assert "hub1: its host key is not known here" in reason(reach)
        careless = reason(reach, "root", "user", "-o", "StrictHostKeyChecking=no")
        assert "its host key is not known here" in careless, "not even where ssh is told to be careless"
        assert known.read_text() == ""
    finally:
        known.write_text(kept)


def test_a_changed_host_key_is_told_as_such(reach: Reach, server: Server) -> None:
    server.start("other_host")
    try:
        assert "its host key is not the one that is known" in reason(reach)
    finally:
        server.start("host")


def test_a_key_that_is_not_let_in(reach: Reach) -> None:
    assert "does not let us in" in reason(reach, "root", "stranger")


def test_nobody_at_the_port_and_no_such_name(reach: Reach, server: Server) -> None:
    server.stop()
    try:
        assert "nothing answers at its SSH port" in reason(reach)
    finally:
        server.start("host")
    assert "there is no such name" in reason(reach, "root", "user", "-o", "HostName=nowhere.invalid")


def test_an_account_without_sudo_rights(reach: Reach, account: str) -> None:
    assert "sudo" in reason(reach, account)


def test_an_account_with_sudo_rights_works_as_root(reach: Reach, account: str, sudoer: None, tmp_path: Path) -> None:
    machine = reach(account)
    assert machine.facts()["user"] == "root"
    assert settle(machine, resources(tmp_path), []) == [True, True]


def programs(account: str, **scripts: str) -> None:
    """Have the account's shell know these programs only, and those that every shell script needs."""
    home = Path(pwd.getpwnam(account).pw_dir)
    folder = home / "programs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in ("sh", "id"):
        (folder / name).symlink_to(f"/usr/bin/{name}")
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    (home / ".bashrc").write_text(f"PATH={folder}\n")


def test_a_machine_that_lacks_something_says_what(reach: Reach, account: str) -> None:
    programs(account)
    assert "hub1: it has no python3." in reason(reach, account)
    programs(account, python3="exit 1")
    assert "is not root, and there is no sudo" in reason(reach, account)
    programs(account, python3="exit 1", sudo="exit 1")
    assert "sudo asks for a password there" in reason(reach, account)
    # what an old Python makes of the first lines
    old = "import sys; sys.version_info = (3, 6); exec(sys.argv[-1])"
    programs(
        account, python3=f"exec /usr/bin/python3 -c '{old}' \"$@\"", sudo='[ "$2" = true ] || { shift; exec "$@"; }'
    )
    assert "hub1: it has Python 3.6 only. " in reason(reach, account)


def test_what_a_shell_says_first_does_no_harm(reach: Reach, account: str, sudoer: None) -> None:
    home = Path(pwd.getpwnam(account).pw_dir)
    (home / ".bashrc").write_text("echo Welcome to the machine; echo; printf 'no newline at the end'\n")
    assert reach(account).facts()["user"] == "root"


def test_the_address_is_the_one_that_ssh_would_connect_to(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("Host hub1\n    HostName 203.0.113.10\n    User ubuntu\n")
    options = ("-F", str(tmp_path / "config"))
    for destination, address in (
        ("hub1", "203.0.113.10"),
        ("root@hub1", "203.0.113.10"),
        ("ssh://root@hub1:2222", "203.0.113.10"),
        ("root@hub2.example.edu", "hub2.example.edu"),
    ):
        assert ssh.SSHMachine("hub1", destination, options).address == address


def test_the_network_is_asked_from_there(reach: Reach) -> None:
    far = reach()
    with socket.create_server(("127.0.0.1", 0)) as open_port:
        port = open_port.getsockname()[1]
        assert far.probe(["localhost"], [("127.0.0.1", port)])["targets"] == {f"127.0.0.1:{port}": ""}
    with pytest.raises(ConnectionRefusedError):
        far.certificate("127.0.0.1", port, "localhost")

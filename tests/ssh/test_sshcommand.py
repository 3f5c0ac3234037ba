"""A command begins to connect with its first lines, where an earlier one has been with the same file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from sshd import Reach, Server

import needs
from command import run
from hubfleet import sshcommand
from waiting import soon

pytestmark = [
    needs.root(),
    needs.command("ssh", package="openssh-client"),
    needs.command("/usr/sbin/sshd", package="openssh-server"),
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    for started, sending in sshcommand._ahead.values():
        sending.join()
        started.process.kill()
        started.process.communicate()
    sshcommand._ahead.clear()


@pytest.fixture
def file(tmp_path: Path, server: Server) -> Path:
    """A configuration that a command was given before."""
    path = tmp_path / "hubfleet.yaml"
    path.write_text("hub: demo\n")
    sshcommand.remember(path, None, [("root@127.0.0.1", server.options())])
    return path


def clients() -> set[int]:
    """The ssh processes that this one has started."""
    return {child.pid for child in psutil.Process().children() if child.name() == "ssh"}


def test_what_was_begun_is_what_the_machine_is_asked_by(file: Path, reach: Reach) -> None:
    before = clients()
    sshcommand.begin_ahead(["-c", str(file), "status"])
    begun = clients() - before
    assert len(begun) == 1
    assert reach().facts()["user"] == "root"
    assert clients() - before == begun
    assert not sshcommand._ahead


def test_the_next_machine_that_is_asked_has_a_connection_of_its_own(file: Path, reach: Reach) -> None:
    sshcommand.begin_ahead(["-c", str(file), "status"])
    assert [reach().facts()["user"] for _ in range(2)] == ["root", "root"]


@pytest.mark.parametrize(
    "words", [["-c", "FILE", "plan"], ["--config=FILE", "up", "--yes"], ["--debug", "--config", "FILE", "users"]]
)
def test_it_begins_where_a_command_will_connect(file: Path, words: Sequence[str]) -> None:
    sshcommand.begin_ahead([word.replace("FILE", str(file)) for word in words])
    assert len(sshcommand._ahead) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["-c", "FILE", "schema"],
        ["-c", "FILE", "up", "--help"],
        ["-c", "FILE"],
        ["-c", "FILE", "-H", "other", "status"],
        ["-c", "elsewhere.yaml", "status"],
        ["-c"],
        [],
    ],
)
def test_it_begins_nothing_that_nobody_asked_for(file: Path, words: Sequence[str]) -> None:
    sshcommand.begin_ahead([word.replace("FILE", str(file)) for word in words])
    assert not sshcommand._ahead


def test_a_file_that_was_changed_is_read_first(file: Path) -> None:
    file.write_text("hub: demo\nmachines: {}\n")
    sshcommand.begin_ahead(["-c", str(file), "status"])
    assert not sshcommand._ahead


def test_a_note_that_cannot_be_read_is_as_good_as_none(file: Path, tmp_path: Path) -> None:
    (note,) = (tmp_path / "cache" / "hubfleet").iterdir()
    for text in ("", "[]", '{"file": 1}'):
        note.write_text(text)
        sshcommand.begin_ahead(["-c", str(file), "status"])
    assert not sshcommand._ahead


def test_what_cannot_be_noted_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    (tmp_path / "hubfleet.yaml").touch()
    sshcommand.remember(tmp_path / "hubfleet.yaml", None, [("root@127.0.0.1", ())])


def test_a_command_notes_where_it_went_and_the_next_needs_no_reading_for_that(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = f"Host far\n  HostName 127.0.0.1\n  Port {server.port}\n  User root\n  IdentityFile {server.base}/user\n"
    (tmp_path / "ssh_config").write_text(
        f"{config}  IdentitiesOnly yes\n  UserKnownHostsFile {server.base}/known_hosts\n"
    )
    machine = "{ssh: far, ssh_config: ssh_config}"
    file = tmp_path / "hubfleet.yaml"
    file.write_text(
        f"hub: demo\nengine: docker\nmachines: {{hub1: {machine}}}\nlogin: {{password: file}}\nhttps: self-signed\n"
    )
    done = run(tmp_path, "status")
    assert done.code == 0, done.err
    (note,) = (tmp_path / ".cache" / "hubfleet").iterdir()
    assert note.parent.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    sshcommand.begin_ahead(["-c", str(file), "status"])
    ((destination, options),) = sshcommand._ahead
    assert (destination, options) == ("far", ("-F", str(tmp_path / "ssh_config")))


def test_an_agent_that_nobody_sends_ends_without_a_word(server: Server) -> None:
    started = sshcommand._start("root@127.0.0.1", server.options())
    assert started.process.communicate(timeout=20)[0] == b""
    assert started.process.returncode == 0
    started.errors.seek(0)
    assert started.errors.read() == b""


def test_a_command_that_ends_early_leaves_no_connection(file: Path, server: Server) -> None:
    code = f"from hubfleet.sshcommand import begin; begin([('root@127.0.0.1', {server.options()!r})])"
    subprocess.run([sys.executable, "-c", code], check=True)
    soon(
        lambda: (
            not [one for one in psutil.process_iter(["cmdline"]) if str(server.port) in (one.info["cmdline"] or [])]
        ),
        20,
    )

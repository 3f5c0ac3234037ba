"""An engine's settings are added to and taken up, on an engine of this file only. Installing one needs a machine."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from converging import converge, look

import needs
from hubfleet.agent import docker, dockerengine
from hubfleet.agent.docker import Engine
from hubfleet.errors import CheckError
from hubfleet.resources import DockerEngine
from waiting import soon

pytestmark = [
    needs.root(),
    needs.command("dockerd", package="docker.io"),
    needs.command("iptables"),
    needs.command("nft", package="nftables"),
]
WANTED = DockerEngine()


class Private:
    """An engine with a directory and a network namespace of its own: in the machine's, it would take away the bridge
    of the one that the other tests use."""

    def __init__(self, place: Path) -> None:
        self.settings, self.socket = place / "etc" / "daemon.json", place / "sock"
        self.settings.parent.mkdir()
        self.settings.write_text('{"log-level": "warn", "labels": ["site=here"]}')
        self.settings.chmod(0o640)
        places = ["--data-root", place / "data", "--exec-root", place / "run", "--pidfile", place / "pid"]
        apart = ["--bridge", "none", "--iptables=false", "--ip6tables=false"]
        command = [
            "unshare",
            "--net",
            "dockerd",
            *places,
            *apart,
            "--host",
            f"unix://{self.socket}",
            "--config-file",
            self.settings,
        ]
        with (place / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


@pytest.fixture
def private() -> Iterator[Private]:
    # not below pytest's own folder: names of sockets must be short
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        made = Private(Path(folder))
        patched.setenv("DOCKER_HOST", f"unix://{made.socket}")
        patched.setattr(dockerengine, "SETTINGS", made.settings)
        patched.setattr(dockerengine, "PID_FILE", Path(folder) / "pid")
        patched.setattr(dockerengine, "SYSTEMD", Path(folder) / "none")
        try:
            soon(Engine().running, 60)
            yield made
        finally:
            made.end()


def test_live_restore_is_added_to_the_settings_and_taken_up_while_the_engine_runs(private: Private) -> None:
    change = WANTED.diff(look(WANTED))
    assert change
    assert (change.action, change.detail) == ("update", ("containers go on while it is restarted (live-restore)",))
    assert change.impact == ""
    assert converge(WANTED)
    settings = json.loads(private.settings.read_text())
    assert settings == {"log-level": "warn", "labels": ["site=here"], "live-restore": True}
    assert private.settings.stat().st_mode & 0o777 == 0o640
    assert private.process.poll() is None
    assert Engine().get("/info")["LiveRestoreEnabled"] is True
    assert converge(WANTED) is None


def test_settings_that_are_no_json_are_left_alone(private: Private) -> None:
    private.settings.write_text("# later\n{}")
    with pytest.raises(CheckError, match=r"daemon.json is not a JSON object.*It was left as it is"):
        converge(WANTED)
    assert private.settings.read_text() == "# later\n{}"


def test_settings_that_the_engine_lost_since_are_taken_up_again(private: Private) -> None:
    """The file is right already: an engine that was killed before it could read it."""
    private.settings.write_text('{"live-restore": true}')
    assert converge(WANTED)
    assert private.settings.read_text() == '{"live-restore": true}'


def test_one_that_does_not_run_is_started_and_none_is_installed(
    private: Private, monkeypatch: pytest.MonkeyPatch
) -> None:
    private.end()
    change = WANTED.diff(look(WANTED))
    assert change
    assert change.action == "start"
    monkeypatch.setattr(docker, "installed", lambda: False)
    monkeypatch.setattr(dockerengine, "installed", lambda: False)
    change = WANTED.diff(look(WANTED))
    assert change
    assert change.action == "create"

"""Commands for a hub on a machine of the lab, as an operator types them."""

from __future__ import annotations

import json
import shlex
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import dockerd
from harness import RunningHub
from machines import Machine

import command
from hubfleet.cli import talk
from hubfleet.cli.begin import open_deployment
from hubfleet.cli.reading import Options
from hubfleet.layout import ROOT_BASE


def write_ssh_config(folder: Path, machine: Machine) -> dict[str, str]:
    """What ssh has to know, and how a configuration says that the machine is reached."""
    options = machine.options()
    pairs = [option.replace("=", " ", 1) for word, option in pairwise(options) if word == "-o"]
    key = options[options.index("-i") + 1]
    (folder / "ssh_config").write_text("\n".join(["Host *", f"IdentityFile {key}", *pairs]) + "\n")
    return {"ssh": f"root@{machine.address}", "ssh_config": "ssh_config"}


def write_files(folder: Path, machine: Machine, **settings: Any) -> None:
    """A hubfleet.yaml for a hub on this machine, and what ssh has to know for it. None takes a setting out."""
    reached = write_ssh_config(folder, machine)
    told = {
        "hub": "lab",
        "engine": "docker",
        "machines": {machine.name: reached},
        "base_image": dockerd.BASE,
        "https": "self-signed",
        **settings,
    }
    given = {key: value for key, value in told.items() if value is not None}
    (folder / "hubfleet.yaml").write_text(json.dumps(given))  # which is YAML too


def findings(folder: Path, *options: str) -> dict[str, list[str]]:
    """What `hubfleet check` says, by level."""
    done = command.run(folder, *options, "check", "--json")
    assert done.out, done.err
    found: dict[str, list[str]] = {"ok": [], "note": [], "problem": []}
    for finding in json.loads(done.out)["findings"]:
        found[finding["level"]].append(finding["text"])
    assert done.code == (3 if found["problem"] else 0), done.err
    return found


def serve(machine: Machine, port: int, name: str) -> None:
    """Have a program of this name listen on a port there, until the machine ends."""
    program = f"import socket, time; s = socket.create_server(('', {port})); time.sleep(9999)"
    place = f"/usr/local/bin/{name}"
    machine.run(f"cp $(readlink -f $(command -v python3)) {place}")
    machine.run(f"systemd-run --quiet --unit {name} {place} -c {shlex.quote(program)}")


def ask_hub(folder: Path, method: str, target: str) -> Any:
    """The answer of the hub's REST API to hubfleet itself."""
    deployment = open_deployment(Options(folder / "hubfleet.yaml"))
    try:
        return talk.ask_hub(deployment, method, target)
    finally:
        deployment.machine.close()


class HubThere(RunningHub):
    """A hub on a machine of the lab, deployed from the folder over SSH; spoken to without HTTPS, at its address."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine, self.folder, self.as_user, self.name = machine, folder, None, "lab"
        self.base, self.python = ROOT_BASE, Path(sys.executable)
        self.url = f"http://{machine.address}:8000"
        self.homes = self.state / "homes"

    def write(self, settings: str = "", **given: Any) -> None:
        listen = {"address": "0.0.0.0", "port": 8000}
        write_files(self.folder, self.machine, https="off", listen=listen, login={"password": "file"}, **given)

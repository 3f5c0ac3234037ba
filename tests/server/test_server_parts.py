"""How the hub's parts are confined, as the engine there and they themselves see it.

Each look is also had at a plain container of the same image: one that finds nothing different proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from deployed import PARTS, Server

import needs
from hubfleet.resources.dockerengine import SOCKET
from waiting import soon

pytestmark = needs.machines(1500)

CAPABILITIES = {"homes": {"CHOWN", "DAC_OVERRIDE", "FOWNER"}, "launcher": {"CHOWN", "DAC_OVERRIDE"}}
CONFINED = {
    "restarted": "always",
    "log": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
    "root is written to": False,
    "dropped": ["ALL"],
    "no new privileges": True,
    "ended with its children": True,
    "health": "healthy",
}
OPEN = {"privileged": False, "processes": "", "users": "", "network of the machine": False, "devices": []}
"""What a plain container has as well."""


def confinement(found: dict[str, Any]) -> dict[str, Any]:
    host, state = found["HostConfig"], found["State"]
    return {
        "restarted": host["RestartPolicy"]["Name"],
        "log": host["LogConfig"],
        "root is written to": not host["ReadonlyRootfs"],
        "dropped": host["CapDrop"] or [],
        "no new privileges": "no-new-privileges:true" in (host["SecurityOpt"] or []),
        "ended with its children": bool(host.get("Init")),
        "health": state.get("Health", {}).get("Status", ""),
    }


def openness(found: dict[str, Any]) -> dict[str, Any]:
    host = found["HostConfig"]
    return {
        "privileged": host["Privileged"],
        "processes": host["PidMode"],
        "users": host["UsernsMode"],
        "network of the machine": host["NetworkMode"] == "host",
        "devices": host["Devices"] or [],
    }


def added(found: dict[str, Any]) -> set[str]:
    return {name.removeprefix("CAP_") for name in found["HostConfig"]["CapAdd"] or []}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_may_what_it_needs(server: Server, part: str) -> None:
    container = server.container(part)
    soon(lambda: confinement(server.inspect(container)[0])["health"] == "healthy", 60)
    (found,) = server.inspect(container)
    assert confinement(found) == CONFINED
    assert openness(found) == OPEN
    assert added(found) == CAPABILITIES.get(part, set())
    assert (found["Config"]["User"] == "0:0") == (part in CAPABILITIES)
    assert bool(found["HostConfig"]["PortBindings"]) == (part == "edge")
    networks = {"hub": f"hubfleet-{server.name}", "edge": f"hubfleet-{server.name}"}
    assert found["HostConfig"]["NetworkMode"] == networks.get(part, "none")
    assert "Read-only file system" in touched(server, container)

    with plain(server, found["Config"]["Image"]) as other:
        confined = confinement(server.inspect(other)[0])
        assert [name for name in CONFINED if confined[name] == CONFINED[name]] == []
        assert touched(server, other) == ""


def root(server: Server, container: str) -> str:
    """Where the machine's root sees a container's files as that does: no owner or mode keeps it out."""
    return f"/proc/{server.inspect(container)[0]['State']['Pid']}/root"


def touched(server: Server, container: str) -> str:
    return server.machine.run("touch", f"{root(server, container)}/x", check=False)


def engines(server: Server, container: str) -> list[str]:
    """Sockets of an engine that a container sees, by name: `find` takes a mounted one for the file that it covers."""
    names = "-name '*docker*.sock' -o -name '*containerd*.sock*'"
    look = f"find {root(server, container)}/ \\( -path '*/root/proc' -o -path '*/root/sys' \\) -prune -o "
    return server.machine.run(f"{look} \\( {names} \\) -print").split()


@contextmanager
def plain(server: Server, image: str, *options: str) -> Iterator[str]:
    """A container of that image as anybody would start it."""
    words = ("run", "--detach", "--name", "plain", "--network", "none", *options, "--entrypoint", "sleep", image, "600")
    server.machine.docker(*words)
    try:
        yield "plain"
    finally:
        server.machine.docker("rm", "--force", "plain")


@pytest.mark.parametrize("part", [part for part in PARTS if part != "launcher"])
def test_the_engine_is_in_nobodys_sight(server: Server, part: str) -> None:
    container = server.container(part)
    assert engines(server, container) == []
    image = server.inspect(container)[0]["Config"]["Image"]
    with plain(server, image, "--volume", f"{SOCKET}:{SOCKET}") as other:
        assert [path.rpartition("/")[2] for path in engines(server, other)] == ["docker.sock"]


def test_but_in_the_launchers(server: Server) -> None:
    server.machine.docker("exec", server.container("launcher"), "test", "-S", SOCKET)

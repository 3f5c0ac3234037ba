"""What gets through between machines of the lab, by what arrives."""

from __future__ import annotations

from pathlib import Path

from machines import Machine

from hubfleet import fleetchecks
from hubfleet.checks import failures
from hubfleet.cli.begin import open_deployment
from hubfleet.cli.reading import Options
from hubfleet.machines import SSHMachine

MEMBERS = ("tcp/7946", "udp/7946", "udp/4789")
"""What members of a swarm say to each other."""


def connects(source: Machine, target: Machine, port: int, at: str = "") -> bool:
    """Whether a connection is made, or refused by the machine itself for want of who listens."""
    line = f"import socket; socket.create_connection(('{at or target.address}', {port}), 3)"
    said = source.run("python3", "-c", line, check=False)
    return said == "" or "Connection refused" in said


def arrives(source: Machine, target: Machine, *whats: str, private: bool = False) -> set[str]:
    """What of this arrives, by the kernel of the one that it is sent to. ``private``: sent to its private address."""
    there, here = (SSHMachine(one.name, f"root@{one.address}", one.options()) for one in (target, source))
    to, by = (target.private, source.private) if private else (target.address, source.address)
    try:
        there.listen("mark")
        here.call("mark", by, [(to, what) for what in whats])
        return set(whats) - {what for _, what, *_ in there.heard([(by, what) for what in whats])}
    finally:
        there.close()
        here.close()


def closed(folder: Path) -> list[str]:
    """Which ways that a fleet needs are not open, as tried between its machines. ``folder``: of its file."""
    deployment = open_deployment(Options(folder / "hubfleet.yaml"))
    reached = {deployment.machine.name: deployment.machine, **deployment.others}
    try:
        openings = deployment.engine.openings(deployment.config, deployment.site)
        found = fleetchecks.ways(openings, deployment.site.addresses, reached)
        return [one.text for one in found if one in failures(found) or "has let in" in one.text]
    finally:
        for one in reached.values():
            one.close()

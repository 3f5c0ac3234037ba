"""Where things are in the network between machines, and what it and the machines are called."""

from __future__ import annotations

import hashlib

from hubfleet.engines import contained

HUB_PORT, DOOR_PORT, PROBE_PORT, SERVER_PORT = 8081, 7446, 7447, 8888
"""Where hub, launcher and servers listen; at the launcher's address nothing answers servers at the probe's."""

WAY_OUT = "docker_gwbridge"
"""The bridge of each machine by which what is on the network between machines reaches the outside. The engine makes it
when the machine joins, and lets nothing on it reach each other; all hubs of the machine share it."""

_LONGEST = 20

WORKER, DRAINED, MACHINE = "worker", "drained", "machine"
"""What a hub's labels of a machine tell: that it has users' servers; that it gets no more of them; what it is called in
the file. One that is missing tells nothing of that. Each hub of a swarm has labels of its own, see `label`."""
YES = "yes"


def label(hub: str, what: str) -> str:
    """The whole name of a label."""
    return f"hubfleet.{hub}.{what}"


def fleet_network(hub: str) -> str:
    """The network between the machines, on which the hub's parts and users' servers find each other."""
    return f"hubfleet-{called(hub)}-fleet"


def name_of(hub: str, server: str) -> str:
    """The service of a user's server; what else of its own it has is called so too, with an ending."""
    return contained.name_of(called(hub), server)


def called(hub: str) -> str:
    """A hub's name, as names in a swarm have it: a secret's has 64 characters at most, and a network's has no dots.

    No hub's own name has an underscore, so this is nobody else's.
    """
    plain = hub.replace(".", "_")
    if len(plain) <= _LONGEST:
        return plain
    return f"{plain[: _LONGEST - 9]}_{hashlib.sha256(hub.encode()).hexdigest()[:8]}"

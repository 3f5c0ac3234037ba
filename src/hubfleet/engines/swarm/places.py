"""Where things are in the network between machines, and what it is called."""

from __future__ import annotations

HUB_PORT, DOOR_PORT, PROBE_PORT, SERVER_PORT = 8081, 7446, 7447, 8888
"""Where hub, launcher and servers listen; at the launcher's address nothing answers servers at the probe's."""

WAY_OUT = "docker_gwbridge"
"""The bridge of each machine by which what is on the network between machines reaches the outside. The engine makes it
when the machine joins, and lets nothing on it reach each other; all hubs of the machine share it."""


def fleet_network(hub: str) -> str:
    """The network between the machines, on which the hub's parts and users' servers find each other."""
    return f"hubfleet-{hub}-fleet"

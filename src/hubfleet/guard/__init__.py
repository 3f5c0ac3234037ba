"""The guard: on a network that spans machines, users' servers reach the hub and nobody else.

One runs on each machine, in a container on that network, and keeps rules in force in the network's own namespace there,
where everything passes that goes to or comes from a container of the machine. The rules stay when the guard ends.
"""

from collections.abc import Iterable, Sequence

CAPABILITIES = ("NET_ADMIN", "SYS_ADMIN")
"""To set rules, and to enter another namespace to do so."""
NAMESPACES = "/run/docker/netns"
"""Where the engine keeps network namespaces; the guard's container sees them at the same path."""


def command(python: str, subnet: str, doors: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    """The program of the guard's container. ``doors``: addresses and TCP ports of the hub that servers may reach."""
    opened = [word for address, port in doors for word in ("--open", f"{address}:{port}")]
    return (python, "-m", "hubfleet.guard.daemon", *opened, subnet)


def health(python: str) -> Sequence[str]:
    """What tells, by its exit code and in words, whether the rules are in force."""
    return (python, "-m", "hubfleet.guard.health")

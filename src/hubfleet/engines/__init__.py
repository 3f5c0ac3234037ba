"""Ways to run users' servers. This registry is the only place outside the engines' folders that names one."""

from __future__ import annotations

from hubfleet.engines.base import Engine


def engine(name: str) -> Engine:
    """The engine of this name. Raises KeyError; the configuration admits only names that are here."""
    if name == "docker":  # each brings along what only it needs
        from hubfleet.engines.docker.engine import DockerEngine

        return DockerEngine()
    if name == "swarm":
        from hubfleet.engines.swarm.engine import SwarmEngine

        return SwarmEngine()
    from hubfleet.engines.local.engine import LocalEngine

    return {"local": LocalEngine}[name]()

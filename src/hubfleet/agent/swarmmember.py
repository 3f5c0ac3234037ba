"""Has this machine join a swarm as a worker, and leave it."""

from __future__ import annotations

import socket
from pathlib import Path

from hubfleet.agent import swarm
from hubfleet.agent.base import Progress
from hubfleet.agent.docker import Engine, observed_of
from hubfleet.errors import ApplyError
from hubfleet.resources.base import Action, Change, Observed
from hubfleet.resources.swarmmember import SwarmMember

LOOK_LIMIT_S = 5.0
_joined: set[str] = set()
"""The ids under which this process has joined: what the manager told before does not have them."""
_AUTHORITY = "swarm/certificates/swarm-root-ca.crt"
"""Below the engine's data: whose certificates the machines of its swarm have."""


def observe(member: SwarmMember) -> Observed | None:
    return observed_of(_look, member)


def _look(engine: Engine, member: SwarmMember) -> Observed | None:
    found = swarm.look(engine, member.name)
    if found is not None:
        found["same"] = _same(Path(engine.get("/info")["DockerRootDir"]) / _AUTHORITY, member.manager_address)
        found["known"] = not member.nodes or found["node"] in {*member.nodes, *_joined}
    return found


def _same(authority: Path, address: str) -> bool:
    """Whether the manager that answers there is of our own swarm: a swarm made anew at the same address has another
    authority, and a machine of the earlier one would go on asking it for ever. What does not answer says nothing."""
    import ssl  # takes its time, and most machines are in no swarm

    context = ssl.create_default_context()
    context.check_hostname = False  # its name is the node's id
    try:
        context.load_verify_locations(authority)
        with socket.create_connection((address, swarm.PORT), LOOK_LIMIT_S) as link, context.wrap_socket(link):
            return True
    except ssl.SSLCertVerificationError:
        return False
    except OSError:
        return True


def apply(member: SwarmMember, change: Change, progress: Progress) -> None:
    """Raises ApplyError with the engine's words if it refuses, or does not reach the manager."""
    engine = Engine()
    if change.action == "remove":
        progress("leaving the swarm")
        swarm.leave(engine, member.name)
        return
    action: Action = change.action
    if action == "start":
        # By now it is known which machines its manager has. One that it has removed does not come back by itself.
        now = member.diff(_look(engine, member))
        if now is None or now.action == "start":
            progress("waiting for Docker to be back in its swarm")
            swarm.settle(engine)
            return
        action = now.action
    here = engine.get("/info")["Swarm"]
    if action == "create" and swarm.recorded(here["NodeID"]) and swarm.inside(engine):
        swarm.share(engine, member.name)  # what else is wrong is seen by who looks afterwards
        return
    if action == "update" and swarm.inside(engine):
        progress("leaving the earlier swarm")
        swarm.leave(engine, member.name)
    if not member.token:
        raise ApplyError(f"{member.manager} gave no token to join its swarm with")
    progress(f"joining the swarm of {member.manager}")
    body = {
        "ListenAddr": f"{member.address}:{swarm.PORT}",
        "AdvertiseAddr": member.address,
        "DataPathAddr": member.address,
        "RemoteAddrs": [f"{member.manager_address}:{swarm.PORT}"],
        "JoinToken": member.token,
    }
    try:
        _joined.add(swarm.enter(engine, member.name, lambda: engine.call("POST", "/swarm/join", body)))
    except ApplyError as error:
        raise ApplyError(
            error.what.replace(member.token, "<token>"),
            state=error.state,
            remedy=f"see that {member.manager_address} reaches {member.address} and the other way round: TCP "
            f"{swarm.PORT} and 7946, UDP 7946 and the port for data",
        ) from error

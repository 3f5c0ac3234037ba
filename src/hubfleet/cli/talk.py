"""Questions that commands ask a running hub and its launcher."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import quote

from hubfleet.cli.deployment import Deployment
from hubfleet.errors import NotRunningError
from hubfleet.supervisor.spec import SupervisorStatus
from hubfleet.unixhttp import Refused, request


def ask_launcher(deployment: Deployment, method: str, target: str, body: Any = None, timeout: float = 30) -> Any:
    """The launcher's answer. Raises NotRunningError when it does not answer."""
    running(deployment)
    try:
        return request(deployment.layout.launcher_socket, method, target, body, timeout=timeout)
    except OSError as error:
        raise NotRunningError(
            f"the launcher of hub {deployment.config.hub} does not answer ({error})", remedy="hubfleet status"
        ) from error


def ask_hub(deployment: Deployment, method: str, target: str, body: Any = None, timeout: float = 30) -> Any:
    """The answer of JupyterHub's REST API, asked as hubfleet itself. ``target``: what follows ``/hub/api``.

    Raises NotRunningError when the hub does not answer, Refused when it says no.
    """
    running(deployment)
    token = deployment.site.tokens["operator_token"]
    try:
        return request(deployment.layout.hub_socket, method, f"/hub/api{target}", body, token, timeout)
    except Refused:
        raise
    except OSError as error:
        raise NotRunningError(
            f"hub {deployment.config.hub} does not answer ({error})", remedy="hubfleet status"
        ) from error


def entrance_problem(deployment: Deployment) -> str | None:
    """Why nobody can reach the hub at its address and port, or None."""
    listen = deployment.config.listen
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.address, listen.address)
    try:
        socket.create_connection((address, listen.port), timeout=5).close()
    except OSError as error:
        return f"nothing answers at {deployment.url} ({error.strerror or error}); see: hubfleet logs proxy"
    return None


def running(deployment: Deployment) -> SupervisorStatus:
    """Its supervisor. Raises NotRunningError when the hub does not run."""
    supervisor = deployment.supervisor()
    if supervisor is None:
        raise NotRunningError(f"hub {deployment.config.hub} does not run", remedy="hubfleet up")
    return supervisor


def people(deployment: Deployment) -> list[dict[str, Any]]:
    """Everybody the hub knows: name, whether they may enter, whether they are an admin, their running servers."""
    signed_up = {entry["name"]: entry["approved"] for entry in ask_hub(deployment, "GET", "/hubfleet/people")["people"]}
    known: dict[str, dict[str, Any]] = {}
    offset, page = 0, 200
    while True:
        users = ask_hub(deployment, "GET", f"/users?offset={offset}&limit={page}")
        known.update({user["name"]: user for user in users})
        if len(users) < page:
            break
        offset += page
    return [
        {
            "name": name,
            "approved": signed_up.get(name, False),
            "admin": name in deployment.config.login.admins,
            "servers": sorted(known.get(name, {}).get("servers", {})),
            "last_activity": known.get(name, {}).get("last_activity"),
        }
        for name in sorted({*signed_up, *known})
    ]


def user_path(name: str) -> str:
    """A user's name inside an address."""
    return quote(name, safe="")

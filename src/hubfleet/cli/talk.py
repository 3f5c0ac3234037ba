"""Questions that commands ask a running hub and its launcher."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from hubfleet.cli.deployment import Deployment
from hubfleet.cli.parts import UNREACHABLE, Part
from hubfleet.errors import NotRunningError
from hubfleet.unixhttp import Refused


def ask_launcher(deployment: Deployment, target: str, body: Any = None, limit: float = 5) -> Any:
    """The launcher's answer; with a body it is told something. ``limit``: seconds.

    Raises NotRunningError when it does not answer, Refused when it says no.
    """
    running(deployment)
    socket, method = str(deployment.layout.launcher_socket), "GET" if body is None else "POST"
    try:
        return deployment.machine.request(socket, method, target, body, None, limit)
    except Refused:
        raise
    except OSError as error:
        raise NotRunningError(
            f"the launcher of hub {deployment.config.hub} does not answer ({error})", remedy="hubfleet status"
        ) from error


def ask_hub(deployment: Deployment, method: str, target: str, body: Any = None) -> Any:
    """The answer of JupyterHub's REST API, asked as hubfleet itself. ``target``: what follows ``/hub/api``.

    Raises NotRunningError when the hub does not answer, Refused when it says no.
    """
    running(deployment)
    token = deployment.site.tokens["operator_token"]
    try:
        return deployment.machine.request(
            str(deployment.layout.hub_socket), method, f"/hub/api{target}", body, token, 30
        )
    except Refused:
        raise
    except OSError as error:
        raise NotRunningError(
            f"hub {deployment.config.hub} does not answer ({error})", remedy="hubfleet status"
        ) from error


def hear(deployment: Deployment, questions: Mapping[str, Callable[[], Any]]) -> tuple[dict[str, Any], list[str]]:
    """What parts answer to their questions, and what is wrong: each part that is down or silent, with its last words.

    Where all seems well, whether anybody can reach the hub at its address and port. Raises NotRunningError.
    """
    parts = running(deployment)
    answers, problems = {}, []
    for name in deployment.parts.names:
        try:
            if name in parts and parts[name].state == UNREACHABLE:
                still = "The hub and running servers go on, and nobody can come in before that is mended"
                if name == "homes":
                    still = "The hub goes on. Servers wait for their files, and none can be started, until it is back"
                elif name != deployment.engine.door:
                    still = "The hub and the other machines go on"
                problems.append(f"{name}: {parts[name].why}. {still}")
                continue
            if name not in parts or parts[name].state != "running":
                raise NotRunningError(f"{name} is down, {deployment.parts.keeper} starts it again")
            if name in questions:
                answers[name] = questions[name]()
        except (NotRunningError, Refused) as error:
            said: Iterator[str] = deployment.parts.log(name, 3, follow=False) or iter(())
            last = [line for line in islice(said, 3) if line.strip()]
            what = error.what if isinstance(error, NotRunningError) else str(error)
            problems.append(f"{what}. It said last: {last[-1] if last else 'nothing'}")
    return answers, problems or deployment.entrance_problems()


def running(deployment: Deployment) -> Mapping[str, Part]:
    """How its parts are. Raises NotRunningError when the hub does not run."""
    statuses = deployment.parts.statuses()
    if statuses is None:
        raise NotRunningError(f"hub {deployment.config.hub} does not run", remedy="hubfleet up")
    return statuses


def people(deployment: Deployment) -> list[dict[str, Any]]:
    """Everybody the hub knows: name, whether they may enter, whether they are an admin, their running servers, the
    groups that the hub's admins put them into, and what a provider told of them."""
    login = deployment.config.login
    listed = {*login.allow.users, *login.admins} if login.allow and not login.provider else None
    signed_up = {entry["name"]: entry for entry in ask_hub(deployment, "GET", "/hubfleet/people")["people"]}
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
            "approved": signed_up.get(name, {}).get("approved", False) and (listed is None or name in listed),
            "removed": signed_up.get(name, {}).get("removed", False),
            "admin": name in login.admins,
            "person": signed_up.get(name, {}).get("person"),
            "groups": known.get(name, {}).get("groups", []),
            "servers": sorted(known.get(name, {}).get("servers", {})),
            "last_activity": known.get(name, {}).get("last_activity"),
        }
        for name in sorted({*signed_up, *known})
    ]

"""Starts, replaces and removes containers. An earlier one is kept until the new one answers, and put back if not.

While one is replaced there are up to three: `<name>`, `<name>-next` (made, never started) and `<name>-previous`
(stopped). Only after the new one answers is the previous one removed; so whoever comes after a kill can tell: a
previous one is one that served, and what has the name beside it has not shown yet that it does.
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from hubfleet.agent import file
from hubfleet.agent.base import Progress
from hubfleet.agent.containerspec import FINGERPRINT, further, numbers, specification
from hubfleet.agent.docker import TIMEOUT_S, Absent, Engine, observed_of
from hubfleet.errors import ApplyError
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.container import FOREIGN, Container
from hubfleet.unixhttp import answers

READY_LIMIT_S = 120.0
RETURN_LIMIT_S = 60.0
HELD_S = 300
"""How long a network is kept at most while a container is replaced."""
STAYS_S = 2.0
"""How long a container without socket and health check must have run to count as one that runs."""
LOG_LINES = 15
_DEATHS = 3
_LOOK_EVERY_S = 0.1
_OVER = ("exited", "dead")


def observe(container: Container) -> Observed | None:
    return observed_of(_look, container)


def _look(engine: Engine, container: Container) -> Observed | None:
    three = _Three(engine, container)
    here = three.any(three.name)
    leftovers = [name for name in (three.next, three.previous) if three.find(name)]
    if here is None:
        return {"fingerprint": "", "state": "absent", "leftovers": leftovers} if leftovers else None
    if not _ours(here):
        return {"fingerprint": "", "state": FOREIGN, "leftovers": []}
    return {"fingerprint": _fingerprint(container, here), "state": _state(container, here), "leftovers": leftovers}


def _fingerprint(container: Container, found: dict[str, Any]) -> str:
    """Empty for one that runs under the numbers of an account that has others now."""
    try:
        user, groups = numbers(container)
    except ApplyError:  # the account is yet to be made
        return ""
    same = found["Config"]["User"] == user and (found["HostConfig"]["GroupAdd"] or []) == groups
    return str(found["Config"]["Labels"][FINGERPRINT]) if same else ""


def _state(container: Container, found: dict[str, Any]) -> str:
    """As the engine says; "silent" for one that runs and is not ready."""
    state = str(found["State"]["Status"])
    if state != "running":
        return state
    if container.ready:
        return "running" if answers(Path(container.ready)) else "silent"
    health = (found["State"].get("Health") or {}).get("Status", "none")
    return "running" if health in ("none", "", "healthy") else "silent"


def apply(container: Container, change: Change, progress: Progress) -> None:
    """Returns once the container answers. Raises ApplyError with the end of its log when it does not; what served
    before serves again then."""
    three = _Three(Engine(), container)
    if change.action == "remove":
        for name in (three.next, three.name, three.previous):
            three.end(name)
        return
    _clear(three, progress)
    here = three.find(three.name)
    new = here is None or _fingerprint(container, here) != container.fingerprint
    if new:
        # all that can be refused is refused here, while the old one serves
        three.engine.call("POST", "/containers/create", specification(container), {"name": three.next})
        for network, how in further(container):
            body = {"Container": three.next, "EndpointConfig": how}
            three.engine.call("POST", f"/networks/{network}/connect", body)
    with _held(three) if here else nullcontext():
        try:
            if new:
                _replace(three, here, progress)
            elif here is not None and _state(container, here) != "running":
                _start_again(three, progress)
            progress(f"waiting for {container.name} to answer")
            _await(three, READY_LIMIT_S)
        except ApplyError as error:
            raise _failed(three, error, new, here is not None, progress) from error
    three.end(three.previous)
    _forget_database(container)
    for path in container.reads:
        file.settle(path)


def _ours(found: dict[str, Any]) -> bool:
    return FINGERPRINT in (found["Config"]["Labels"] or {})


class _Three:
    """The container and the two that may be beside it."""

    def __init__(self, engine: Engine, container: Container) -> None:
        self.engine = engine
        self.container = container
        self.name = container.name
        self.next = f"{container.name}-next"
        self.previous = f"{container.name}-previous"

    def find(self, name: str) -> dict[str, Any] | None:
        """What the engine knows of one of ours; somebody else's is not looked at and not touched."""
        found = self.any(name)
        return found if found and _ours(found) else None

    def any(self, name: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.engine.find(f"/containers/{name}/json")
        return found if found and found["Name"] == f"/{name}" else None  # an id may begin like a name

    def tell(self, which: str, verb: str, body: Any = None, **query: Any) -> None:
        timeout = TIMEOUT_S + self.container.stop_grace
        self.engine.call("POST", f"/containers/{which}/{verb}", body, query, timeout)

    def stop(self, name: str) -> None:
        self.tell(name, "stop", t=self.container.stop_grace)

    def rename(self, name: str, to: str) -> None:
        self.tell(name, "rename", name=to)

    def restart_policy(self, name: str, policy: str) -> None:
        self.tell(name, "update", {"RestartPolicy": {"Name": policy}})

    def end(self, name: str) -> None:
        """Stop and remove; what is gone is gone."""
        if self.find(name) is None:
            return
        with suppress(Absent):
            self.stop(name)
            self.engine.call("DELETE", f"/containers/{name}", None, {"force": True, "v": True})


@contextmanager
def _held(three: _Three) -> Iterator[None]:
    """Keeps networks that span machines on this one. The engine takes one away with its last container here, and is
    still at it when the next one comes: that would not find it. What a kill leaves ends and goes by itself."""
    wanted = three.container
    holders = []
    try:
        for name in {wanted.network, *(name for name, _ in wanted.networks)}:
            found = three.engine.find(f"/networks/{name}")
            if found and (found["Scope"], found["Driver"]) == ("swarm", "overlay"):
                body: dict[str, Any] = {
                    "Image": wanted.image,
                    "Entrypoint": ["sleep", str(HELD_S)],
                    "Cmd": [],
                    "User": "65534:65534",
                }
                confined = {"CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges:true"], "ReadonlyRootfs": True}
                body["HostConfig"] = {**confined, "NetworkMode": name, "AutoRemove": True}
                holder = three.engine.call("POST", "/containers/create", body)["Id"]
                holders.append(holder)
                three.engine.call("POST", f"/containers/{holder}/start")
        yield
    finally:
        for holder in holders:
            with suppress(ApplyError):  # it ends at this very moment
                three.engine.call("DELETE", f"/containers/{holder}", None, {"force": True})


def _clear(three: _Three, progress: Progress) -> None:
    """Puts right what a killed change left: at most one is left that served, and it has its name."""
    three.end(three.next)
    if three.find(three.previous) is None:
        return
    here = three.find(three.name)
    if here is not None and _fingerprint(three.container, here) == three.container.fingerprint:
        return  # the wanted one was begun; the previous one is there to fall back on
    if here is not None and _made_its_own(three.container) and _ready(three.container, here):
        three.end(three.previous)  # what people have done here since would be lost with the database
        return
    three.end(three.name)
    _return_database(three.container, progress)
    three.rename(three.previous, three.name)


def _made_its_own(container: Container) -> bool:
    """Whether another one has changed the database so that the previous one cannot read it."""
    if not container.database:
        return False
    from hubfleet.agent import database  # only where there is one: whoever looks at containers needs no SQLite

    return database.changed(container.database, container.database_copy)


def _keep_database(container: Container, progress: Progress) -> None:
    """It costs no change that this fails: a hub does not begin on a disk that is full, or a database that is damaged,
    and so changes nothing."""
    if not container.database:
        return
    from hubfleet.agent import database

    try:
        database.begin_again(container.database, container.database_copy)
    except (ApplyError, OSError) as error:
        progress(f"{error}. An earlier {container.name} would get it as it is then")


def _return_database(container: Container, progress: Progress) -> None:
    if not container.database:
        return
    from hubfleet.agent import database

    database.return_to(container.database, container.database_copy, progress)


def _forget_database(container: Container) -> None:
    if container.database_copy:
        Path(container.database_copy).unlink(missing_ok=True)


def _replace(three: _Three, here: dict[str, Any] | None, progress: Progress) -> None:
    if here is not None:
        progress(f"stopping the earlier {three.name}")
        three.stop(three.name)
        # or the engine would start it beside the new one whenever it starts itself
        three.restart_policy(three.name, "no")
        _keep_database(three.container, progress)
        three.rename(three.name, three.previous)
    progress(f"starting {three.name}")
    three.rename(three.next, three.name)
    three.tell(three.name, "start")


def _start_again(three: _Three, progress: Progress) -> None:
    progress(f"starting {three.name} again")
    three.restart_policy(three.name, "always")
    three.tell(three.name, "restart", t=three.container.stop_grace)


def _failed(three: _Three, error: ApplyError, new: bool, before: bool, progress: Progress) -> ApplyError:
    """Puts the previous one back, or removes a first one; the error with the state of things.

    new: one was made; before: there was one when we came.
    """
    try:
        state = _put_back(three, new, before, progress)
    except ApplyError as further:
        state = f"Putting the earlier one back failed too: {further.what}"
    return ApplyError(error.what, state=state, remedy="mend the cause, then run `hubfleet up` again")


def _put_back(three: _Three, new: bool, before: bool, progress: Progress) -> str:
    """Says what there is now. Raises ApplyError if the engine refuses."""
    three.end(three.next)
    replaced = three.find(three.previous) is not None
    if not replaced and not before:
        three.end(three.name)
        return "It was removed; there was none before"
    if not replaced and not new:
        return "It is the one that ran before: it was kept, and the engine keeps trying"
    progress(f"putting the earlier {three.name} back")
    for path in three.container.reads:
        file.put_back(path)
    if replaced:
        three.end(three.name)
        _return_database(three.container, progress)
        three.rename(three.previous, three.name)
    three.restart_policy(three.name, "always")
    three.tell(three.name, "start")
    try:
        _await(three, RETURN_LIMIT_S)
    except ApplyError:
        return "The earlier one was put back, and does not answer either"
    _forget_database(three.container)
    return "The earlier one serves again"


def _await(three: _Three, limit: float) -> None:
    """Wait until the container is ready. Raises ApplyError with the end of its log."""
    deadline = time.monotonic() + limit
    deaths = None  # how often it had ended when we began
    while time.monotonic() < deadline:
        found = three.find(three.name)
        if found is None:
            raise ApplyError(f"{three.name} was removed while it was waited for")
        if _ready(three.container, found):
            return
        deaths = found["RestartCount"] if deaths is None else deaths
        if found["State"]["Status"] in _OVER or found["RestartCount"] - deaths >= _DEATHS:
            break
        time.sleep(_LOOK_EVERY_S)
    lines = [line for line in three.engine.logs(three.name, LOG_LINES) if line.strip()]
    said = "".join(f"\n    {line}" for line in lines or ["(empty)"])
    raise ApplyError(f"{three.name} does not come up. The end of its log:{said}")


def _ready(container: Container, found: dict[str, Any]) -> bool:
    if _state(container, found) != "running":
        return False
    return bool(container.ready or container.health) or _age(found) >= STAYS_S


def _age(found: dict[str, Any]) -> float:
    """Seconds since its program was started; the engine's clock is the machine's."""
    started = time.strptime(str(found["State"]["StartedAt"])[:19], "%Y-%m-%dT%H:%M:%S")
    return time.time() - calendar.timegm(started)

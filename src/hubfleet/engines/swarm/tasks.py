"""What a task of the swarm, as its manager knows it, says of a server. Pure.

A task goes new, pending, assigned, preparing, starting, running, and then ends. What becomes of it is the manager's to
say: when a machine is lost to it, it has its tasks end there (`DesiredState`), and they do when the machine is back.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hubfleet.launcher.base import Running, Stopped, Unknown

_ENDED = frozenset({"complete", "shutdown", "failed", "rejected", "orphaned"})
_WAITS = frozenset({"new", "allocated", "pending"})
_UNKNOWN = "unknown"
_GIVEN_UP = frozenset({"shutdown", "remove"})
_LABEL = re.compile(r"node\.labels\.([^=!]+)(==|!=)(.*)")
_MOUNT = re.compile(r"(?P<machine>\S+) could not run it: .*failed to mount local volume.*: (?P<why>[^:]+)", re.DOTALL)
_SIGNALLED = 128  # what the first process of a container adds to a signal's number


@dataclass(frozen=True)
class Coming:
    """It is on its way. ``why_not``: in the engine's words, why no machine takes it; "" when one does.

    ``mounting``: its machine has made it and starts it, which begins with what is mounted for it.
    """

    what: str
    why_not: str = ""
    mounting: bool = False


State = Running | Stopped | Unknown | Coming


def name_of(node: Mapping[str, Any] | None) -> str:
    """What a machine is called."""
    return str(node["Description"]["Hostname"]) if node else "its machine"


def is_down(node: Mapping[str, Any] | None) -> bool:
    """Whether the swarm has given a machine up. One that it knows nothing of is not."""
    return node is not None and node["Status"]["State"] == "down"


def machines_for(nodes: Iterable[Mapping[str, Any]], placement: Sequence[str]) -> list[Mapping[str, Any]]:
    """Those that may have servers, as far as labels decide that. A label that is missing is unlike any other."""
    wanted = [found for found in (_LABEL.fullmatch(constraint.replace(" ", "")) for constraint in placement) if found]

    def fits(node: Mapping[str, Any]) -> bool:
        labels = node["Spec"].get("Labels") or {}
        return all((labels.get(one[1]) == one[3]) == (one[2] == "==") for one in wanted)

    return [node for node in nodes if fits(node)]


def unheard_of(nodes: Iterable[Mapping[str, Any]], placement: Sequence[str]) -> bool:
    """Whether the manager, which was restarted, has not heard yet of a machine that may have servers. It takes one that
    is slow to tell for down, in these words, as one that is really gone."""
    return any(
        node["Status"]["State"] == _UNKNOWN or (is_down(node) and _UNKNOWN in node["Status"].get("Message", ""))
        for node in machines_for(nodes, placement)
    )


def cores_of(nodes: Iterable[Mapping[str, Any]], placement: Sequence[str], ready: bool = False) -> list[float]:
    """How many each machine has that may have servers, as far as labels decide that; ``ready``: only of those there."""
    found = []
    for node in machines_for(nodes, placement):
        here = node["Status"]["State"] == "ready" and node["Spec"].get("Availability", "active") == "active"
        if here or not ready:
            found.append(int(node["Description"]["Resources"]["NanoCPUs"]) / 1e9)
    return found


def has_secret(spec: Mapping[str, Any], name: str) -> bool:
    """Whether this is the service, or a task of it, that was given this secret. ``spec``: of the container."""
    return any(held["SecretName"] == name for held in spec.get("Secrets") or ())


def is_over(task: Mapping[str, Any], node: Mapping[str, Any] | None) -> bool:
    """Whether nothing of the task runs any more, as far as the swarm can know: it has ended, was never given to a
    machine, or was given up with its machine."""
    state = task["Status"]["State"]
    given_up = task["DesiredState"] in _GIVEN_UP
    return state in _ENDED or (given_up and (state in _WAITS or is_down(node)))


def state_of(task: Mapping[str, Any], node: Mapping[str, Any] | None, limited: bool) -> State:
    """What is known of the server by its task and its machine. ``limited``: it has a limit on memory."""
    status = task["Status"]
    state, machine = status["State"], name_of(node)
    if state in _ENDED:
        return _ended(status, machine, limited)
    if is_down(node):
        words = (node or {})["Status"].get("Message") or "it is down"
        if task["DesiredState"] in _GIVEN_UP:
            return Stopped(None, f"{machine} is lost ({words}), and the server with it")
        return Unknown(f"{machine} does not answer ({words})")
    if node is not None and node["Status"]["State"] != "ready":
        return Unknown(f"{machine} has not reported yet")
    if state == "running":
        return Running()
    if state in _WAITS:
        return Coming("Looking for a machine with room", status.get("Err") or "")
    return Coming(f"Starting the server on {machine}" if node else "Starting the server", mounting=state == "starting")


def without_home(why: str, server: str) -> str:
    """What is said of a server that has ended, for its user, where its home could not be mounted from ``server``."""
    found = _MOUNT.fullmatch(why)
    if not found:
        return why
    reason = found["why"].strip().rstrip(".")
    what = f"{found['machine']} cannot mount your home from the storage at {server} ({reason})"
    return f"{what}. Please try again in a minute; your files are as they were"


def _ended(status: Mapping[str, Any], machine: str, limited: bool) -> Stopped:
    state, words = status["State"], status.get("Err") or ""
    code = (status.get("ContainerStatus") or {}).get("ExitCode")
    if state == "complete":
        return Stopped(0, "it stopped by itself")
    if state == "rejected":
        return Stopped(None, f"{machine} could not run it: {words or status.get('Message', '')}")
    if state == "orphaned":
        return Stopped(None, f"{machine} is lost, and the server with it")
    if state == "shutdown":
        # However well it took that: it was not its user who wanted it to end.
        return Stopped(code or None, f"the swarm has ended it on {machine}")
    number = (code or 0) - _SIGNALLED
    if number == signal.SIGKILL and limited:
        return Stopped(
            code, "it was ended by signal SIGKILL, as the system does when a server goes over its memory limit"
        )
    if number in {entry.value for entry in signal.Signals}:
        return Stopped(code, f"it was ended by signal {signal.Signals(number).name}")
    if code and words in ("", f"task: non-zero exit ({code})"):
        return Stopped(code, f"it exited with code {code}")
    return Stopped(code or None, f"{machine} could not run it: {words}")

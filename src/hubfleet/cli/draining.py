"""A machine that people are to leave: who is on it, waiting for them, and stopping those who are there at the end."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from hubfleet.cli.console import as_typed, counted, say
from hubfleet.cli.deployment import Deployment
from hubfleet.cli.fleetparts import FleetParts
from hubfleet.cli.talk import ask_hub
from hubfleet.errors import ApplyError, BrokenOff, NotRunningError, UnreachableError
from hubfleet.names import in_address
from hubfleet.units import Duration
from hubfleet.unixhttp import Refused

LOOK_EVERY_S = 2.0
TELL_EVERY_S = 600.0
"""How often it is said that nothing has changed."""
AWAY_LIMIT_S = 600.0
"""For how long the hub's machine may be away in the middle of a wait."""
STOP_LIMIT_S = 120.0
"""How long servers may take to end, once all were asked to."""

Server = Mapping[str, str]
Left = Literal["empty", "due", "undone"]


def fleet_parts(deployment: Deployment) -> FleetParts:
    """Of a hub whose engine spans machines."""
    parts = deployment.parts
    assert isinstance(parts, FleetParts)  # or there would be one machine only
    return parts


def called(server: Server) -> str:
    """Whose it is, and its name if it has one."""
    return server["user"] + (f" ({server['server']})" if server["server"] else "")


def listed(servers: Sequence[Server]) -> str:
    return ", ".join(called(server) for server in servers)


def clock(at: float) -> str:
    """A moment (seconds since 1970) as a clock here shows it, with the day if that is another one."""
    moment = time.localtime(at)
    day = "" if time.strftime("%x", moment) == time.strftime("%x") else "%a %d %b, "
    return time.strftime(f"{day}%H:%M", moment)


def until(at: float) -> Duration:
    """How long it is until then: in minutes, at last in seconds, and never less than one."""
    left = max(1.0, math.ceil(at - time.time()))
    return Duration(left if left < 120 else 60 * math.ceil(left / 60))


class Emptying:
    """One machine. ``stop_at``: when those who are still on it are stopped, in seconds since 1970; None: never.

    It is a moment, not a span: the computer that waits may sleep meanwhile.
    """

    def __init__(self, deployment: Deployment, name: str, stop_at: float | None = None) -> None:
        self._deployment, self._parts, self._name = deployment, fleet_parts(deployment), name
        self._stop_at = stop_at

    def people(self) -> list[Server] | None:
        """Who is on it; None where the swarm does not know the machine, or cannot be asked now."""
        on = self._parts.servers_by_machine().get(self._name, [])
        return on if on or self._name in self._parts.machine_states() else None

    def wait(self) -> Left:
        """Return when nobody is on it, when it is time to stop who is, or when somebody has undone its being drained.

        Raises BrokenOff for Ctrl-C, and UnreachableError where the hub's machine stays away: the machine stays drained.
        """
        with self._interruptible():
            return self._wait()

    def _wait(self) -> Left:
        told: tuple[str, float] = "", 0.0
        since, away = 0.0, False
        while True:
            people: list[Server] | None = None
            try:
                if self._name not in self._deployment.drained():
                    return "undone"
                people, away = self._known(), False
            except (UnreachableError, NotRunningError) as error:
                if not away:
                    say(f"  {error}", "yellow")
                    say("  It is tried again.", "dim")
                    away, since = True, time.monotonic()
                if time.monotonic() - since > AWAY_LIMIT_S and self._due() is not False:
                    raise self._given_up(error) from error
            if people == []:
                return "empty"
            if people:
                if self._due():
                    return "due"
                told = self._tell(people, told)
            left = LOOK_EVERY_S if self._stop_at is None else self._stop_at - time.time()
            time.sleep(min(LOOK_EVERY_S, max(0.1, left)))

    def _known(self) -> list[Server]:
        """Who is on it. Raises NotRunningError while the swarm cannot say it."""
        people = self.people()
        if people is None:
            raise NotRunningError(f"the swarm does not tell who is on {self._name}", remedy="hubfleet status")
        return people

    def _due(self) -> bool | None:
        """Whether it is time; None where there is no such time."""
        return None if self._stop_at is None else time.time() >= self._stop_at

    def _tell(self, people: Sequence[Server], told: tuple[str, float]) -> tuple[str, float]:
        """Who is there yet, where that is news or was said long ago."""
        names, now = listed(people), time.monotonic()
        if names == told[0] and now - told[1] < TELL_EVERY_S:
            return told
        then = "" if self._stop_at is None else f"; stopped at {clock(self._stop_at)} (in {until(self._stop_at)})"
        say(f"  {counted(len(people), 'server')} on {self._name} yet: {names}{then}", "dim")
        return names, now

    def stop(self) -> None:
        """Stop who is on it, by way of the hub, which tells their users and cleans up. Return when nobody is.

        Raises ApplyError for one that does not end, NotRunningError without a hub, BrokenOff for Ctrl-C.
        """
        with self._interruptible():
            self._stop()

    def _stop(self) -> None:
        why = f"an administrator has stopped it to take its machine, {self._name}, out of use"
        asked: set[str] = set()
        refused = ""
        deadline = time.monotonic() + STOP_LIMIT_S
        while people := self._known():
            for server in people:
                if called(server) in asked:
                    continue
                place = f"servers/{in_address(server['server'])}" if server["server"] else "server"
                try:
                    ask_hub(self._deployment, "DELETE", f"/users/{in_address(server['user'])}/{place}", {"why": why})
                except Refused as refusal:  # one that is in the middle of its start, say: then once more
                    refused = f"{called(server)}: {refusal}"
                else:
                    asked.add(called(server))
                    deadline = time.monotonic() + STOP_LIMIT_S
            if time.monotonic() > deadline:
                raise ApplyError(
                    refused or f"{listed(people)} did not end within {STOP_LIMIT_S:.0f} s",
                    where=self._name,
                    state=f"{self._name} stays drained",
                    remedy=as_typed("hubfleet status, then the same again"),
                )
            time.sleep(LOOK_EVERY_S / 4)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Ctrl-C, and being told to end, are answered with the state that things are in."""
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            yield
        except KeyboardInterrupt:
            raise self._broken_off() from None
        finally:
            signal.signal(signal.SIGTERM, before)

    def _broken_off(self) -> BrokenOff:
        again, who = f"hubfleet machine drain {self._name} --wait", "who is there goes on"
        if self._stop_at is not None:
            again = again.replace("--wait", f"--stop-after {until(self._stop_at)}")
            who = "who is there goes on, and is not stopped"
        return BrokenOff(
            "Interrupted",
            state=f"{self._name} stays drained: nobody new comes there, and {who}",
            remedy=f"{again}, to go on; hubfleet machine add {self._name}, to undo",
        )

    def _given_up(self, error: UnreachableError | NotRunningError) -> UnreachableError | NotRunningError:
        state = f"{self._name} stays drained, and nobody was stopped"
        return type(error)(error.what, where=error.where, state=state, remedy=error.remedy)

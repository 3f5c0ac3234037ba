"""Where a load test's people come from and how they go again; and whether it may begin at all."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp

from hubfleet.errors import CheckError
from hubfleet.loadtest.hubapi import HubAPI, StepFailed
from hubfleet.names import TEST_PREFIX
from hubfleet.units import Secret

AT_ONCE = 20
CLEANUP_ROUNDS = 3
CLEANUP_LIMIT_S = 600.0


@dataclass(frozen=True)
class Login:
    """One of a load test's people. ``password``: None where the hub has no login form that it would fit."""

    name: str
    token: Secret
    password: Secret | None = None


class Roster(Protocol):
    """Makes people and removes them."""

    async def enter(self, api: HubAPI, count: int, seconds: int) -> list[Login]:
        """Make people who can log in for so many seconds. Whoever was made is in `mine`, also when this fails."""

    async def mine(self, api: HubAPI) -> list[str]:
        """Names of the people made for a load test that may still exist: the only ones that are ever deleted."""

    async def forget(self, api: HubAPI) -> None:
        """Told when all of them are deleted."""


class ApiRoster:
    """People of any JupyterHub, made with an admin's token. Their names are new and random."""

    def __init__(self) -> None:
        self._prefix = f"{TEST_PREFIX}{secrets.token_hex(4)}-"
        self._made: list[str] = []

    async def enter(self, api: HubAPI, count: int, seconds: int) -> list[Login]:
        wanted = [f"{self._prefix}{number:04}" for number in range(1, count + 1)]
        known = {user["name"] for user in await api.users()}
        if known & set(wanted):
            raise CheckError("the hub has people of this load test's names already", state="Nothing was changed")
        self._made = wanted  # from here on they may exist, even if the answer is lost
        made = await api.ask("POST", "/users", {"usernames": wanted})
        if {user["name"] for user in made} != set(wanted):
            raise StepFailed("the hub gave its new people other names than asked for")
        people: list[Login] = []
        await _each(wanted, lambda name: self._admit(api, name, seconds, people))
        return sorted(people, key=lambda person: person.name)

    async def _admit(self, api: HubAPI, name: str, seconds: int, people: list[Login]) -> None:
        people.append(Login(name, await api.make_token(name, seconds)))

    async def mine(self, api: HubAPI) -> list[str]:
        return list(self._made)

    async def forget(self, api: HubAPI) -> None:
        self._made = []


class HubfleetRoster:
    """People of a hub of ours, which makes them itself and keeps a note of them."""

    TARGET = "/hubfleet/loadtest"

    async def enter(self, api: HubAPI, count: int, seconds: int) -> list[Login]:
        answer: dict[str, Any] = await api.ask("POST", self.TARGET, {"people": count, "seconds": seconds})
        return [
            Login(person["name"], Secret(person["token"]), Secret(person["password"])) for person in answer["people"]
        ]

    async def mine(self, api: HubAPI) -> list[str]:
        names = (await api.ask("GET", self.TARGET))["names"]
        return [name for name in names if name.startswith(TEST_PREFIX)]

    async def forget(self, api: HubAPI) -> None:
        await api.ask("DELETE", self.TARGET)


async def _each(names: list[str], act: Callable[[str], Awaitable[None]]) -> None:
    """For everybody, so many at once."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> None:
        async with room:
            await act(name)

    await asyncio.gather(*(one(name) for name in names))


def others_with_servers(users: list[dict[str, Any]], mine: list[str]) -> list[str]:
    """Names of the people who are on: everybody with a server that runs, starts or stops, and is not a test's."""
    own = set(mine)
    on = (user for user in users if user.get("servers") or user.get("server") or user.get("pending"))
    return sorted(user["name"] for user in on if user["name"] not in own)


def refuse_people(names: list[str]) -> None:
    """Raises CheckError when somebody is on."""
    if names:
        first = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise CheckError(
            f"people are on this hub ({len(names)}: {first}); a load test takes their memory and processor",
            state="Nothing was changed",
            remedy="wait until they have stopped their servers, or: hubfleet loadtest --disturb-people",
        )


async def clean_up(api: HubAPI, roster: Roster) -> list[str]:
    """Stop the servers of the test's people and delete them; returns what could not be done, one sentence each."""
    try:
        names = await roster.mine(api)
        failed: list[str] = []

        async def delete(name: str) -> None:
            try:
                await api.delete(name)
            except (StepFailed, aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
                failed.append(f"{name} was not deleted ({str(error) or type(error).__name__})")

        for again in reversed(range(CLEANUP_ROUNDS)):
            await asyncio.wait_for(_each(names, delete), CLEANUP_LIMIT_S)
            if failed or not names:
                break
            try:
                await roster.forget(api)
                break
            except StepFailed:  # somebody's log-in was on its way, and has made them anew
                if not again:
                    raise
    except (StepFailed, aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
        return [f"not everything could be cleaned up ({str(error) or type(error).__name__})"]
    return sorted(failed)

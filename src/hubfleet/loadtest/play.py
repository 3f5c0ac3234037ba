"""Plays the whole class: makes the people, lets them arrive, watches, and cleans up whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import aiohttp

from hubfleet.errors import ApplyError, CheckError, NotRunningError
from hubfleet.loadtest.hubapi import HubAPI, StepFailed
from hubfleet.loadtest.machine import Here
from hubfleet.loadtest.people import ApiRoster, Login, Roster, clean_up, others_with_servers, refuse_people
from hubfleet.loadtest.person import Person
from hubfleet.loadtest.result import Result
from hubfleet.loadtest.scenario import Scenario
from hubfleet.loadtest.watch import Meter, Watch
from hubfleet.loadtest.way import Way
from hubfleet.units import Secret

_SPARE_S = 900
"""For how much longer than the class its tokens live: cleaning up takes time too."""


@dataclass(frozen=True)
class Target:
    """The hub that is tested.

    ``url``: its public address, without ``/hub``. ``token``: of an admin or a service that may make users and tokens.
    ``way``: how it is reached. ``meter``: what measures processor and memory; None where nobody can look. ``sweep``:
    removes what deleted people leave on the machines, and returns what it could not. ``disturb_people``: go on although
    people are on the hub.
    """

    url: str
    token: Secret
    roster: Roster = field(default_factory=ApiRoster)
    way: Way = field(default_factory=Way)
    meter: Meter | None = field(default_factory=Here)
    sweep: Callable[[list[str]], list[str]] = lambda names: []
    disturb_people: bool = False


@dataclass
class Progress:
    """How far the class is: how many people have ended each step ("failed" is one of them), and what goes on."""

    people: int
    phase: str = "making the people"
    ended: Counter[str] = field(default_factory=Counter)


Report = Callable[[Progress], None]


def run(target: Target, scenario: Scenario, report: Report = lambda progress: None) -> Result:
    """Play a load test and return what it found; people, servers and tokens are gone afterwards in any case.

    Raises CheckError where it refuses, NotRunningError where no hub answers, KeyboardInterrupt after Ctrl-C.
    """
    _allow_many_connections()
    return asyncio.run(_interruptible(target, scenario, report))


def remove_leftovers(target: Target) -> tuple[list[str], list[str]]:
    """Remove what a killed load test left: whom it removed, and what it could not."""

    async def remove() -> tuple[list[str], list[str]]:
        async with aiohttp.ClientSession(connector=target.way.connector()) as session:
            api = HubAPI(session, target.url, target.token)
            await _version(api)
            names = await target.roster.mine(api)
            problems = await clean_up(api, target.roster)
            return names, problems or await asyncio.to_thread(target.sweep, names)

    return asyncio.run(remove())


async def play(target: Target, scenario: Scenario, report: Report = lambda progress: None) -> Result:
    """As `run`, inside a running event loop. Cancel it to break it off: it then cleans up first."""
    progress = Progress(scenario.people)
    async with aiohttp.ClientSession(connector=target.way.connector()) as session:
        api = HubAPI(session, target.url, target.token)
        version = await _version(api)
        await _may_begin(target, api)
        result = Result(target.url, version, time.time(), scenario, [], None)
        try:
            report(progress)
            people = await _enter(target.roster, api, scenario)
            await _class(target, scenario, people, result, progress, report)
        finally:
            progress.phase = "cleaning up"
            report(progress)
            names = await _names(target.roster, api)
            result.cleanup = await clean_up(api, target.roster)
            if not result.cleanup:  # what somebody may still be using is left for --clean-up
                result.cleanup = await asyncio.to_thread(target.sweep, names)
            if result.cleanup:
                progress.phase = f"not cleaned up: {'; '.join(result.cleanup[:3])}"
                report(progress)
    return result


async def _version(api: HubAPI) -> str:
    try:
        return str((await api.ask("GET", "/"))["version"])
    except (aiohttp.ClientError, OSError, asyncio.TimeoutError, StepFailed, KeyError, ValueError) as error:
        raise NotRunningError(f"no JupyterHub answers there ({error})", remedy="hubfleet status") from error


async def _may_begin(target: Target, api: HubAPI) -> None:
    try:
        mine = await target.roster.mine(api)
        if mine:
            raise CheckError(
                f"another load test runs on this hub, or was broken off ({len(mine)} people)",
                state="Nothing was changed",
                remedy="wait for it, or: hubfleet loadtest --clean-up",
            )
        if not target.disturb_people:
            refuse_people(others_with_servers(await api.users(), mine))
    except StepFailed as failure:
        raise CheckError(
            f"the token may not ask who is on this hub ({failure})", state="Nothing was changed"
        ) from failure


async def _names(roster: Roster, api: HubAPI) -> list[str]:
    with contextlib.suppress(StepFailed, aiohttp.ClientError, OSError, asyncio.TimeoutError):
        return await roster.mine(api)
    return []


async def _enter(roster: Roster, api: HubAPI, scenario: Scenario) -> list[Login]:
    """Make the people. When broken off, first wait for the hub's answer: it would go on making them meanwhile."""
    task = asyncio.ensure_future(roster.enter(api, scenario.people, int(scenario.limit_s) + _SPARE_S))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
    except StepFailed as failure:
        raise ApplyError(f"the people could not be made ({failure})", state="What was made is removed") from failure


async def _class(
    target: Target, scenario: Scenario, people: list[Login], result: Result, progress: Progress, report: Report
) -> None:
    began = time.monotonic()

    def clock() -> float:
        return time.monotonic() - began

    def ended(step: str) -> None:
        progress.ended[step] += 1
        report(progress)

    persons = [Person(target.url, login, scenario, clock, ended, target.way) for login in people]
    result.people = [person.record for person in persons]
    watch = Watch(target.meter, clock) if target.meter else None
    result.watched = watch.watched if watch else None
    async with watch or contextlib.nullcontext():
        began = time.monotonic()  # other machines take their time to be asked
        tasks = _begin(persons, scenario, watch, people, progress, report)
        try:
            await asyncio.wait(tasks, timeout=scenario.limit_s, return_when=asyncio.FIRST_EXCEPTION)
            *arrived, _ = tasks
            if not all(task.done() for task in arrived):
                result.broken_off = f"after {scenario.limit_s:g} s"
            for person, task in zip(persons, arrived, strict=True):
                if not task.done() and person.step:
                    person.fail(person.step, f"not done when the whole time of {scenario.limit_s:g} s was over")
        finally:
            await _end(tasks)


def _begin(
    persons: list[Person],
    scenario: Scenario,
    watch: Watch | None,
    people: list[Login],
    progress: Progress,
    report: Report,
) -> list[asyncio.Task[None]]:
    """What everybody does, and at last what is done for all of them."""
    meeting = Meeting(len(persons))
    tasks = [
        asyncio.create_task(_arrive(person, number * scenario.arrive_s / len(persons), meeting))
        for number, person in enumerate(persons)
    ]
    progress.phase = "playing"
    report(progress)
    return [*tasks, asyncio.create_task(_hold(scenario, watch, meeting, people, progress, report))]


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


class Meeting:
    """Where everybody waits until all have come, and then until it is over."""

    def __init__(self, people: int) -> None:
        self._missing = people
        self.complete, self.over = asyncio.Event(), asyncio.Event()

    async def come(self) -> None:
        self._missing -= 1
        if not self._missing:
            self.complete.set()
        await self.over.wait()


async def _arrive(person: Person, wait_s: float, meeting: Meeting) -> None:
    await asyncio.sleep(wait_s)
    await person.play(meeting.come)


async def _hold(
    scenario: Scenario,
    watch: Watch | None,
    meeting: Meeting,
    people: list[Login],
    progress: Progress,
    report: Report,
) -> None:
    """When all have come: idle, look at everybody's memory, and let them go."""
    await meeting.complete.wait()
    progress.phase = "idle"
    report(progress)
    await asyncio.sleep(scenario.idle_s)
    if watch is not None:
        await watch.look_at_people({login.name for login in people})
    progress.phase = "stopping"
    report(progress)
    meeting.over.set()


async def _interruptible(target: Target, scenario: Scenario, report: Report) -> Result:
    """Run it so that Ctrl-C and SIGTERM cancel it once; further ones do not keep it from cleaning up."""
    task = asyncio.ensure_future(play(target, scenario, report))
    asked = False

    def interrupt() -> None:
        nonlocal asked
        if not asked:
            task.cancel()
        asked = True

    with _signals(interrupt):
        try:
            return await task
        except asyncio.CancelledError:
            if asked:
                raise KeyboardInterrupt from None
            raise


@contextlib.contextmanager
def _signals(act: Callable[[], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, numbers = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        loop.add_signal_handler(number, act)
    try:
        yield
    finally:
        for number, meaning in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, meaning)


def _allow_many_connections() -> None:
    """Each person has several connections; the usual limit of 1024 open files is that of careful old programs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(65536, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

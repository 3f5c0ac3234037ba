"""All servers of one hub: at most one start or stop of each at a time, and what became of the ones that ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hubfleet.config import Config
from hubfleet.config.belonging import NOWHERE, Belonging
from hubfleet.config.effective import Effective, effective, visible_profiles
from hubfleet.config.owner import Owner
from hubfleet.config.servers import Profile
from hubfleet.errors import ConfigError
from hubfleet.homes.keeper import Archive, Home, NoHome
from hubfleet.homes.making import HomeFailed
from hubfleet.launcher.base import (
    PROJECT_LEFT_OUT,
    BadRequest,
    Launch,
    Progress,
    Record,
    Request,
    Running,
    StartFailed,
    Status,
    Stopped,
)
from hubfleet.launcher.owners import Owners
from hubfleet.launcher.projects import Projects
from hubfleet.launcher.queue import StartQueue, capacity
from hubfleet.launcher.state import Records
from hubfleet.names import TEST_PREFIX, system_name

log = logging.getLogger("hubfleet.launcher")
STOP_GRACE_S = 10.0
CLEAN_AGAIN_S = 5.0
"""How soon it is tried again to remove what a server has left, where the engine is away."""
_REMEMBERED = 10_000


@dataclass(frozen=True)
class Ending:
    """How and when a server ended; kept in memory so that its user can be told."""

    code: int | None
    why: str
    ended: float


class Servers:
    """Starts, finds and stops servers with one engine's ``Launch``."""

    def __init__(
        self,
        config: Config,
        launch: Launch,
        directory: Path,
        owners: Owners | None = None,
        projects: Projects | None = None,
    ) -> None:
        self._config = config
        self._owners = owners
        self._projects = projects
        self._launch = launch
        self._store = Records(directory)
        self._records: dict[str, Record] = {}
        self._endings: dict[str, Ending] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._starting: dict[str, str] = {}
        self._queue = StartQueue(capacity())
        self._cleanups: set[asyncio.Task[None]] = set()
        self._archiving: dict[str, asyncio.Task[Archive]] = {}

    async def adopt(self) -> int:
        """Find the servers of an earlier launcher again; returns how many still run.

        One that was on its way up when that launcher died is stopped: the hub was told that its start failed.
        """
        self._records = self._store.load()
        for record in [record for record in self._records.values() if not record.ready]:
            await self._stop(record.id, grace=0)
        for record in list(self._records.values()):
            self._launch.watch(record, self._on_ended)
        statuses = [await self._launch.poll(record) for record in list(self._records.values())]
        return sum(not isinstance(status, Stopped) for status in statuses)

    def records(self) -> list[Record]:
        return sorted(self._records.values(), key=lambda record: record.id)

    def starting(self) -> dict[str, str]:
        """Server id -> what is being done for it."""
        return dict(self._starting)

    def _visible(self, user: str, belonging: Belonging) -> dict[str, Profile]:
        try:
            return dict(visible_profiles(self._config, user, belonging))
        except ConfigError as error:
            raise BadRequest(str(error)) from error

    def profiles(self, user: str, belonging: Belonging = NOWHERE) -> list[dict[str, Any]]:
        """What this user may choose from at start, with the limits in words. Raises BadRequest for an invalid name."""
        found = []
        for key, profile in self._visible(user, belonging).items():
            options = effective(self._config, user, key, belonging=belonging)
            limits = [f"{options.memory_limit} memory"] if options.memory_limit else []
            limits += [f"{options.cpu_limit} CPU"] if options.cpu_limit else []
            found.append(
                {
                    "key": key,
                    "title": profile.title,
                    "description": profile.description,
                    "default": profile.default,
                    "limits": ", ".join(limits),
                }
            )
        return found

    def idle_limit(self, request: Request) -> float | None:
        """After how many idle seconds this server is stopped; None for never."""
        request = self.checked(request)
        limit = self._effective(request).stop_after_idle
        return None if limit == "never" else float(limit)

    async def start(self, request: Request, progress: Progress) -> Record:
        """Start a server. Raises BadRequest for a profile the user may not have, StartFailed when it does not come up.

        A server that runs under this id is one the hub has lost track of (its token is no longer valid): it is
        stopped first, so that nobody ever has two.
        """
        request = self.checked(request)

        def report(message: str) -> None:
            self._starting[request.id] = message
            progress(message)

        self._queue.allow(self._launch.at_once() or capacity())
        async with self._locks[request.id]:
            await self._stop(request.id, grace=STOP_GRACE_S)
            try:
                # Before its turn: others need not wait for a service that is slow.
                wanted = await self._wanted(request, report)
                async with self._queue.turn(report):
                    record = await self._launched(request, wanted, report)
            except StartFailed as failure:
                self._store.remove(request.id)
                self._remember(request.id, Ending(None, str(failure), time.time()))
                log.warning("%s: %s", request.id, failure)
                raise
            finally:
                self._starting.pop(request.id, None)
            self._records[record.id] = record
            self._endings.pop(record.id, None)
            self._launch.watch(record, self._on_ended)
        log.info("%s: started with profile %s", record.id, record.profile)
        return record

    async def _wanted(self, request: Request, report: Progress) -> Effective:
        """The options of a server, with the owner of its files and its projects. Raises StartFailed."""
        options = self._config.storage.owner
        if options.by_service and request.user.startswith(TEST_PREFIX):
            # A load test's people have no account anywhere. An id of the machine's own may be somebody's at the site,
            # so they are shown nothing of the site's.
            return replace(self._effective(request), mounts=())
        if options.by_service:
            report("Looking up your account")
        owner = await self._owners.of(request.user) if self._owners else None
        try:
            wanted = self._effective(request, owner)
        except ConfigError as error:
            raise StartFailed(f"{error.what}; an administrator has to look at it") from error
        if any(mount.for_home for mount in wanted.mounts):
            what = "nobody has said where your files are (tas_homeDirectory)"
            raise StartFailed(f"{what}; an administrator has to look at it")
        return await self._with_projects(request, wanted, report)

    def _effective(self, request: Request, owner: Owner | None = None) -> Effective:
        return effective(self._config, request.user, request.profile, owner, request.belonging)

    async def _with_projects(self, request: Request, wanted: Effective, report: Progress) -> Effective:
        if self._projects is None or self._config.storage.projects is None:
            return wanted
        folder = f"/home/{system_name(request.user)}/{self._config.storage.projects.directory}"
        found = await self._projects.of(request.user, folder, request.belonging)
        if found.problem:
            report(f"{PROJECT_LEFT_OUT} {found.problem}")
        return replace(wanted, projects=found.mounts, projects_at=folder)

    async def _launched(self, request: Request, wanted: Effective, report: Progress) -> Record:
        record = replace(await self._launch.start(request, wanted, report, self._store.save), ready=True)
        try:
            self._store.save(record)
        except OSError as error:
            await self._launch.stop(record, grace=0)
            raise StartFailed(f"the hub's disk does not take its record ({error.strerror})") from error
        return record

    def checked(self, request: Request) -> Request:
        """The request, with the default profile where nobody chose one.

        Raises BadRequest for a profile that is not theirs, or an invalid name.
        """
        visible = self._visible(request.user, request.belonging)
        if request.profile is None:
            default = next((key for key, profile in visible.items() if profile.default), None)
            return replace(request, profile=default)
        if request.profile not in visible:
            raise BadRequest(f"there is no profile {request.profile!r} for {request.user!r}")
        return request

    async def status(self, identifier: str) -> Status:
        """What is known of a server; for one that never was: stopped."""
        if identifier in self._starting:
            return Running()
        record = self._records.get(identifier)
        if record is not None:
            return await self._launch.poll(record)
        ending = self._endings.get(identifier)
        return Stopped(ending.code, ending.why) if ending else Stopped(0, "it is not running")

    # -- homes -------------------------------------------------------------------------------------------------------

    async def homes(self) -> list[Home] | None:
        """All homes; None where they are not kept. Raises HomeFailed."""
        return None if self._launch.homes is None else await self._launch.homes.report()

    async def home(self, user: str) -> Home | None:
        """One person's; None before the first start, and where they are not kept. Raises HomeFailed."""
        if self._launch.homes is None:
            return None
        try:
            return await self._launch.homes.home(system_name(user))
        except NoHome:
            return None

    async def archive(self, user: str) -> Archive:
        """Put a person's home away, who has no server now. Raises HomeFailed.

        It may take hours: one that takes long is asked for again, by whoever still wants to know.
        """
        name = system_name(user)
        if self._launch.homes is None:
            raise NoHome("homes are not kept on this hub")
        if name not in self._archiving:
            if mine := [one for one in (*self._records, *self._starting) if one.partition(".")[0] == name]:
                raise HomeFailed(
                    f"{user} has a server ({', '.join(sorted(set(mine)))}), which writes there; stop it first"
                )
            job = asyncio.create_task(self._launch.homes.archive(name))
            self._archiving[name] = job
            job.add_done_callback(lambda done: self._archived(name, done))
        return await asyncio.shield(self._archiving[name])

    def _archived(self, name: str, job: asyncio.Task[Archive]) -> None:
        del self._archiving[name]
        if not job.cancelled() and job.exception() is None:
            log.info("the home %s was put away: %s", name, job.result().tar)

    async def stop(self, identifier: str) -> None:
        """Stop a server; stopping what is gone is success."""
        async with self._locks[identifier]:
            await self._stop(identifier, STOP_GRACE_S)

    async def _stop(self, identifier: str, grace: float) -> None:
        record = self._records.get(identifier)
        if record is None:
            return
        await self._launch.stop(record, grace)
        self._forget(record, Ending(0, "it was stopped", time.time()))
        log.info("%s: stopped", identifier)

    async def stop_all(self) -> int:
        """Stop every server at once; returns how many there were."""
        identifiers = list(self._records)
        await asyncio.gather(*(self.stop(identifier) for identifier in identifiers))
        return len(identifiers)

    def _on_ended(self, record: Record) -> None:
        task = asyncio.create_task(self._ended(record))
        self._cleanups.add(task)
        task.add_done_callback(self._cleanups.discard)

    async def _ended(self, record: Record) -> None:
        """A server is gone: clean up after it, unless somebody is stopping or has already replaced it."""
        while True:
            async with self._locks[record.id]:
                if self._records.get(record.id) is not record:
                    return
                status = await self._launch.poll(record)
                if isinstance(status, Stopped) and await self._clean_up(record):
                    self._forget(record, Ending(status.code, status.why, time.time()))
                    log.warning("%s: %s", record.id, status.why)
                    return
                if isinstance(status, Running):
                    return
            await asyncio.sleep(CLEAN_AGAIN_S)

    async def _clean_up(self, record: Record) -> bool:
        """Remove what a server that has ended leaves; False where that cannot be done now."""
        try:
            await self._launch.stop(record, grace=0)
        except OSError as error:
            log.warning("%s: what it leaves cannot be removed yet: %s", record.id, error)
            return False
        return True

    def _forget(self, record: Record, ending: Ending) -> None:
        self._records.pop(record.id, None)
        self._store.remove(record.id)
        self._remember(record.id, ending)

    def _remember(self, identifier: str, ending: Ending) -> None:
        self._endings[identifier] = ending
        while len(self._endings) > _REMEMBERED:
            self._endings.pop(next(iter(self._endings)))

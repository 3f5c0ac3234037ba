"""The Docker engine as the launcher asks it: few questions, and only two ways in which one can fail."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import aiohttp
from aiodocker import Docker, DockerError
from aiodocker.containers import DockerContainer

QUESTION_LIMIT_S = 5.0  # less than the hub waits for the launcher's answer
WORK_LIMIT_S = 120.0  # making, starting and removing a container, on a machine where a class starts

_NO_CONNECTION = 900  # what the library says in place of an HTTP status
_NOT_FOUND, _CONFLICT = 404, 409

Answer = TypeVar("Answer")


class EngineAway(OSError):
    """The engine cannot be asked right now: it is down, starts anew, or hangs. Nothing is known of its containers."""


class Refused(RuntimeError):
    """The engine has answered with an error. ``status`` is the HTTP status; the text is the engine's own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Gone(Refused):
    """There is no such container, image, or file in one."""


class Api:
    """One engine, on its Unix socket. All methods raise EngineAway, and Refused unless they say otherwise."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._docker: Docker | None = None

    @property
    def engine(self) -> Docker:
        """The library's client."""
        if self._docker is None:  # not before there is a loop
            # Each running server takes connections of its own, to hear of its end and of what it prints.
            self._docker = Docker("http://localhost", connector=aiohttp.UnixConnector(self._socket, limit=0))
        return self._docker

    def _container(self, name: str) -> DockerContainer:
        return self.engine.containers.container(name)

    async def close(self) -> None:
        """Let go of all connections."""
        if self._docker is not None:
            await self._docker.close()
            assert self._docker.connector is not None
            await self._docker.connector.close()
            self._docker = None

    async def image(self, tag: str) -> str | None:
        """The id of an image; None when it is not there."""
        try:
            return str((await answer(self.engine.images.inspect(tag), QUESTION_LIMIT_S))["Id"])
        except Gone:
            return None

    async def pinned(self, tag: str) -> str:
        """An image's name with the digest by which its registry has it, in place of the tag; the name itself where the
        engine knows none, or several."""
        try:
            found = await answer(self.engine.images.inspect(tag), QUESTION_LIMIT_S)
        except Gone:
            return tag
        known = [one for one in found.get("RepoDigests") or () if one.startswith(f"{tag.rpartition(':')[0]}@")]
        return str(known[0]) if len(known) == 1 else tag

    async def create(self, name: str, config: Mapping[str, Any]) -> str:
        """Make a container, without starting it; returns its id."""
        return str((await answer(self.engine.containers.create(dict(config), name=name), WORK_LIMIT_S)).id)

    async def start(self, name: str) -> None:
        await answer(self._container(name).start(), WORK_LIMIT_S)

    async def inspect(self, name: str) -> dict[str, Any] | None:
        """All the engine knows of a container; None when there is none."""
        try:
            return await answer(self._container(name).show(), QUESTION_LIMIT_S)
        except Gone:
            return None

    async def wait(self, name: str) -> None:
        """Return when the container does not run (any more), or is gone. May take for ever."""
        await self._wait(name, "not-running")

    async def _wait(self, name: str, condition: str) -> None:
        with contextlib.suppress(Gone):
            await answer(self._container(name).wait(condition=condition), None)

    async def ended(self, name: str) -> bool:
        """Whether the container does not run (any more)."""
        found = await self.inspect(name)
        return found is None or not found["State"]["Running"]

    async def stop(self, name: str, grace: float) -> None:
        """SIGTERM, and after ``grace`` seconds SIGKILL. Stopping what is gone is success."""
        with contextlib.suppress(Gone):
            await answer(self._container(name).stop(t=round(grace)), grace + WORK_LIMIT_S)

    async def remove(self, name: str) -> None:
        """Remove a container, killed first if it runs. Removing what is gone is success."""
        try:
            await answer(self._container(name).delete(force=True, v=True), WORK_LIMIT_S)
        except Gone:
            return
        except Refused as refusal:
            if refusal.status != _CONFLICT:
                raise
            await asyncio.wait_for(self._wait(name, "removed"), WORK_LIMIT_S)  # somebody is at it already

    async def leftovers(self, *labels: str) -> list[str]:
        """Ids of the containers with these labels that were made and never started."""
        filters = json.dumps({"label": labels, "status": ["created"]})
        found = await answer(self.engine.containers.list(all=True, filters=filters), QUESTION_LIMIT_S)
        return [container.id for container in found]

    async def file(self, name: str, path: str) -> str:
        """The text of a file in a container; "" when there is none."""
        with contextlib.suppress(Gone):
            archive = await answer(self._container(name).get_archive(path), WORK_LIMIT_S)
            with archive:
                members = [member for member in archive.getmembers() if member.isfile()]
                content = archive.extractfile(members[0]) if members else None
                return content.read().decode(errors="replace") if content else ""
        return ""

    async def said(self, name: str, lines: int) -> str:
        """The last lines that a container has printed; "" when it is gone."""
        with contextlib.suppress(Gone):
            log = self._container(name).log(stdout=True, stderr=True, tail=lines)
            return "".join(await answer(log, QUESTION_LIMIT_S))
        return ""

    async def follow(self, name: str, since: str) -> AsyncIterator[str]:
        """What a container prints, each piece behind the time at which it was printed and a space.

        ``since``: seconds since 1970, to the nanosecond. Ends with the container, and when the engine goes away.
        """
        with translated():
            log = self._container(name).log
            async for piece in log(stdout=True, stderr=True, follow=True, since=since, timestamps=True):
                yield piece

    async def files(self, image: str, paths: Sequence[str], name: str, labels: Mapping[str, str]) -> dict[str, str]:
        """Texts of an image's files, "" for one that it does not have. An image gives away no single file: they come
        from a container of this name that is never started."""
        body = {"Image": image, "Entrypoint": ["/none"], "Labels": dict(labels), "NetworkDisabled": True}
        await self.create(name, body)
        try:
            return {path: await self.file(name, path) for path in paths}
        finally:
            await asyncio.shield(self.remove(name))


async def answer(asked: Awaitable[Answer], limit: float | None) -> Answer:
    """What the engine answers within so many seconds. Raises EngineAway, Refused and Gone."""
    with translated():
        return await asyncio.wait_for(asked, limit)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """The library's many errors as ours: EngineAway, Refused and Gone."""
    try:
        yield
    except DockerError as error:
        if error.status == _NO_CONNECTION:
            raise EngineAway("the Docker engine is down") from error
        kind = Gone if error.status == _NOT_FOUND else Refused
        raise kind(error.status, error.message) from error
    except asyncio.TimeoutError as error:
        raise EngineAway("the Docker engine does not answer") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: half an answer
        raise EngineAway(f"the Docker engine went away in the middle ({error})") from error

"""Saves a file as Jupyter Server does, and keeps the old one also when only the last bytes do not fit.

Jupyter Server writes over the old file and puts a copy of it back when writing fails; but what it still buffers then,
it writes after it has stopped looking, or so that the copy is forgotten. On a full disk a small notebook is cut in two.
A limit of the home and a full disk are the same here, though the kernel has a number for each.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from hubfleet_singleuser.room import home_directory, is_full, lacks_room, words
from jupyter_server.services.contents.filecheckpoints import AsyncFileCheckpoints
from jupyter_server.services.contents.fileio import copy2_safe, path_to_intermediate
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from tornado import web

FULL = 507
"""The status of an answer that says so."""


class FullDiskCheckpoints(AsyncFileCheckpoints):
    """Jupyter Server's checkpoints. One that does not fit leaves the earlier one, and the notebook, as they were."""

    async def _copy(self, source: str, target: str) -> None:
        await asyncio.to_thread(_copy_whole, source, target)


class FullDiskFileManager(AsyncLargeFileManager):
    """Jupyter Server's file manager, with the end of every save inside the part that can be undone."""

    def _checkpoints_class_default(self) -> type[AsyncFileCheckpoints]:
        return FullDiskCheckpoints

    @contextmanager
    def atomic_writing(self, os_path: str, *arguments: Any, **options: Any) -> Iterator[IO[Any]]:
        """See FileManagerMixin. What a save that failed has begun and nobody had before, is removed."""
        os_path = os.path.realpath(os_path)
        known, opened = os.path.exists(os_path), False
        try:
            with super().atomic_writing(os_path, *arguments, **options) as file:
                opened = True
                try:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    _forget_buffer(file)
                    raise
        except OSError:
            begun = os_path if opened and not known else path_to_intermediate(os_path)
            if not (opened and known):  # or else that is what Jupyter Server has put back
                with suppress(OSError):
                    os.unlink(begun)
            raise

    async def save(self, model: dict[str, Any], path: str = "") -> Any:
        """As Jupyter Server; where there is no room, it says what that means and what to do."""
        try:
            return await super().save(model, path)
        except web.HTTPError as error:
            if error.status_code == FULL:
                return await self.get(path, content=False)  # it is saved: what had no room is its first checkpoint
            if not lacks_room(error.__cause__):
                raise
            name, chunk, target = path.rpartition("/")[2], model.get("chunk"), self._get_os_path(path.strip("/"))
            happened = f"{name} was not saved; on the disk it is as it was before"
            if model.get("type") == "directory":
                happened = f"The folder {name} was not made"
            elif chunk is not None:
                happened = f"{name} was not uploaded"
                if chunk != 1:
                    with suppress(OSError):
                        os.unlink(target)  # a part of it is of no use, and takes room
            raise web.HTTPError(FULL, words(target, happened, error)) from error

    def check_and_sign(self, notebook: Any, path: str = "", **again: Any) -> None:
        """As Jupyter Server; a full home keeps it from noting that it trusts this notebook, but not from saving it.

        ``again``: its second try, which waits for a lock that the first one has kept.
        """
        full = is_full(home_directory())
        if full and again:
            return  # the first is in the log
        try:
            super().check_and_sign(notebook, path, **again)
        except Exception as error:
            if not (full or lacks_room(error)):  # SQLite has many words for it
                raise
            self.log.warning("not noted that %s is trusted: %s", path, error)

    async def create_checkpoint(self, path: str) -> Any:
        """As Jupyter Server; where there is no room, it says what that means."""
        try:
            return await super().create_checkpoint(path)
        except Exception as error:
            if not lacks_room(error):
                raise
            name = path.rpartition("/")[2]
            happened = f"{name} is saved, but there is no checkpoint of it to go back to"
            raise web.HTTPError(FULL, words(self._get_os_path(path.strip("/")), happened, error)) from error

    async def restore_checkpoint(self, checkpoint_id: str, path: str) -> Any:
        """As Jupyter Server; where there is no room, it says what that means."""
        try:
            return await super().restore_checkpoint(checkpoint_id, path)
        except Exception as error:
            if not lacks_room(error):
                raise
            happened = f"{path.rpartition('/')[2]} is as it was, and its checkpoint too"
            raise web.HTTPError(FULL, words(self._get_os_path(path.strip("/")), happened, error)) from error

    async def delete_file(self, path: str) -> Any:
        """As Jupyter Server; the trash is a part of the home, and takes nothing when that is full."""
        try:
            return await super().delete_file(path)
        except web.HTTPError as error:
            if not lacks_room(error.__cause__):
                raise
            happened = f"{path.rpartition('/')[2]} is still there: moving it to the trash takes room too"
            raise web.HTTPError(FULL, words(self._get_os_path(path.strip("/")), happened, error)) from error


def _copy_whole(source: str, target: str) -> None:
    """Copy a file so that what was at its target stays until the copy is whole. Raises OSError."""
    target = os.path.realpath(target)
    beside = path_to_intermediate(target)
    try:
        copy2_safe(source, beside)
        with open(beside, "rb") as file:
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(beside)
        raise


def _forget_buffer(file: IO[Any]) -> None:
    """Let the file be closed without another try to write, which would fail again and stop the old file's return."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, file.fileno())
    os.close(null)

"""Saves a file as Jupyter Server does, and keeps the old one also when only the last bytes do not fit.

Jupyter Server writes over the old file and puts a copy of it back when writing fails; but what it still buffers then,
it writes after it has stopped looking, or so that the copy is forgotten. On a full disk a small notebook is cut in two.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager


class FullDiskFileManager(AsyncLargeFileManager):
    """Jupyter Server's file manager, with the end of every save inside the part that can be undone."""

    @contextmanager
    def atomic_writing(self, os_path: str, *arguments: Any, **options: Any) -> Iterator[IO[Any]]:
        """See FileManagerMixin."""
        with super().atomic_writing(os_path, *arguments, **options) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                _forget_buffer(file)
                raise


def _forget_buffer(file: IO[Any]) -> None:
    """Let the file be closed without another try to write, which would fail again and stop the old file's return."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, file.fileno())
    os.close(null)

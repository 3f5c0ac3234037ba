"""Serves the scripts and styles of JupyterLab as they were compressed when the environment was built.

Beside such a file lies another whose name ends in ``.gz``. Sending that one costs a server less than sending the file
itself, and a browser on a slow network waits less.
"""

from __future__ import annotations

import mimetypes
import os
import re

from jupyter_server.base.handlers import FileFindHandler

_NEVER = re.compile(r"\s*q\s*=\s*0(\.0*)?\s*")


class CompressedFiles(FileFindHandler):
    """Jupyter Server's handler of static files, which takes the compressed one for a browser that can read it.

    Neither has an ETag: what a browser has kept is compared by its time, which both have in common.
    """

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        """As Jupyter Server; the path of what is sent."""
        found: str | None = super().validate_absolute_path(root, absolute_path)
        if found is None or not _made_from(found, f"{found}.gz"):
            return found
        self.set_header("Vary", "Accept-Encoding")
        # A part is a part of what the file holds; programs that ask for one do not expect a part of something else.
        if "Range" in self.request.headers or not _takes_gzip(self.request.headers.get("Accept-Encoding", "")):
            return found
        self.set_header("Content-Encoding", "gzip")
        compressed: str | None = super().validate_absolute_path(root, f"{found}.gz")
        return compressed

    def get_content_type(self) -> str:
        """That of the file which was asked for."""
        if self._headers.get("Content-Encoding") != "gzip":
            return str(super().get_content_type())
        kind, _ = mimetypes.guess_type(str(self.absolute_path).removesuffix(".gz"))
        return kind or "application/octet-stream"


def _made_from(path: str, compressed: str) -> bool:
    """Whether the compressed file is there and is of this one: the build gives both the same time."""
    try:
        return os.stat(compressed).st_mtime_ns == os.stat(path).st_mtime_ns
    except OSError:
        return False


def _takes_gzip(accepted: str) -> bool:
    choices = (choice.partition(";") for choice in accepted.lower().split(","))
    return any(name.strip() == "gzip" and not _NEVER.fullmatch(weight) for name, _, weight in choices)

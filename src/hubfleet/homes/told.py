"""The limits of people whom a group has that the file does not list them in, as they were at their last start."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

FILE = ".hubfleet-limits"
"""Beside the homes: no home's name begins with a dot."""


class Told:
    """Of the directory that holds all homes. May be called by several threads. Raises OSError."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._lock = threading.Lock()

    def all(self) -> dict[str, int]:
        """In bytes, by the name of the home."""
        try:
            told: dict[str, int] = json.loads((self._place / FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return told

    def keep(self, name: str, limit: int | None) -> None:
        """Remember one, in bytes; None: nobody says anything of this home but the file."""
        with self._lock:
            now = self.all()
            if now.get(name) == limit:
                return
            now.pop(name, None)
            if limit is not None:
                now[name] = limit
            new = self._place / f"{FILE}.new"
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(now, file, indent=1, sort_keys=True)
                file.flush()
                os.fsync(descriptor)
            new.replace(self._place / FILE)

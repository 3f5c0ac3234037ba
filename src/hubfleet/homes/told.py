"""In which groups people are that the file does not list them in, as far as the limits of homes go.

They are kept as they were at each one's last start, by name: so what the file says of a group holds from then on.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

FILE = ".hubfleet-groups"
"""Beside the homes: no home's name begins with a dot."""


class Told:
    """Of the directory that holds all homes. May be called by several threads. Raises OSError."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._lock = threading.Lock()

    def of(self, name: str) -> str | None:
        """The group whose limit a home has; None: nobody says anything of this home but the file."""
        return self._all().get(name)

    def keep(self, name: str, group: str | None) -> None:
        """Remember one; None: see `of`."""
        with self._lock:
            now = self._all()
            if now.get(name) == group:
                return
            now.pop(name, None)
            if group is not None:
                now[name] = group
            new = self._place / f"{FILE}.new"
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(now, file, indent=1, sort_keys=True)
                file.flush()
                os.fsync(descriptor)
            new.replace(self._place / FILE)

    def _all(self) -> dict[str, str]:
        """By the name of the home."""
        try:
            told: dict[str, str] = json.loads((self._place / FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return told

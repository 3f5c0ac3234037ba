"""Which account of the provider has which name on this hub: the first that came in with it, for good.

A home belongs to a name. Two accounts whose names are alike once they are normalised (`Ada` and `ada`), and whoever
takes a name at the provider that somebody gave up there, would otherwise find the other's files.
"""

from __future__ import annotations

import json
from pathlib import Path

from hubfleet.privatefiles import write_private


class Claims:
    """A table in a file beside the database: by provider, and in that by name, the account's own id there."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, dict[str, str]] = json.loads(file.read_text()) if file.exists() else {}

    def claim(self, provider: str, name: str, subject: str) -> bool:
        """Whether the name is this account's; it is from now on if it was nobody's. Raises OSError."""
        names = self._known.setdefault(provider, {})
        if name not in names:
            names[name] = subject
            try:
                write_private(self._file, json.dumps(self._known, indent=1, sort_keys=True) + "\n")
            except OSError:
                del names[name]
                raise
        return names[name] == subject

    def names(self, provider: str) -> list[str]:
        """All that somebody has."""
        return sorted(self._known.get(provider, {}))

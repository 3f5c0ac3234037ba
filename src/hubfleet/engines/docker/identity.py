"""/etc/passwd and /etc/group as a user sees them: the image's, and the user's own line first."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from hubfleet.config.owner import Owner
from hubfleet.engines.accounts import IDENTITY, own_lines
from hubfleet.engines.contained import HUB_LABEL, SERVER_LABEL
from hubfleet.engines.dockerapi import Api

_KNOWN = 20
"""Images whose files are known by heart, at most."""


class Identities:
    """Keeps such files for the containers that run, in a directory a server; and knows the images' own by heart."""

    def __init__(self, api: Api, hub: str, directory: Path) -> None:
        self._api = api
        self._hub = hub
        self._directory = directory
        self._known: dict[str, dict[str, str]] = {}
        self._reading = asyncio.Lock()

    async def write(self, server: str, image: str, name: str, owner: Owner) -> Mapping[str, Path]:
        """Write the files of one server; returns them by their place in the image. Raises as `Api`, and OSError."""
        async with self._reading:
            if image not in self._known:
                if len(self._known) >= _KNOWN:  # images come and go with upgrades
                    self._known.clear()
                self._known[image] = await self._read(image)
        texts = self._known[image]
        folder = self._directory / server
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        written = {}
        for place, line in own_lines(name, owner).items():
            written[place] = folder / Path(place).name
            written[place].write_text(line + texts[place])
            written[place].chmod(0o644)
        return written

    def remove(self, server: str) -> None:
        shutil.rmtree(self._directory / server, ignore_errors=True)

    async def _read(self, image: str) -> dict[str, str]:
        name = f"hubfleet-{self._hub}-reading-{uuid.uuid4().hex[:16]}"
        return await self._api.files(image, IDENTITY, name, {HUB_LABEL: self._hub, SERVER_LABEL: ""})

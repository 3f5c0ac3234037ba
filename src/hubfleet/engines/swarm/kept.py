"""What the swarm keeps for servers and brings to them: a secret for each, and each user's lines of identity."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import uuid
from collections.abc import Mapping
from typing import Any

from hubfleet.config.owner import Owner
from hubfleet.engines.accounts import IDENTITY, own_lines
from hubfleet.engines.contained import HUB_LABEL, SERVER_LABEL
from hubfleet.engines.dockerapi import Refused
from hubfleet.engines.swarm.api import NameTaken, SwarmApi
from hubfleet.engines.swarm.places import called
from hubfleet.engines.swarm.specification import PROGRAM, Held

logger = logging.getLogger("hubfleet.launcher")

_IMAGES = 20
"""Whose files are known by heart, at most."""
_WITHOUT_IMAGE = {"/etc/passwd": "root:x:0:0:root:/root:/bin/bash\n", "/etc/group": "root:x:0:\n"}


class Kept:
    """Secrets are gone with their server. A user's identity stays for the next start, until the launcher's next."""

    def __init__(self, api: SwarmApi, hub: str) -> None:
        self._api = api
        self._hub = hub
        self._texts: dict[str, dict[str, str]] = {}
        self._reading = asyncio.Lock()
        self._known: dict[str, Held] = {}

    async def sweep(self) -> None:
        """Remove what no service has. Raises as `SwarmApi`."""
        label = f"{HUB_LABEL}={self._hub}"
        for kind in ("secrets", "configs"):
            for identifier in await self._api.kept(kind, label):
                await self._api.forget(kind, identifier)

    async def secret(self, name: str, server: str, content: Mapping[str, Any]) -> Held:
        """What a server's first program is told."""
        labels = {HUB_LABEL: self._hub, SERVER_LABEL: server}
        return Held(await self._api.keep("secrets", name, labels, json.dumps(content).encode()), name, PROGRAM)

    async def forget_secret(self, name: str) -> bool:
        """False: a service still has it."""
        return await self._api.forget("secrets", name)

    def forget_known(self) -> None:
        """Somebody has removed what we thought was there."""
        self._known.clear()

    async def identity(self, image: str, name: str, owner: Owner) -> list[Held]:
        """The user's lines and those of the image, as files."""
        async with self._reading:
            if image not in self._texts:
                if len(self._texts) >= _IMAGES:  # they come and go with upgrades
                    self._texts.clear()
                self._texts[image] = await self._read(image)
        texts = self._texts[image]
        files = {place: own + texts[place] for place, own in own_lines(name, owner).items()}
        return list(await asyncio.gather(*(self._config(place, text) for place, text in files.items())))

    async def _config(self, place: str, text: str) -> Held:
        digest = hashlib.sha256(f"{place}\0{text}".encode()).hexdigest()[:24]
        name = f"hubfleet-{called(self._hub)}-{digest}"
        if name not in self._known:
            try:
                made = await self._api.keep("configs", name, {HUB_LABEL: self._hub}, text.encode())
            except NameTaken:
                found = await self._api.kept("configs", f"{HUB_LABEL}={self._hub}")
                made = next(identifier for identifier, known in found.items() if known == name)
            self._known[name] = Held(made, name, place)
        return self._known[name]

    async def _read(self, image: str) -> dict[str, str]:
        name = f"hubfleet-{self._hub}-reading-{uuid.uuid4().hex[:16]}"
        try:
            return await self._api.files(image, IDENTITY, name, {HUB_LABEL: self._hub, SERVER_LABEL: ""})
        except Refused as refusal:
            logger.warning("the hub's machine has no image %s, so its accounts are not known: %s", image, refusal)
            return _WITHOUT_IMAGE

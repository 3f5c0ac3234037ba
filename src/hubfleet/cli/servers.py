"""Users' servers without their launcher: found by its records, ended by its engine."""

from __future__ import annotations

import asyncio
import json

from hubfleet.cli.deployment import Deployment
from hubfleet.config import Config
from hubfleet.launcher.base import Record, Stopped
from hubfleet.launcher.servers import Servers
from hubfleet.launcher.state import Records


def running_servers(deployment: Deployment) -> list[Record]:
    """The servers that run, whether or not a launcher does."""

    async def look() -> list[Record]:
        directory = deployment.layout.launcher_dir
        if not (directory / "servers").is_dir():
            return []
        launch = deployment.engine.launch(_settings(deployment)["engine"])
        records = Records(directory / "servers").load().values()
        return [record for record in records if not isinstance(await launch.poll(record), Stopped)]

    return asyncio.run(look())


def stop_servers(deployment: Deployment) -> int:
    """Stop all servers; returns how many there were. Only for when no launcher runs."""

    async def stop() -> int:
        settings = _settings(deployment)
        launch = deployment.engine.launch(settings["engine"])
        servers = Servers(Config.from_dump(settings["config"]), launch, deployment.layout.launcher_dir / "servers")
        await servers.adopt()
        return await servers.stop_all()

    return asyncio.run(stop()) if running_servers(deployment) else 0


def _settings(deployment: Deployment) -> dict[str, dict[str, object]]:
    data: dict[str, dict[str, object]] = json.loads((deployment.layout.launcher_dir / "launcher.json").read_text())
    return data

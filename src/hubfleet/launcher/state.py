"""The launcher's memory on disk: one small file a server, so that a restart finds every server again."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from hubfleet.launcher.base import Record
from hubfleet.privatefiles import write_private

log = logging.getLogger("hubfleet.launcher")


class Records:
    """Records of servers in a directory of their own. Each write is complete or has not happened."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def load(self) -> dict[str, Record]:
        """All records by id. A file that cannot be read is set aside under another name and reported in the log."""
        found: dict[str, Record] = {}
        for path in sorted(self._directory.glob("*.json")):
            try:
                record = Record(**json.loads(path.read_text()))
            except (ValueError, TypeError) as error:
                aside = path.with_suffix(".damaged")
                path.rename(aside)
                log.error("%s: cannot be read (%s); kept as %s", path, error, aside)
                continue
            found[record.id] = record
        return found

    def save(self, record: Record) -> None:
        """Raises OSError, with the previous record intact, when the disk is full."""
        write_private(self._directory / f"{record.id}.json", json.dumps(record.to_json()))

    def remove(self, identifier: str) -> None:
        (self._directory / f"{identifier}.json").unlink(missing_ok=True)

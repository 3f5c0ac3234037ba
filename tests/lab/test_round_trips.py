"""How often a machine is asked when there is nothing to change: the way there and back is what people wait for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hubs_there import HubThere
from machines import Lab
from stock import stocked

import needs
from hubfleet.cli.begin import open_deployment
from hubfleet.cli.reading import Options
from hubfleet.machines import SSHMachine
from hubfleet.plan.generations import KEPT

pytestmark = needs.machines()
MOST = 8
_AGAIN = """
import json, pathlib, shutil, sys
folder = pathlib.Path(sys.argv[1])
first = folder / "0001"
for number in range(2, int(sys.argv[2]) + 1):
    copy = folder / f"{number:04d}"
    shutil.copytree(first, copy)
    manifest = json.loads((first / "manifest.json").read_text())
    if number < int(sys.argv[2]):  # the last one is as the hub is
        for resource in manifest["machines"]["hub1"]:
            if resource["kind"] == "file":
                resource["content"] = f"{resource['content']} {number}"
    (copy / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\\n")
(folder / "current").unlink()
(folder / "current").symlink_to(f"{int(sys.argv[2]):04d}")
"""
"""Makes generations of the first one, each another than the one before."""


def test_a_plan_with_nothing_to_change_after_twenty_generations(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = stocked(lab)
    hub = HubThere(machine, tmp_path)
    hub.write()
    assert "travel unencrypted to 0.0.0.0:8000" in " ".join(hub.up().split())
    machine.run("python3", "-c", _AGAIN, hub.state / "generations", str(KEPT))
    assert hub.changes() == []

    asked: list[str] = []
    ask = SSHMachine._ask

    def note(self: SSHMachine, verb: str, *more: Any, **request: Any) -> Any:
        asked.append(json.dumps([verb, request.get("method"), request.get("arguments") or request.get("target")])[:200])
        return ask(self, verb, *more, **request)

    monkeypatch.setattr(SSHMachine, "_ask", note)
    deployment = open_deployment(Options(tmp_path / "hubfleet.yaml"))
    try:
        plan = deployment.plan()
        assert plan.empty
        assert deployment.generations.current() == KEPT
        assert len(asked) <= MOST, asked
    finally:
        deployment.machine.close()

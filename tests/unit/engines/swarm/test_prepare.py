"""What a server does without, and what it is told to look for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hubfleet.config import Mount
from hubfleet.config.owner import Owner
from hubfleet.engines.swarm.prepare import prepared, without
from hubfleet.engines.swarm.showing import Bind, Unfit
from hubfleet.engines.swarm.specification import Server, Settings
from hubfleet.launcher.base import StartFailed
from unit.engines.swarm.test_specification import REQUEST, told, wanted

OWNER = Owner(70_001, 70_001)
MISSING = 'worker2 could not run it: invalid mount config for type "bind": bind source path does not exist: '
BINDS = [
    Bind("/work/ada", "/work", True),
    Bind("/corral/p 1", "/home/ada/projects/Shake table", True, optional=True),
    Bind("/corral/p2", "/home/ada/projects/Waves", False, optional=True),
]
SERVER = Server("ada", "ada", OWNER, BINDS, {})


def test_a_project_that_a_machine_does_not_have_is_left_out_and_said() -> None:
    said: list[str] = []
    rest = without(SERVER, StartFailed(f"{MISSING}/corral/p 1"), said.append)
    assert rest is not None
    assert [bind.source for bind in rest.binds] == ["/work/ada", "/corral/p2"]
    assert said == [
        "Left out: Shake table: /corral/p 1 is missing on worker2; an administrator has to create it",
    ]
    assert without(rest, StartFailed(f"{MISSING}/corral/p 1"), said.append) is None, "it is tried once"


def test_a_project_that_leads_elsewhere_is_left_out_too() -> None:
    said: list[str] = []
    rest = without(SERVER, Unfit("worker2: it leads", "/home/ada/projects/Waves"), said.append)
    assert rest is not None
    assert [bind.source for bind in rest.binds] == ["/work/ada", "/corral/p 1"]
    assert said == ["Left out: Waves: worker2: it leads"]


@pytest.mark.parametrize("problem", [f"{MISSING}/work/ada", "no machine has room", f"{MISSING}/corral"])
def test_nothing_else_is_done_without(problem: str) -> None:
    assert without(SERVER, StartFailed(problem), lambda line: pytest.fail(line)) is None
    assert without(SERVER, Unfit(problem), lambda line: pytest.fail(line)) is None


def test_what_links_lead_to_here_is_not_told_to_other_machines(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    settings = replace(Settings.from_json(told(hub_gid=1)), host_root="", homes=replace(_NONE, kind="none"))
    mounts = (Mount(f"{tmp_path}/link", "/data", "rw"), Mount("/only/there", "/more", "ro"))
    effective = wanted(mounts=mounts, must_be_mounted=("/only",))
    server = prepared(settings, REQUEST, effective, OWNER, None, lambda line: pytest.fail(line))
    assert server.binds == [
        Bind(f"{tmp_path}/link", "/data", True),
        Bind("/only/there", "/more", False, ("/only",)),
    ]
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("/")
    with pytest.raises(StartFailed, match="leads to /, which users must not see"):
        prepared(settings, REQUEST, effective, OWNER, None, lambda line: pytest.fail(line))


_NONE = Settings.from_json(told(hub_gid=1)).homes

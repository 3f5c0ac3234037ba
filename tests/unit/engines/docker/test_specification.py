"""What a container is asked to be, and where mounts lead. No engine is asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hubfleet.config import Mount, default_config
from hubfleet.config.effective import Effective, effective
from hubfleet.config.owner import Owner
from hubfleet.engines.contained import PROCESSES, name_of
from hubfleet.engines.docker import specification
from hubfleet.engines.docker.specification import Server, Settings
from hubfleet.engines.places import Place, place_of, real_path
from hubfleet.launcher.base import Request, StartFailed
from hubfleet.units import Bytes, Cores

SETTINGS = {
    "hub": "h",
    "base": "/var/lib/hubfleet",
    "privileged": True,
    "image": "hubfleet/user:1",
    "python": "/opt/hubfleet/environments/users-1",
    "network": "hubfleet-h-users",
    "keeper": {"socket": "/run/keeper.sock"},
    "hub_account": "hubfleet-h",
    "hub_uid": 990,
    "hub_gid": 991,
    "variables": {"COURSE": "physics"},
}
SERVER = Server(
    "ada",
    "ada",
    Owner(70_001, 70_501),
    Path("/var/lib/hubfleet/h/run/servers/0123456789abcdef"),
    {"/etc/passwd": Path("/p"), "/etc/group": Path("/g")},
    [Place("/srv/homes/ada", "/home/ada", True, (1, 2)), Place("/srv/data", "/data", False, (1, 3))],
)


def made(**changed: Any) -> dict[str, Any]:
    return specification.container(Settings.from_json(SETTINGS), SERVER, wanted(**changed))


def wanted(**changed: Any) -> Effective:
    return replace(effective(default_config(), "ada"), **changed)


def test_settings_are_those_of_the_file() -> None:
    settings = Settings.from_json(SETTINGS)
    assert (settings.hub_gid, settings.keeper, settings.skeleton) == (991, {"socket": "/run/keeper.sock"}, None)
    assert (settings.host_root, settings.engine_socket) == ("", "/var/run/docker.sock")


def test_the_confinement_is_whole() -> None:
    host = made()["HostConfig"]
    assert (host["CapDrop"], host["SecurityOpt"], host["Privileged"]) == (["ALL"], ["no-new-privileges"], False)
    assert (host["ReadonlyRootfs"], host["IpcMode"], host["Init"]) == (True, "private", True)
    assert (host["RestartPolicy"], host["NetworkMode"]) == ({"Name": "no"}, "hubfleet-h-users")
    assert made()["User"] == "70001:70501"


def test_limits() -> None:
    host = made(
        memory_limit=Bytes(1 << 30), memory_guarantee=Bytes(1 << 29), cpu_limit=Cores(0.5), cpu_guarantee=Cores(0.1)
    )["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["MemoryReservation"]) == (1 << 30, 1 << 30, 1 << 29)
    assert (host["NanoCpus"], host["CpuShares"]) == (500_000_000, 102)
    assert host["ShmSize"] == 1 << 30


def test_without_limits_there_is_still_one_on_processes() -> None:
    host = made()["HostConfig"]
    assert host["PidsLimit"] == PROCESSES
    assert not {"Memory", "MemorySwap", "MemoryReservation", "NanoCpus", "CpuShares"} & set(host)
    assert made(processes=200)["HostConfig"]["PidsLimit"] == 200


def test_nothing_is_mounted_but_what_has_to_be() -> None:
    mounts = {mount["Target"]: (mount["Source"], mount["ReadOnly"]) for mount in made()["HostConfig"]["Mounts"]}
    assert mounts == {
        "/home/ada": ("/srv/homes/ada", False),
        "/data": ("/srv/data", True),
        str(SERVER.run): (str(SERVER.run), False),
        "/var/lib/hubfleet/h/run/hub": ("/var/lib/hubfleet/h/run/hub", True),
        "/etc/passwd": ("/p", True),
        "/etc/group": ("/g", True),
    }
    # What is mounted inside one of them would come along, and be writable.
    assert all(mount["BindOptions"]["NonRecursive"] for mount in made()["HostConfig"]["Mounts"])


def test_secrets_are_in_the_program_only() -> None:
    settings = Settings.from_json(SETTINGS)
    request = Request("ada", environment={"JUPYTERHUB_API_TOKEN": "canary", "JUPYTERHUB_SERVICE_PREFIX": "/user/ada/"})
    program = specification.program(settings, SERVER, request, wanted(environment={"COURSE": "maths"}))
    assert program["environment"]["JUPYTERHUB_API_TOKEN"] == "canary"
    assert program["environment"]["COURSE"] == "maths"
    assert program["environment"]["JUPYTERHUB_SERVICE_URL"].endswith("server.sock/user/ada/")
    assert "canary" not in json.dumps(program["argv"])
    assert "canary" not in json.dumps(made())


def test_a_name_is_one_servers() -> None:
    names = [name_of(hub, server) for hub in ("a", "a-user", "b.c") for server in ("ada", "ada.x", "x" * 60)]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 100 for name in names)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host's files, as seen from a launcher in a container."""
    root = tmp_path / "host"
    (root / "srv" / "data" / "inner").mkdir(parents=True)
    (root / "etc").mkdir()
    for name, target in {
        "plain": "data",
        "whole": "/srv/data/inner",
        "chain": "/srv/plain/inner",
        "up": "../../../srv/data",
        "etc": "/etc",
        "circle": "circle",
        "none": "/srv/missing",
    }.items():
        (root / "srv" / name).symlink_to(target)
    return root


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("/srv/data", "/srv/data"),
        ("/srv/plain", "/srv/data"),
        ("/srv/plain/inner", "/srv/data/inner"),
        ("/srv/whole", "/srv/data/inner"),
        ("/srv/chain", "/srv/data/inner"),
        ("/srv/up", "/srv/data"),
        ("/srv/data/../../..", "/"),
    ],
)
def test_links_lead_where_they_lead_on_the_host(host: Path, path: str, real: str) -> None:
    assert real_path(path, str(host)) == real


@pytest.mark.parametrize(
    ("path", "words"),
    [("/srv/etc", "users must not see"), ("/srv/none", "is missing"), ("/srv/circle", "leads in circles")],
)
def test_a_mount_that_is_refused(host: Path, path: str, words: str) -> None:
    with pytest.raises(StartFailed, match=words):
        place_of(Mount(path, "/data", "ro"), str(host))


def test_a_mounts_place(host: Path) -> None:
    place = place_of(Mount("/srv/plain", "/data", "rw"), str(host))
    found = (host / "srv" / "data").stat()
    assert place == Place("/srv/data", "/data", True, (found.st_dev, found.st_ino))

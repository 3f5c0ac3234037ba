"""What is asked of the swarm for a server."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hubfleet.config import default_config
from hubfleet.config.effective import Effective, effective
from hubfleet.config.owner import Owner
from hubfleet.engines.contained import PROCESSES, name_of
from hubfleet.engines.swarm import specification
from hubfleet.engines.swarm.showing import Bind
from hubfleet.engines.swarm.specification import Held, Server, Settings
from hubfleet.launcher.base import Request
from hubfleet.units import Bytes, Cores

CANARY = "canary-4711"
REQUEST = Request("ada", "", None, {"JUPYTERHUB_API_TOKEN": CANARY, "JUPYTERHUB_SERVICE_PREFIX": "/user/ada/"})
SERVER = Server("ada", "ada", Owner(70_001, 80_001), [Bind("/srv/homes/ada", "/home/ada", True)], {"/home/ada": 12})
SECRET = Held("s1", "secret-name", specification.PROGRAM)
CONFIGS = [Held("c1", "config-1", "/etc/passwd"), Held("c2", "config-2", "/etc/group")]


def told(**changed: Any) -> dict[str, Any]:
    return {
        "hub": "physics101",
        "base": "/var/lib/hubfleet",
        "privileged": True,
        "image": "hub1:5000/users@sha256:1",
        "python": "/opt/hubfleet/environment",
        "network": "hubfleet-physics101-fleet",
        "door": {"address": "10.90.0.4", "port": 7446},
        "probe": {"address": "10.90.0.4", "port": 7447},
        "server_port": 8888,
        "homes": {"kind": "mounted", "path": "/srv/homes", "server": "", "options": ""},
        "placement": ["node.labels.hubfleet.physics101.worker==yes"],
        "variables": {"http_proxy": "http://proxy"},
        "keeper": {"socket": "/run/keeper.sock"},
        "hub_account": "hubfleet-physics101",
        "hub_gid": 990,
        "host_root": "/host",
        "engine_socket": "/var/run/docker.sock",
        **changed,
    }


def wanted(**changed: Any) -> Effective:
    return replace(effective(default_config(), "ada"), **changed)


def made(settings: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    read = Settings.from_json(settings or told())
    return specification.service(read, SERVER, wanted(**changed), SECRET, CONFIGS)


def mounts(settings: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    found = made(settings, memory_limit=Bytes(1 << 30))["TaskTemplate"]["ContainerSpec"]["Mounts"]
    return {mount["Target"]: mount for mount in found}


def test_machines_it_must_not_come_to_are_named_and_not_described() -> None:
    """By a label, the swarm would end the servers that are there when the label comes."""
    read = Settings.from_json(told())
    body = specification.service(read, SERVER, wanted(), SECRET, CONFIGS, None, ["n1", "n2"])
    constraints = body["TaskTemplate"]["Placement"]["Constraints"]
    assert constraints == ["node.labels.hubfleet.physics101.worker==yes", "node.id!=n1", "node.id!=n2"]


def test_it_ends_once_and_is_told_from_others() -> None:
    body = made()
    assert body["Name"] == name_of("physics101", "ada")
    assert body["Labels"] == {"hubfleet.hub": "physics101", "hubfleet.server": "ada"}
    task = body["TaskTemplate"]
    assert task["RestartPolicy"] == {"Condition": "none"}
    assert body["Mode"] == {"Replicated": {"Replicas": 1}}
    assert body["EndpointSpec"] == {"Mode": "dnsrr"}
    assert task["Placement"] == {"Constraints": ["node.labels.hubfleet.physics101.worker==yes"]}
    assert task["Networks"] == [{"Target": "hubfleet-physics101-fleet"}]


def test_it_is_confined() -> None:
    container = made()["TaskTemplate"]["ContainerSpec"]
    assert (container["ReadOnly"], container["CapabilityDrop"], container["User"]) == (True, ["ALL"], "70001:80001")
    assert made()["TaskTemplate"]["Resources"]["Limits"]["Pids"] == PROCESSES


def test_limits_and_guarantees() -> None:
    given = {"memory_limit": Bytes(400), "memory_guarantee": Bytes(200), "processes": 300}
    body = made(None, **given, cpu_limit=Cores(0.5), cpu_guarantee=Cores(0.25))
    assert body["TaskTemplate"]["Resources"] == {
        "Limits": {"Pids": 300, "MemoryBytes": 400, "NanoCPUs": 500_000_000},
        "Reservations": {"MemoryBytes": 200, "NanoCPUs": 250_000_000},
    }


@pytest.mark.parametrize(("cores", "limit"), [(4.0, 4), (16.0, 8), (None, 8)])
def test_no_machine_gives_more_cores_than_it_has(cores: float | None, limit: int) -> None:
    options = wanted(cpu_limit=Cores(8))
    body = specification.service(Settings.from_json(told()), SERVER, options, SECRET, CONFIGS, cores)
    assert body["TaskTemplate"]["Resources"]["Limits"]["NanoCPUs"] == limit * 10**9


def test_where_it_may_write() -> None:
    found = mounts()
    assert set(found) == {"/home/ada", "/tmp", "/var/tmp", "/run/lock", "/run/user", "/dev/shm"}
    assert found["/home/ada"]["Source"] == "/srv/homes/ada"
    assert found["/home/ada"]["BindOptions"] == {"Propagation": "rprivate", "NonRecursive": True}
    assert found["/tmp"]["VolumeOptions"]["DriverConfig"]["Options"]["o"] == f"size={1 << 30},mode=1777,nosuid,nodev"
    assert found["/dev/shm"]["TmpfsOptions"] == {"SizeBytes": 1 << 30, "Mode": 0o1777}


def test_homes_of_a_file_server_are_mounted_by_each_machine() -> None:
    homes = {"kind": "nfs", "path": "/export/homes", "server": "10.0.0.9", "options": "nfsvers=4.2,hard"}
    server = replace(SERVER, binds=[], seen={})
    body = specification.service(Settings.from_json(told(homes=homes)), server, wanted(), SECRET, CONFIGS)
    home = body["TaskTemplate"]["ContainerSpec"]["Mounts"][0]
    assert (home["Type"], home["Target"]) == ("volume", "/home/ada")
    assert home["VolumeOptions"]["Labels"] == {"hubfleet.hub": "physics101"}
    assert home["VolumeOptions"]["DriverConfig"]["Options"] == {
        "type": "nfs",
        "o": "addr=10.0.0.9,rw,nfsvers=4.2,hard",
        "device": ":/export/homes/ada",
    }


def test_a_volume_has_the_same_name_at_each_start_and_another_with_other_options() -> None:
    """One without a name would be left on the machine at each start, and one with a name keeps its options."""

    def named(one: Server = SERVER, **homes: str) -> list[str]:
        told_of = {"kind": "nfs", "path": "/export/homes", "server": "10.0.0.9", "options": "hard", **homes}
        body = specification.service(Settings.from_json(told(homes=told_of)), one, wanted(), SECRET, CONFIGS)
        mounts = body["TaskTemplate"]["ContainerSpec"]["Mounts"]
        return [one["Source"] for one in mounts if one["Type"] == "volume"]

    assert len(set(named())) == 2  # the home and /tmp
    assert named() == named()
    for other in ({"options": "soft"}, {"server": "10.0.0.8"}, {"path": "/srv"}):
        assert (named(**other)[0] == named()[0], named(**other)[1] == named()[1]) == (False, True)
    assert not set(named(replace(SERVER, id="other"))) & set(named())


def test_homes_that_are_not_kept_are_their_users_alone() -> None:
    found = mounts(told(homes={"kind": "none"}))
    assert ",mode=700,uid=70001,gid=80001," in json.dumps(found["/home/ada"]) or found["/home/ada"]["Type"] == "bind"
    server = replace(SERVER, binds=[], seen={})
    body = specification.service(Settings.from_json(told(homes={"kind": "none"})), server, wanted(), SECRET, CONFIGS)
    options = body["TaskTemplate"]["ContainerSpec"]["Mounts"][0]["VolumeOptions"]["DriverConfig"]["Options"]["o"]
    assert "mode=700,uid=70001,gid=80001,nosuid,nodev" in options


def test_other_kinds_of_homes_are_refused() -> None:
    with pytest.raises(ValueError, match="homes cannot be 'cloud'"):
        Settings.from_json(told(homes={"kind": "cloud"}))


def test_the_hubs_secrets_are_in_the_secret_only() -> None:
    settings = Settings.from_json(told())
    program = specification.program(settings, SERVER, REQUEST, wanted(), "the-key")
    assert program["environment"]["JUPYTERHUB_API_TOKEN"] == CANARY
    assert program["key"] == "the-key"
    assert (program["door"], program["probe"]) == (["10.90.0.4", 7446], ["10.90.0.4", 7447])
    assert (program["listen"], program["private"]) == ([8888, "/user/ada/"], "/run/user/70001")
    assert program["look"] == ["/home/ada"]
    body = json.dumps(made())
    assert CANARY not in body
    assert "the-key" not in body
    held = json.loads(body)["TaskTemplate"]["ContainerSpec"]["Secrets"]
    file = {"Name": "/run/secrets/hubfleet", "UID": "70001", "GID": "80001", "Mode": 0o400}
    assert held == [{"SecretID": "s1", "SecretName": "secret-name", "File": file}]


def test_variables_of_the_configuration_do_not_replace_the_hubs() -> None:
    settings = Settings.from_json(told(variables={"HOME": "/root", "MINE": "1"}))
    options = wanted(environment={"JUPYTERHUB_API_TOKEN": "mine"})
    environment = specification.program(settings, SERVER, REQUEST, options, "k")["environment"]
    assert (environment["HOME"], environment["MINE"]) == ("/home/ada", "1")
    assert environment["JUPYTERHUB_API_TOKEN"] == CANARY


def test_settings_are_read_with_what_is_left_out() -> None:
    given = told()
    for name in ("probe", "server_port", "placement", "host_root", "engine_socket"):
        del given[name]
    settings = Settings.from_json(given)
    assert (settings.probe, settings.server_port, settings.placement) == (None, 8888, ())
    assert settings.room_wait == specification.ROOM_WAIT_S
    assert settings.layout.state == Path("/var/lib/hubfleet/physics101")

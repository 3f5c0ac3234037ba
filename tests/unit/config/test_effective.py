"""What one user gets, and where each value comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubfleet.config import Config, Mount, effective, explain, load, visible_profiles
from hubfleet.config.effective import home_limit
from hubfleet.config.owner import Owner
from hubfleet.errors import ConfigError

TEXT = """\
hub: physics101
servers:
  memory: {limit: 1G, guarantee: 512M}
  environment: {A: base, B: base}
  profiles:
    small: {memory: {limit: 256M}}
    gpu: {title: One GPU, groups: [staff], memory: {limit: 16G}, environment: {A: gpu}}
storage:
  mounts: [/srv/published:/srv/published:ro]
groups:
  staff:
    members: [ta1, ta2]
    servers: {memory: {limit: 4G}, stop_after_idle: never, environment: {B: staff}}
    storage: {mounts: ["/srv/{username}:/home/{username}/work:rw"]}
  late:
    members: [TA2]
    servers: {memory: {limit: 8G}}
users:
  ta1: {servers: {cpu: {limit: 4}, default_url: /tree}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    file = tmp_path / "hubfleet.yaml"
    file.write_text(TEXT)
    return load(file, environ={})


def test_somebody(config: Config) -> None:
    result = effective(config, "ada")
    assert str(result.memory_limit) == "1G"
    assert str(result.stop_after_idle) == "2h"
    assert result.environment == {"A": "base", "B": "base"}
    assert result.mounts == (Mount("/srv/published", "/srv/published", "ro"),)
    assert (result.cpu_limit, result.processes, result.groups, result.profile) == (None, None, (), None)


def test_group_and_user(config: Config) -> None:
    result = effective(config, "TA1")
    assert str(result.memory_limit) == "4G"
    assert str(result.memory_guarantee) == "512M"
    assert result.cpu_limit == 4
    assert result.stop_after_idle == "never"
    assert result.default_url == "/tree"
    assert result.environment == {"A": "base", "B": "staff"}
    assert result.mounts == (Mount("/srv/ta1", "/home/ta1/work", "rw"),)


def test_the_later_group_wins(config: Config) -> None:
    assert str(effective(config, "ta2").memory_limit) == "8G"
    assert effective(config, "ta2").groups == ("staff", "late")
    assert str(effective(Config.from_dump(config.dump()), "ta2").memory_limit) == "8G"


def test_the_profile_wins_over_all(config: Config) -> None:
    result = effective(config, "ta1", "gpu")
    assert str(result.memory_limit) == "16G"
    assert result.environment == {"A": "gpu", "B": "staff"}
    assert (result.default_url, result.profile) == ("/tree", "gpu")


def test_a_guarantee_never_exceeds_the_limit(config: Config) -> None:
    assert str(effective(config, "ada", "small").memory_guarantee) == "256M"


def test_profiles_are_for_their_groups_only(config: Config) -> None:
    assert [(key, item.title) for key, item in visible_profiles(config, "ada")] == [("small", "small")]
    assert [key for key, _ in visible_profiles(config, "ta1")] == ["small", "gpu"]
    with pytest.raises(ConfigError, match=r"hubfleet.yaml:5: no profile `gpu` for ada. Try: small"):
        effective(config, "ada", "gpu")
    with pytest.raises(ConfigError, match="no profile `smal` for ada: did you mean `small`"):
        effective(config, "ada", "smal")


@pytest.mark.parametrize("user", ["", "..", "a/b", "../../x"])
def test_invalid_users(config: Config, user: str) -> None:
    for ask in (effective, explain, visible_profiles):
        with pytest.raises(ConfigError, match="invalid user name"):
            ask(config, user)


def test_explain(config: Config) -> None:
    rows = {row.path: (row.value, row.source) for row in explain(config, "ta1")}
    assert rows == {
        "groups": ("staff", "hubfleet.yaml:10"),
        "servers.memory.limit": ("4G", "hubfleet.yaml:13 (groups.staff)"),
        "servers.memory.guarantee": ("512M", "hubfleet.yaml:3"),
        "servers.cpu.limit": ("4", "hubfleet.yaml:19 (users.ta1)"),
        "servers.cpu.guarantee": ("not set", "default"),
        "servers.processes": ("not set", "default"),
        "servers.stop_after_idle": ("never", "hubfleet.yaml:13 (groups.staff)"),
        "servers.default_url": ("/tree", "hubfleet.yaml:19 (users.ta1)"),
        "servers.fast_start": ("true", "default"),
        "servers.environment.A": ("base", "hubfleet.yaml:4"),
        "servers.environment.B": ("staff", "hubfleet.yaml:13 (groups.staff)"),
        "storage.mounts": ("/srv/{username}:/home/{username}/work:rw", "hubfleet.yaml:14 (groups.staff)"),
        "storage.homes.quota": ("not set", "default"),
        "storage.owner": ("an id out of 70000-99999", "default"),
    }
    chosen = {row.path: row.source for row in explain(config, "ada", "small")}
    assert chosen["servers.memory.limit"] == "hubfleet.yaml:6 (profiles.small)"


def test_the_limit_of_a_home(tmp_path: Path) -> None:
    file = tmp_path / "hubfleet.yaml"
    file.write_text(
        "hub: a\nstorage: {homes: {quota: 10G, disk: 1T}}\n"
        "groups:\n  staff: {members: [ta1, ta2], storage: {quota: 100G}}\n  late: {members: [ta2]}\n"
        "users: {ta1: {storage: {quota: 2G}}}\n"
    )
    config = load(file, environ={})
    assert [str(home_limit(config, name)) for name in ("ada", "ta1", "ta2")] == ["10G", "2G", "100G"]
    assert effective(Config.from_dump(config.dump()), "ta2").home_limit == home_limit(config, "ta2")
    rows = {name: {row.path: row.source for row in explain(config, name)} for name in ("ada", "ta1", "ta2")}
    assert rows["ada"]["storage.homes.quota"] == "hubfleet.yaml:2"
    assert rows["ta1"]["storage.homes.quota"] == "hubfleet.yaml:6 (users.ta1)"
    assert rows["ta2"]["storage.homes.quota"] == "hubfleet.yaml:4 (groups.staff)"
    assert list(config.all_quotas()) == ["storage.homes.quota", "groups.staff.storage.quota", "users.ta1.storage.quota"]


def test_a_user_name_cannot_lead_a_mount_to_the_host() -> None:
    mount = Mount("/var/{username}", "/data/{username}", "rw")
    assert mount.expand("ada", "hub").host == "/var/ada"
    for name in ("run", "lib"):
        with pytest.raises(ConfigError, match="refused: gives users the host"):
            mount.expand(name, "hub")


SITE = """\
hub: prod.designsafe
storage:
  owner: {tas: {url: "https://tas.example.edu/api/v1", account: hub}}
  must_be_mounted: [/work]
  mounts:
    - /work/{tas_homeDirectory}:/home/jupyter/work:rw
    - /corral/{tenant_id}/{username}:/corral:ro
"""


def test_what_depends_on_the_site(tmp_path: Path) -> None:
    file = tmp_path / "hubfleet.yaml"
    file.write_text(SITE)
    config = load(file, environ={})
    corral = Mount("/corral/designsafe/ada", "/corral", "ro")
    found = effective(config, "ada", owner=Owner(5000, 6000, "01234/ada"))
    assert found.mounts == (Mount("/work/01234/ada", "/home/jupyter/work", "rw"), corral)
    assert (found.owner, found.must_be_mounted) == (Owner(5000, 6000, "01234/ada"), ("/work",))
    rows = {row.path: (row.value, row.source) for row in explain(config, "ada")}
    assert rows["storage.owner"] == ("as https://tas.example.edu/api/v1 says", "hubfleet.yaml:3")
    unknown = effective(config, "ada", owner=Owner(5000, 6000))
    assert [mount.for_home for mount in unknown.mounts] == [True, False]


def test_a_name_is_no_variable(tmp_path: Path) -> None:
    file = tmp_path / "hubfleet.yaml"
    file.write_text(SITE)
    found = effective(load(file, environ={}), "{tas_homedirectory}", owner=Owner(5000, 6000, "01234/ada"))
    assert found.mounts[1].host == "/corral/designsafe/{tas_homedirectory}"

"""Several hubs in one file: defaults < prod < prod.ds, maps merge, lists replace, null takes away."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubfleet.config import explain, load
from hubfleet.errors import ConfigError

TEXT = """\
defaults:
  login: {password: file}
  servers: {memory: {limit: 1G, guarantee: 256M}, packages: [a], environment: {A: x}}
hubs:
  prod:
    servers: {memory: {limit: 2G}, environment: {B: y}}
  prod.ds:
    login: {password: null, signup: approval}
    servers: {packages: [b, c]}
  staging:
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "hubfleet.yaml"
    path.write_text(TEXT)
    return path


def test_the_most_local_value_wins(file: Path) -> None:
    config = load(file, "prod.ds", {})
    assert config.hub == "prod.ds"
    assert str(config.servers.memory.limit) == "2G"
    assert str(config.servers.memory.guarantee) == "256M"
    assert config.servers.packages == ("b", "c")
    assert config.servers.environment == {"A": "x", "B": "y"}
    assert (config.login.password, config.login.signup) == (None, "approval")


def test_a_hub_with_children_can_be_deployed_itself(file: Path) -> None:
    assert load(file, "prod", {}).servers.packages == ("a",)
    assert str(load(file, "staging", {}).servers.memory.limit) == "1G"


def test_explain_names_the_part(file: Path) -> None:
    rows = {row.path: row for row in explain(load(file, "prod.ds", {}), "ada")}
    assert rows["servers.memory.limit"].source == "hubfleet.yaml:6 (hubs.prod)"
    assert rows["servers.memory.guarantee"].source == "hubfleet.yaml:3 (defaults)"


def test_mistakes_carry_the_line_of_the_part_they_come_from(file: Path) -> None:
    file.write_text(TEXT.replace("limit: 2G", "limit: 2gb"))
    with pytest.raises(ConfigError) as caught:
        load(file, "prod.ds", {})
    assert str(caught.value) == "hubfleet.yaml:6: servers.memory.limit: `2gb` is not a size. Try: use 2G"
    assert load(file, "staging", {})


def test_which_hub(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(file, None, {})
    assert str(caught.value) == "hubfleet.yaml: the file describes 3 hubs: prod, prod.ds, staging. Try: -H NAME"
    with pytest.raises(ConfigError) as caught:
        load(file, "prod.sd", {})
    assert "no hub `prod.sd` here: did you mean `prod.ds`? Try: -H prod or" in str(caught.value)
    single = tmp_path / "one.yaml"
    single.write_text("hub: physics\n")
    with pytest.raises(ConfigError, match="no hub `phsics` here: did you mean `physics`"):
        load(single, "phsics", {})
    single.write_text("hubs: {only: {}}\n")
    assert load(single, None, {}).hub == "only"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "hubs: {a: {}}\nhub: b\n",
            "hubfleet.yaml:2: hub: stands beside `hubs`. Try: move `hub` under `defaults` or",
        ),
        (
            "hubs: {a: {hub: b}}\n",
            "hubfleet.yaml:1: hubs.a.hub: the name of a hub is its key under `hubs`. Try: remove",
        ),
        ("hubs: {a: 3}\n", "hubfleet.yaml:1: hubs.a: must hold settings. Try: "),
        ("defaults: {}\n", "hubfleet.yaml:1: hubs: no hub is named. Try: hubs: {prod: {...}}"),
        ("hubs: {}\n", "hubfleet.yaml:1: hubs: no hub is named. Try: hubs: {prod: {...}}"),
        ("hubs: {A b: {}}\n", "hubfleet.yaml:1: hub: `A b` is not a hub name. Try: "),
    ],
)
def test_the_frame(text: str, message: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file, None, {})
    assert str(caught.value).startswith(message)

"""Machines that a command writes into a configuration file, and takes out."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubfleet.config.edit import add_machine, remove_machine, write
from hubfleet.errors import ConfigError

TEXT = """\
# Physics, autumn
hub: physics101   # do not rename
engine: swarm
machines:
  hub1: {ssh: "ubuntu@203.0.113.10", roles: [hub, worker]}
  worker1:   # in the cellar
    ssh: ubuntu@203.0.113.11
    roles: [worker]
login: {password: file}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "hubfleet.yaml"
    made.write_text(TEXT)
    made.chmod(0o640)
    return made


def test_all_else_stays_as_it_was_written(file: Path) -> None:
    write(file, add_machine(file, "worker2", {"ssh": "root@10.0.0.9", "private_ip": "", "roles": ["worker"]}))
    lines = file.read_text().splitlines()
    assert [line for line in TEXT.splitlines() if line not in lines] == []
    assert "private_ip" not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o640
    write(file, remove_machine(file, "worker2"))
    assert file.read_text() == TEXT


def test_a_file_without_machines_gets_some(tmp_path: Path) -> None:
    file = tmp_path / "hubfleet.yaml"
    file.write_text("hub: a\n")
    assert add_machine(file, "b", {"ssh": "b"}) == "hub: a\nmachines:\n  b:\n    ssh: b\n"


def test_what_is_there_already_or_not_at_all(file: Path) -> None:
    with pytest.raises(ConfigError, match="has a machine worker1 already"):
        add_machine(file, "worker1", {"ssh": "x"})
    with pytest.raises(ConfigError, match="has no machine worker3"):
        remove_machine(file, "worker3")


def test_a_file_of_several_hubs_is_left_to_its_writer(tmp_path: Path) -> None:
    file = tmp_path / "hubfleet.yaml"
    file.write_text("hubs: {a: {machines: {b: {ssh: b}}}}\n")
    with pytest.raises(ConfigError, match="several hubs"):
        remove_machine(file, "b")


def test_a_new_machine_is_reached_as_another_one_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "hubfleet.yaml"
    file.write_text("hub: a\nmachines:\n  hub1: {ssh: a, ssh_config: keys/ssh_config}\n  hub2: {ssh: b}\n")
    assert add_machine(file, "b", {"ssh": "b"}, like="hub1").endswith(
        "  b:\n    ssh: b\n    ssh_config: keys/ssh_config\n"
    )
    key = tmp_path / "key.yaml"
    key.write_text("hub: a\nmachines:\n  hub1: {ssh: a, ssh_key: hub.key}\n")
    assert add_machine(key, "b", {"ssh": "b"}, like="hub1").endswith("  b:\n    ssh: b\n    ssh_key: hub.key\n")
    assert add_machine(file, "b", {"ssh": "b"}, like="hub2").endswith("  b:\n    ssh: b\n")
    own = add_machine(file, "b", {"ssh": "b", "ssh_config": "mine"}, like="hub1")
    assert own.endswith("  b:\n    ssh: b\n    ssh_config: mine\n")

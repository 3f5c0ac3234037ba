"""When a load test does not begin, and what it never touches."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from command import run
from hubfleet.cli.loadtest_play import _any, _remove_homes
from hubfleet.errors import CheckError, ConfigError
from hubfleet.loadtest import Scenario, read_notebook
from hubfleet.loadtest.machine import Here
from hubfleet.loadtest.people import others_with_servers, refuse_people
from hubfleet.machines import LocalMachine

TOKEN = "0123456789abcdef-not-to-be-seen"


def user(name: str, servers: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "servers": servers or {}, **more}


def test_whoever_has_a_server_is_on() -> None:
    users = [
        user("ada", {"": {"ready": True}}),
        user("ben", {"second": {"ready": False, "pending": "spawn"}}),
        user("cem", pending="stop"),
        user("dan"),
        user("loadtest-0001", {"": {"ready": True}}),
        user("loadtest-0009", {"": {"ready": True}}),
    ]
    assert others_with_servers(users, ["loadtest-0001"]) == ["ada", "ben", "cem", "loadtest-0009"]


def test_people_are_not_disturbed() -> None:
    refuse_people([])
    with pytest.raises(CheckError, match=r"people are on this hub \(2: ada, ben\).*--disturb-people"):
        refuse_people(["ada", "ben"])


def test_a_hub_of_another_machine_is_not_ours(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    with pytest.raises(CheckError, match=r"192\.0\.2\.1 is not this machine.*an attack"):
        _any("http://192.0.2.1:8000", token, None, False, False)
    target = _any("http://192.0.2.1:8000/hub/", token, None, True, False)
    assert (target.url, target.meter) == ("http://192.0.2.1:8000", None)
    assert isinstance(_any("http://localhost:8000", token, None, False, False).meter, Here)


def test_a_token_is_read_from_a_closed_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    token.chmod(0o640)
    with pytest.raises(ConfigError, match="can be read by others"):
        _any("http://127.0.0.1:8000", token, None, False, False)
    token.chmod(0o600)
    assert _any("http://127.0.0.1:8000", token, None, False, False).token.reveal() == TOKEN
    with pytest.raises(ConfigError, match="needs the token of an admin"):
        _any("http://127.0.0.1:8000", None, None, False, False)
    monkeypatch.setenv("HUBFLEET_LOADTEST_TOKEN", TOKEN)
    target = _any("http://127.0.0.1:8000", None, None, False, False)
    assert target.token.reveal() == TOKEN
    assert TOKEN not in repr(target)


def test_only_the_homes_of_test_people_are_removed(tmp_path: Path) -> None:
    homes = tmp_path / "homes"
    for name in ("ada", "loadtest-0001", "loadtest-of-mine"):
        (homes / name).mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (homes / "loadtest-0002").symlink_to(tmp_path / "elsewhere")
    names = ["ada", "..", "../elsewhere", "loadtest-of-mine", "loadtest-0001", "loadtest-0002", "loadtest-0003"]
    deployment: Any = SimpleNamespace(homes=homes, homes_machine=LocalMachine())
    (problem,) = _remove_homes(deployment, names)
    assert "loadtest-0002 was not removed" in problem
    assert "is a link" in problem
    assert sorted(path.name for path in homes.iterdir()) == ["ada", "loadtest-0002", "loadtest-of-mine"]
    assert (tmp_path / "elsewhere").is_dir()
    assert _remove_homes(SimpleNamespace(homes=None), names) == []  # type: ignore[arg-type]


def test_a_notebook_is_checked_before_anything_begins(tmp_path: Path) -> None:
    path = tmp_path / "some.ipynb"
    for text, problem in (
        ("not json", "it is no JSON"),
        ("[]", "not a notebook of format 4"),
        ('{"nbformat": 3, "worksheets": []}', "not a notebook of format 4"),
        ('{"nbformat": 4, "cells": [{"cell_type": "markdown", "source": "x"}]}', "no cell with code"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=problem):
            read_notebook(path)
    path.write_text(json.dumps({"nbformat": 4, "cells": [{"cell_type": "code", "source": ["a = 1\n", "a"]}]}))
    assert len(read_notebook(path)["cells"]) == 1
    with pytest.raises(ConfigError, match="cannot be read"):
        read_notebook(tmp_path / "missing.ipynb")


def test_a_class_has_bounds() -> None:
    with pytest.raises(ConfigError, match="1 to 2000 people"):
        Scenario(2001)
    with pytest.raises(ConfigError, match="limits are above"):
        Scenario(1, step_limit_s=0)
    assert Scenario(1, lab=False, kernel=False).steps == ("login", "start", "stop")


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    done = run(tmp_path, "loadtest", "--people", "0")
    assert done.code == 2
    assert "greater than or equal to 1" in done.err
    done = run(tmp_path, "loadtest", "--over", "5 parsecs")
    assert done.code == 2
    assert "is not a length of time" in done.err
    done = run(tmp_path, "loadtest", "--url", "ftp://127.0.0.1/")
    assert done.code == 2
    assert "is not the address of a hub" in done.err
    done = run(tmp_path, "loadtest")
    assert done.code == 6
    assert "does not run" in done.err

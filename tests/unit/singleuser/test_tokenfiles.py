"""A user's token is where programs look for it, and nowhere that anybody else can read."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from hubfleet.singleuser.tokenfiles import SAVED, variables, write_files


def told(token: str = "t1", **changed: Any) -> dict[str, Any]:
    now = int(time.time())
    found = {"tenant": "designsafe", "base_url": "https://agave.designsafe-ci.org", "username": "Ada", "version": 2}
    return {"kind": "tapis", **found, "access_token": token, "created_at": now, "expires_at": now + 14400, **changed}


def mode(path: Path) -> int:
    return path.lstat().st_mode & 0o777


def test_the_files_are_as_programs_want_them_and_the_user_s_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_files(tmp_path, told())
    finally:
        os.umask(before)
    current = json.loads((tmp_path / ".agave" / "current").read_text())
    assert (current["tenantid"], current["username"], current["access_token"]) == ("designsafe", "Ada", "t1")
    assert (current["baseurl"], current["expires_in"]) == ("https://agave.designsafe-ci.org", "14400")
    [client] = json.loads((tmp_path / ".agpy").read_text())
    assert (client["api_server"], client["token"]) == ("https://agave.designsafe-ci.org", "t1")
    # Neither renews it, and neither is the hub's own client.
    for found in (current, client):
        assert not [key for key in found if found[key] and ("secret" in key or "refresh" in key or "key" in key)]
    assert [mode(tmp_path / name) for name in (".agave", ".agave/current", ".agpy")] == [0o700, 0o600, 0o600]
    write_files(tmp_path, told("t2"))
    assert json.loads((tmp_path / ".agave" / "current").read_text())["access_token"] == "t2"
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".agave", ".agpy", "current"]


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    (home / ".agave").mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "read-by-all").write_text("as it was")
    (home / ".agpy").symlink_to(elsewhere / "read-by-all")
    (home / ".agave" / "current").symlink_to(elsewhere / "not-there")
    write_files(home, told())
    assert (elsewhere / "read-by-all").read_text() == "as it was"
    assert [path.name for path in elsewhere.iterdir()] == ["read-by-all"]
    assert not (home / ".agpy").is_symlink()
    assert mode(home / ".agpy") == mode(home / ".agave" / "current") == 0o600

    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / ".agave").symlink_to(elsewhere)
    with pytest.raises(OSError):
        write_files(linked, told())
    assert [path.name for path in elsewhere.iterdir()] == ["read-by-all"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to give a directory away")
def test_a_directory_of_somebody_else_s_gets_no_token(tmp_path: Path) -> None:
    (tmp_path / ".agave").mkdir()
    os.chown(tmp_path / ".agave", 4711, 4711)
    with pytest.raises(PermissionError):
        write_files(tmp_path, told())
    assert not list((tmp_path / ".agave").iterdir())


def test_what_the_user_had_there_is_kept(tmp_path: Path) -> None:
    mine = '{"tenantid": "sd2e", "apikey": "my-own", "apisecret": "mine", "refresh_token": "r"}'
    (tmp_path / ".agave").mkdir()
    (tmp_path / ".agave" / "current").write_text(mine)
    (tmp_path / ".agpy").write_text("not JSON at all")
    write_files(tmp_path, told("t1"))
    write_files(tmp_path, told("t2"))
    assert (tmp_path / ".agave" / f"current{SAVED}").read_text() == mine
    assert (tmp_path / f".agpy{SAVED}").read_text() == "not JSON at all"
    assert json.loads((tmp_path / ".agave" / "current").read_text())["access_token"] == "t2"


def test_what_the_user_puts_there_again_is_kept_too(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (tmp_path / ".agpy").write_text(f"mine, {number}")
        write_files(tmp_path, told())
    kept = sorted(path for path in tmp_path.iterdir() if SAVED in path.name)
    assert [(path.name, path.read_text()) for path in kept] == [
        (f".agpy{SAVED}", "mine, 1"),
        (f".agpy{SAVED}-2", "mine, 2"),
        (f".agpy{SAVED}-3", "mine, 3"),
    ]


def test_a_full_disk_leaves_the_old_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, told("t1"))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_files(tmp_path, told("t2"))
    assert json.loads((tmp_path / ".agave" / "current").read_text())["access_token"] == "t1"
    assert [path.name for path in (tmp_path / ".agave").iterdir()] == ["current"]


def test_a_token_without_an_end(tmp_path: Path) -> None:
    write_files(tmp_path, told(expires_at=0))
    assert json.loads((tmp_path / ".agave" / "current").read_text())["expires_in"] == ""


def test_a_provider_of_openid_connect(tmp_path: Path) -> None:
    found = told(kind="oidc", issuer="https://login.example.edu")
    assert variables(found) == {"OIDC_ISSUER": "https://login.example.edu", "OIDC_ACCESS_TOKEN": "t1"}
    write_files(tmp_path, found)
    assert [path.name for path in tmp_path.iterdir()] == [".oidc-token.json"]
    kept = json.loads((tmp_path / ".oidc-token.json").read_text())
    assert (kept["access_token"], kept["expires_at"]) == ("t1", found["expires_at"])
    assert mode(tmp_path / ".oidc-token.json") == 0o600
    write_files(tmp_path, {**found, "access_token": "t2"})
    assert "t2" in (tmp_path / ".oidc-token.json").read_text()


def test_what_programs_find_in_their_environment() -> None:
    found = variables(told())
    assert found["TAPIS_TOKEN"] == found["AGAVE_TOKEN"] == "t1"
    assert (found["TAPIS_BASE_URL"], found["TAPIS_TENANT_ID"]) == ("https://agave.designsafe-ci.org", "designsafe")
    assert not [name for name in found if "REFRESH_TOKEN" in name or "SECRET" in name]

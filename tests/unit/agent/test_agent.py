"""Files, directories and accounts, on the real disk and in the real account database."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import pytest

import needs
from hubfleet.agent import converge as agent
from hubfleet.agent import file as file_agent
from hubfleet.errors import ApplyError, CheckError
from hubfleet.resources import Account, Change, Directory, File, Resource, fingerprint


def converge(resource: Resource) -> Change | None:
    """Applies what is needed; the change."""
    change = resource.diff(agent.observe([resource])[resource.id])
    if change:
        assert agent.apply(change, lambda line: None)
    assert resource.diff(agent.observe([resource])[resource.id]) is None
    return change


def remove(resource: Resource) -> None:
    change = resource.removal(agent.observe([resource])[resource.id])
    assert change
    assert agent.apply(change, lambda line: None)
    assert not agent.apply(change, lambda line: None)


def test_file_is_made_changed_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    converge(File(str(path), "ä\n", mode=0o640))
    assert (path.read_text(), path.stat().st_mode & 0o7777) == ("ä\n", 0o640)
    inode = path.stat().st_ino
    assert converge(File(str(path), "ä\n", mode=0o640)) is None
    converge(File(str(path), "b\n", mode=0o600, secret=True))
    assert (path.read_text(), path.stat().st_mode & 0o7777) == ("b\n", 0o600)
    assert path.stat().st_ino != inode
    remove(File(str(path), ""))
    assert list(tmp_path.iterdir()) == []


def test_link_in_a_files_place_is_replaced_not_followed(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_text("mine")
    link.symlink_to(victim)
    converge(File(str(link), "new\n"))
    assert victim.read_text() == "mine"
    assert not link.is_symlink()
    link.unlink()
    link.symlink_to(victim)
    remove(File(str(link), ""))
    assert victim.read_text() == "mine"


def test_unfinished_copy_is_seen_and_cleared(tmp_path: Path) -> None:
    converge(File(str(tmp_path / "a"), "x"))
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".a.hubfleet-new").symlink_to(victim)
    change = converge(File(str(tmp_path / "a"), "x"))
    assert change
    assert change.detail == ("a copy left by an interrupted write is removed",)
    assert victim.read_text() == "mine"


def test_private_content_is_not_sent_back(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("canary")
    for mode, secret, shown in ((0o644, False, "canary"), (0o600, False, None), (0o644, True, None)):
        path.chmod(mode)
        observed = file_agent.observe(File(str(path), "", secret=secret))
        assert observed
        assert observed["content"] == shown


def test_file_leaves_nothing_behind_if_the_owner_is_unknown(tmp_path: Path) -> None:
    change = File(str(tmp_path / "a"), "x", owner="no-such-account").diff(None)
    assert change
    with pytest.raises(ApplyError, match="no-such-account"):
        agent.apply(change, lambda line: None)
    assert list(tmp_path.iterdir()) == []


@needs.root()
def test_owner_is_set_and_an_empty_one_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a"
    converge(File(str(path), "x", owner="nobody", group="nogroup", mode=0o600))
    converge(File(str(path), "y", mode=0o600))
    assert path.owner() == "nobody"
    os.chown(path, 54321, 54321)  # a number without a name
    converge(File(str(path), "z", mode=0o600))
    assert path.stat().st_uid == 54321


def test_change_is_refused_if_the_plan_saw_something_else(tmp_path: Path) -> None:
    file = File(str(tmp_path / "a"), "x")
    change = Change(file, "create", seen=fingerprint(file, None))
    (tmp_path / "a").write_text("someone else's")
    with pytest.raises(ApplyError, match="changed since the plan was made"):
        agent.apply(change, lambda line: None)
    assert (tmp_path / "a").read_text() == "someone else's"


@needs.root()
def test_directory_follows_only_links_that_root_made(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.mkdir(mode=0o755)
    link.symlink_to(target)
    converge(Directory(str(link), mode=0o750))
    assert target.stat().st_mode & 0o777 == 0o750
    os.lchown(link, 65534, 65534)
    with pytest.raises(CheckError, match="a link that root did not make"):
        Directory(str(link), mode=0o700).diff(agent.observe([Directory(str(link))])[f"directory:{link}"])


def test_directory_and_file_never_make_parents(tmp_path: Path) -> None:
    for resource in (Directory(str(tmp_path / "a" / "b")), File(str(tmp_path / "a" / "b"), "")):
        change = resource.diff(None)
        assert change
        with pytest.raises(ApplyError, match=f"the directory {tmp_path}/a does not exist"):
            agent.apply(change, lambda line: None)
    assert list(tmp_path.iterdir()) == []


@needs.root()
@needs.command("useradd", package="passwd")
def test_account_is_made_without_login_and_corrected() -> None:
    name = f"hubfleet-test-{os.getpid()}"
    try:
        converge(Account(name, "a test of hubfleet"))
        entry = pwd.getpwnam(name)
        assert entry.pw_uid < 1000
        assert entry.pw_shell.endswith("/nologin")
        assert Path("/etc/shadow").read_text().split(f"\n{name}:")[1][0] in "!*"
        subprocess.run(["usermod", "--shell", "/bin/sh", name], check=True)
        change = converge(Account(name, "another comment"))
        assert change
        assert len(change.detail) == 2
    finally:
        subprocess.run(["userdel", name], check=False)

"""Reads the account database and runs useradd and its relatives."""

from __future__ import annotations

import grp
import os
import pwd

from hubfleet.agent.base import Progress
from hubfleet.errors import ApplyError
from hubfleet.resources.account import Account
from hubfleet.resources.base import Change, Observed


def observe(account: Account) -> Observed | None:
    try:
        entry = pwd.getpwnam(account.name)
    except KeyError:
        return None
    try:
        group = grp.getgrgid(entry.pw_gid).gr_name
    except KeyError:
        group = ""
    return {"uid": entry.pw_uid, "comment": entry.pw_gecos, "shell": entry.pw_shell, "group": group}


def apply(account: Account, change: Change, progress: Progress) -> None:
    """Raises ApplyError without root, or with what the system's tool said."""
    import shutil  # only here: to look, nobody needs it

    if os.geteuid() != 0:
        raise ApplyError("system accounts can be made by root only", remedy="run the same command with sudo")
    entry = observe(account)
    if change.action == "remove":
        if entry is not None:
            _run(["userdel", account.name])
        if _group_exists(account.name):  # one that is not the account's own by the system's rules
            _run(["groupdel", account.name])
        return
    nologin = shutil.which("nologin", path="/usr/sbin:/sbin:/usr/bin:/bin") or "/bin/false"
    look = ["--comment", account.comment, "--shell", nologin]
    if entry is None:
        # a group of that name may be left from an account that was deleted by hand
        grouping = ["--gid", account.name] if _group_exists(account.name) else ["--user-group"]
        home = ["--no-create-home", "--home-dir", "/nonexistent"]
        _run(["useradd", "--system", *grouping, *home, *look, account.name])
        return
    if not entry["group"]:
        gid = pwd.getpwnam(account.name).pw_gid
        _run(["groupadd", "--system", "--gid", str(gid), account.name])
    _run(["usermod", *look, account.name])


def _group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _run(command: list[str]) -> None:
    import shutil
    import subprocess

    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    tool = shutil.which(command[0], path=path)
    if tool is None:
        raise ApplyError(f"{command[0]} is not installed", remedy="install the system's package that has it")
    done = subprocess.run([tool, *command[1:]], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ApplyError(f"{command[0]} failed: {done.stderr.strip() or done.returncode}")

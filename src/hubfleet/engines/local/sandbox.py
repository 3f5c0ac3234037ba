"""Become one confined process, then run its program.

Run as a script with a specification (JSON) on standard input or in the file named by the first argument; standard
library only, because it runs before anything else is there. Started by root it joins the cgroups, makes a private
mount namespace, takes on the user's ids and gives up every way back; started by anybody else it sets environment and
directory only. Order matters: what needs root comes first, the ids change last.

The specification's keys (all optional but ``argv``):

``argv``          the program and its arguments
``environment``   the whole environment of the program
``secret_files``  {variable: file}: read before the ids change, so that no token is in `ps` or readable by others
``directory``     working directory
``uid``, ``gid``  ids to take on
``account``, ``shared_group``   instead of ids: names of an account and of one more group it acts in
``remove``        files to remove first: sockets of an earlier life
``cgroups``       files to write the process id to
``hide``          directories replaced by empty read-only ones
``show``          [[source, target, writable], ...] bind mounts, made after hiding
``scratch``       [[directory, size], ...] private temporary file systems, writable by everybody in this sandbox
``identity``      {"file": content}: private versions of files such as /etc/passwd
``parent_death``  signal to get when the parent dies
"""

from __future__ import annotations

import ctypes
import grp
import json
import os
import pwd
import signal
import sys
from typing import Any, NoReturn

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
CLONE_NEWNS, CLONE_NEWIPC = 0x00020000, 0x08000000
HIDDEN = ("/root", "/home", "/srv", "/mnt", "/media")
"""Where people keep files; what a process may see of them is shown explicitly."""

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38

_libc = ctypes.CDLL(None, use_errno=True)


def _call(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    arguments = (source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode())
    _call(_libc.mount(*arguments), f"mount {kind or 'bind'} {source} on {target}")


def _bind(source: str, target: str, writable: bool) -> None:
    if os.path.isdir(source):
        os.makedirs(target, mode=0o755, exist_ok=True)
    elif not os.path.exists(target):
        with open(target, "x"):
            os.chmod(target, 0o644)
    _mount(source, target, "", MS_BIND | MS_REC)
    flags = MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | (0 if writable else MS_RDONLY)
    _mount("none", target, "", flags)


def _mount_namespace(spec: dict[str, Any]) -> None:
    _call(_libc.unshare(CLONE_NEWNS | CLONE_NEWIPC), "unshare")
    _mount("none", "/", "", MS_REC | MS_PRIVATE)
    # Sources are opened before anything is hidden, for a home may lie inside a directory that is about to vanish.
    shown = [(os.open(source, os.O_PATH), target, writable) for source, target, writable in spec.get("show", [])]
    hidden = [directory for directory in spec.get("hide", []) if os.path.isdir(directory)]
    for directory in hidden:
        _mount("tmpfs", directory, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m")
    for directory, size in spec.get("scratch", []):
        os.makedirs(directory, exist_ok=True)
        _mount("tmpfs", directory, "tmpfs", MS_NOSUID | MS_NODEV, f"mode=1777,size={size}")
    for descriptor, target, writable in shown:
        _bind(f"/proc/self/fd/{descriptor}", target, writable)
        os.close(descriptor)
    for name, content in spec.get("identity", {}).items():
        source = f"/tmp/.{os.path.basename(name)}"
        with open(source, "w") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o644)
        _bind(source, name, False)
        os.unlink(source)
    for directory in hidden:
        _mount("none", directory, "", MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | MS_RDONLY)
    _hide_other_processes()


def _hide_other_processes() -> None:
    """A fresh /proc that lists own processes only. Kernels in containers may refuse; ids still protect them."""
    try:
        _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV, "hidepid=2")
    except OSError:
        return


def _take_identity(spec: dict[str, Any]) -> None:
    _call(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl no_new_privs")
    os.setgroups(spec.get("groups", []))
    os.setresgid(spec["gid"], spec["gid"], spec["gid"])
    os.setresuid(spec["uid"], spec["uid"], spec["uid"])  # clears all capabilities


def enter(spec: dict[str, Any]) -> NoReturn:
    """Turn this process into the one described. Never returns; raises OSError when a step is refused."""
    environment = dict(spec.get("environment", {}))
    for variable, path in spec.get("secret_files", {}).items():
        with open(path) as file:
            environment[variable] = file.read().strip()
    for path in spec.get("remove", []):
        if os.path.exists(path):
            os.unlink(path)
    if "account" in spec:
        entry = pwd.getpwnam(spec["account"])
        shared = grp.getgrnam(spec["shared_group"]).gr_gid
        spec = {**spec, "uid": entry.pw_uid, "gid": entry.pw_gid, "groups": [shared]}
    for path in spec.get("cgroups", []):
        with open(path, "w") as file:
            file.write(str(os.getpid()))
    if "uid" in spec:
        _mount_namespace(spec)
        _take_identity(spec)
    if "parent_death" in spec:  # after the ids: changing them clears it
        _call(_libc.prctl(PR_SET_PDEATHSIG, spec["parent_death"], 0, 0, 0), "prctl parent death")
    os.umask(spec.get("umask", 0o022))
    os.chdir(spec.get("directory", "/"))
    # The program starts with the signals of a fresh shell, whatever the launcher ignored or blocked.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.execve(spec["argv"][0], spec["argv"], environment)


def main() -> NoReturn:
    """Read the specification, become it; on failure say why in one line and exit with 126."""
    try:
        if len(sys.argv) > 1:
            with open(sys.argv[1]) as file:
                spec = json.load(file)
        else:
            spec = json.load(sys.stdin)
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
        enter(spec)
    except (OSError, KeyError) as error:
        sys.stderr.write(f"could not set up the sandbox: {error}\n")
        sys.exit(126)


if __name__ == "__main__":
    main()

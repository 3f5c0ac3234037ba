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
``show``          [[source, target, writable], ...] bind mounts of directories, made after hiding
``mounts``        the same, of directories in places where users may write
``scratch``       [[directory, size], ...] private temporary file systems, writable by everybody in this sandbox
``identity``      {"file": content}: private versions of files such as /etc/passwd
``refused``       system calls that it and all it starts may not make: a filter as the kernel takes it, in hexadecimal
``when_full``     {"at": directory, "below": bytes, "instead": {variable: [directory, other, file]}}: if "at" has less
                  room, variables for those directories that are not there, or that have not that file ("": none) and
                  no room for one that is empty
``hide_processes``  a /proc without other people's processes, where the kernel allows one
``open_files``    [wanted, most]: how many files it may have open
``parent_death``  signal to get when the parent dies
``join``          a descriptor of a process whose namespaces to join, instead of making those above
"""

from __future__ import annotations

import contextlib
import ctypes
import grp
import json
import os
import pwd
import re
import resource
import signal
import sys
from typing import Any, NoReturn

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT = 1, 2, 4, 32
MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 4096, 8192, 16384, 1 << 18
CLONE_NEWNS, CLONE_NEWIPC = 0x00020000, 0x08000000
HIDDEN = ("/root", "/home", "/srv", "/mnt", "/media")
"""Where people keep files; what a process may see of them is shown explicitly."""

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER, FILTER_LINE = 2, 8

_libc = ctypes.CDLL(None, use_errno=True)


class _Filter(ctypes.Structure):
    """``struct sock_fprog`` of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("lines", ctypes.c_char_p))


def _call(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    arguments = (source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode())
    _call(_libc.mount(*arguments), f"mount {kind or 'bind'} {source} on {target}")


def _open_source(path: str) -> int:
    """Raises OSError if the way there leads elsewhere: a user has put a link since the launcher looked."""
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY)
    if os.readlink(f"/proc/self/fd/{descriptor}") != path:
        raise OSError(f"{path} has become a link to another place")
    return descriptor


def _open_place(path: str) -> int:
    """The directory to mount on, made where it is missing.

    No link is followed: it may lie in a home, whose owner could have put one there to make root write elsewhere.
    """
    here = os.open("/", os.O_PATH | os.O_DIRECTORY)
    for name in path.strip("/").split("/"):
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=here)
        try:
            inner = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
        except OSError as error:
            raise OSError(f"{path} is needed for a mount, but {name} in it is not a directory") from error
        os.close(here)
        here = inner
    return here


def _move(source: str, target: str, writable: bool) -> None:
    place = _open_place(target)
    _mount(source, f"/proc/self/fd/{place}", "", MS_MOVE)
    os.close(place)
    _restrict(target, writable)
    for mounted in _mounts_below(target):
        _restrict(mounted, writable)


def _make_folder(path: str) -> None:
    """A directory for mounts and nothing else: root's, and gone with the namespace."""
    place = _open_place(path)
    _mount("tmpfs", f"/proc/self/fd/{place}", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=64k")
    os.close(place)


def _restrict(target: str, writable: bool) -> None:
    _mount("none", target, "", MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | (0 if writable else MS_RDONLY))


def _mounts_below(path: str) -> list[str]:
    """What is mounted inside a directory; it comes along with it, but not the flags."""
    with open("/proc/self/mountinfo") as file:
        fields = [line.split()[4] for line in file]
    places = [re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), field) for field in fields]
    return [place for place in places if place.startswith(f"{path}/")]


def _outermost(directories: list[str]) -> list[str]:
    """Those that are there and in none of the others: inside a hidden one there is nothing left to hide."""
    found = {os.path.realpath(directory) for directory in directories if os.path.isdir(directory)}
    return sorted(one for one in found if not any(one.startswith(f"{other}/") for other in found))


def _mount_namespace(spec: dict[str, Any]) -> None:
    _call(_libc.unshare(CLONE_NEWNS | CLONE_NEWIPC), "unshare")
    _mount("none", "/", "", MS_REC | MS_PRIVATE)
    # Sources are opened before anything is hidden, for a home may lie inside a directory that is about to vanish.
    opened = [(os.open(source, os.O_PATH), target, writable) for source, target, writable in spec.get("show", [])]
    opened += [(_open_source(source), target, writable) for source, target, writable in spec.get("mounts", [])]
    sources = {os.readlink(f"/proc/self/fd/{descriptor}") for descriptor, _, _ in opened}
    # Then they wait in a directory that is to be hidden anyway, for they may be about to be hidden themselves.
    hidden = sorted(_outermost(spec["hide"]), key=lambda directory: directory in sources)
    shown: list[tuple[str, str, bool]] = []
    for directory in hidden:
        _mount("tmpfs", directory, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m")
        while opened:
            descriptor, target, writable = opened.pop()
            waiting = f"{hidden[0]}/.{descriptor}"
            os.mkdir(waiting)
            _mount(f"/proc/self/fd/{descriptor}", waiting, "", MS_BIND | MS_REC)
            os.close(descriptor)
            shown.insert(0, (waiting, target, writable))
    for directory, size in spec.get("scratch", []):
        os.makedirs(directory, exist_ok=True)
        _mount("tmpfs", directory, "tmpfs", MS_NOSUID | MS_NODEV, f"mode=1777,size={size}")
    folders = [os.path.realpath(folder) for folder in spec.get("folders", [])]
    # The system's own links (/home -> /var/home) are followed now, before anything of a user's is in sight.
    for waiting, target, writable in [(waiting, os.path.realpath(target), mode) for waiting, target, mode in shown]:
        for folder in [folder for folder in folders if target.startswith(f"{folder}/")]:
            _make_folder(folder)
            folders.remove(folder)
        _move(waiting, target, writable)
        os.rmdir(waiting)
    for folder in folders:
        _make_folder(folder)
    for name, content in spec.get("identity", {}).items():
        source = f"{hidden[0]}/.{os.path.basename(name)}"  # nobody but root can have put anything there
        with open(source, "x") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o644)
        _mount(source, name, "", MS_BIND)
        _restrict(name, False)
        os.unlink(source)
    for directory in hidden:
        _mount("none", directory, "", MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | MS_RDONLY)
    if spec.get("hide_processes"):
        # A fresh /proc that lists own processes only. Kernels in containers may refuse; ids still protect them.
        with contextlib.suppress(OSError):
            _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV, "hidepid=2")


def _take_identity(spec: dict[str, Any]) -> None:
    _call(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl no_new_privs")
    os.setgroups(spec.get("groups", []))
    os.setresgid(spec["gid"], spec["gid"], spec["gid"])
    os.setresuid(spec["uid"], spec["uid"], spec["uid"])  # clears all capabilities
    if "refused" in spec:
        lines = bytes.fromhex(spec["refused"])
        wanted = _Filter(len(lines) // FILTER_LINE, lines)
        _call(_libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(wanted), 0, 0), "prctl seccomp")


def confine(spec: dict[str, Any]) -> dict[str, str]:
    """Turn this process into the one described, less its program; returns the environment that program is to have.

    Raises OSError when a step is refused; the process is then to end, for some of the steps are done.
    """
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
    if "open_files" in spec:
        resource.setrlimit(resource.RLIMIT_NOFILE, tuple(spec["open_files"]))
    for path in spec.get("cgroups", []):
        with open(path, "w") as file:
            file.write(str(os.getpid()))
    if "uid" in spec:
        if "join" in spec:  # its owner may have changed what is mounted: open nothing until the ids are taken on
            _call(_libc.setns(spec["join"], CLONE_NEWNS | CLONE_NEWIPC), "setns")
        else:
            _mount_namespace(spec)
        _take_identity(spec)
    if "parent_death" in spec:  # after the ids: changing them clears it
        _call(_libc.prctl(PR_SET_PDEATHSIG, spec["parent_death"], 0, 0, 0), "prctl parent death")
    os.umask(spec.get("umask", 0o022))
    os.chdir(spec.get("directory", "/"))
    return {**environment, **_elsewhere(spec.get("when_full", {}))}


def _elsewhere(full: dict[str, Any]) -> dict[str, str]:
    if not full:
        return {}
    found = os.statvfs(full["at"])
    if (found.f_bavail - 1) * found.f_frsize >= full["below"]:  # by NFS it is rounded up to a whole MB
        return {}
    return {name: other for name, (usual, other, file) in full["instead"].items() if not _has(usual, file)}


def _has(directory: str, file: str) -> bool:
    """Whether a directory is there, and an empty file in it, which is made if need be."""
    try:
        if file:
            open(os.path.join(directory, file), "a").close()
    except OSError:
        return False
    return os.path.isdir(directory)


def enter(spec: dict[str, Any]) -> NoReturn:
    """Become the program described. Never returns; raises OSError when a step is refused."""
    environment = confine(spec)
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

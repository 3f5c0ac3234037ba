"""What a fork of the parent does to be the server that a plain start would have made: see `take_on`.

A plain start is ``exec`` of the environment's ``jupyterhub-singleuser``, in the sandbox. A fork has gone through the
interpreter's start and the imports in another life, so all that depends on the user, or must differ from one process
to the next, is done again here. Where a user's own files would have changed what was imported, it does a plain start.
"""

from __future__ import annotations

import builtins
import ctypes
import fcntl
import gc
import multiprocessing
import os
import random
import signal
import site
import sys
import sysconfig
import time
import types
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

PR_SET_DUMPABLE, PR_SET_NAME, PR_SET_MM, PR_SET_MM_MAP = 4, 15, 35, 14

READY, KERNELS = 3, 4
DONE = "done"  # the last line of what a rehearsal tells
COMMAND_NAME = 15  # characters the kernel keeps of a program's name

_libc = ctypes.CDLL(None, use_errno=True)
_kept: list[Any] = []
"""Memory that the kernel reads on behalf of `ps`."""


class _Map(ctypes.Structure):
    """``struct prctl_mm_map`` of linux/prctl.h."""

    _fields_ = (
        *((name, ctypes.c_uint64) for name in ("start_code", "end_code", "start_data", "end_data", "start_brk", "brk")),
        *((name, ctypes.c_uint64) for name in ("start_stack", "arg_start", "arg_end", "env_start", "env_end")),
        ("auxv", ctypes.c_void_p),
        ("auxv_size", ctypes.c_uint32),
        ("exe_fd", ctypes.c_uint32),
    )


def take_on(spec: dict[str, Any], descriptors: Sequence[int], sandbox: Any, tied: Any) -> None:
    """Become everything that the specification says (see ``sandbox.py``), up to its program's first line.

    ``descriptors``: for its output, for READY, and for KERNELS where it has a starter of kernels (see ``starter.py``).
    ``tied``: what is tied to the parent's environment, see ``tied.py``. Makes a plain start if only that will do.
    """
    os.setsid()
    output, *others = descriptors
    keep_only(os.open(os.devnull, os.O_RDONLY), output, output, *others)
    try:
        environment = sandbox.confine(spec)
    except (OSError, KeyError) as error:
        sys.stderr.write(f"could not set up the sandbox: {error}\n")
        sys.exit(126)
    _libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # as after an exec: /proc/self is the user's own
    signals()
    environment["HUBFLEET_READY"] = str(READY)
    if len(others) > 1:
        environment["HUBFLEET_KERNELS"] = str(KERNELS)
    reason = tied.reason(environment)
    tied.release(environment)
    reason = reason or reason_for_plain_start()
    if reason:
        start_plainly(spec["argv"], reason)
    if len(others) > 1:
        os.set_inheritable(KERNELS, False)
    settle(tied)
    show_as([sys.executable, *spec["argv"]], environment, os.path.basename(spec["argv"][0]))
    sys.argv = list(spec["argv"])
    sys.orig_argv = [sys.executable, *spec["argv"]]
    main = types.ModuleType("__main__")
    vars(main).update(__file__=spec["argv"][0], __builtins__=builtins, __annotations__={}, __cached__=None)
    sys.modules["__main__"] = main


def settle(tied: Any) -> None:
    """Give all that was loaded the values that it would have in this environment, which ``tied`` was released to."""
    time.tzset()
    sysconfig.get_config_vars()["userbase"] = site.getuserbase()
    tied.reload()
    _reseed()
    gc.enable()


def start_plainly(command: list[str], reason: str) -> NoReturn:
    """Forget what is loaded and run the program."""
    # Begins as the launcher's line about this start does, so that nobody takes it for the server's own words.
    sys.stderr.write(f"--- server started plainly: {reason}\n")
    sys.stderr.flush()
    if "HUBFLEET_KERNELS" in os.environ:
        os.set_inheritable(KERNELS, True)
    os.execve(command[0], command, dict(os.environ))


def rehearse(
    spec: dict[str, Any],
    findings: int,
    sandbox: Any,
    tied: Any,
    routes: Callable[[Any], list[str]],
    begin: Callable[[Callable[[], list[str]]], NoReturn] | None = None,
    audit: Callable[[], list[str]] = list,
) -> NoReturn:
    """Make everything up to "ready to serve" for nobody, in a sandbox, and write what was found, line by line.

    That is the names of what was imported, or was to be, and the ``routes`` of its web application, which begin with a
    slash. Where the start ``begin``s in two halves, it is what the
    ``audit`` finds.
    """
    from jupyter_server.serverapp import ServerApp
    from jupyterhub.singleuser.extension import JupyterHubSingleUser

    def told(self: Any) -> NoReturn:
        with open(READY, "w", encoding="utf-8") as file:
            # Also the name of an extension that could not be imported: another who runs it must not even try.
            enabled = [name for name, wanted in self.jpserver_extensions.items() if wanted]
            found = audit() if begin else [*sys.modules, *enabled, *(f"/{one}" for one in routes(self.web_app))]
            file.write("\n".join([*found, DONE]))
            file.flush()
            os._exit(0)

    def nobody() -> list[str]:
        take_on(spec, [os.dup(2), findings], sandbox, tied)
        return sys.argv

    ServerApp.start = told
    if begin:
        begin(nobody)
    nobody()
    JupyterHubSingleUser.launch_instance()
    os._exit(1)


def keep_only(*descriptors: int) -> None:
    """Have these open as 0, 1, 2 and so on, and nothing else."""
    above = len(descriptors)
    for number, moved in enumerate([fcntl.fcntl(one, fcntl.F_DUPFD, above) for one in descriptors]):
        os.dup2(moved, number)
    os.closerange(above, os.sysconf("SC_OPEN_MAX"))


def signals() -> None:
    """What the interpreter sets at its start."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def reason_for_plain_start() -> str:
    """What the user has installed that would have acted before, or been found instead of, what is loaded; or nothing.

    Their own packages are looked for where ``pip install --user`` puts them: after the environment's, before those of
    the interpreter's installation. Others than these are made findable, as a plain start would have done.
    """
    site.USER_BASE = site.USER_SITE = None
    own = site.getusersitepackages()
    try:
        names = os.listdir(own)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{own} cannot be read ({error.strerror})"
    place = next((n for n, path in enumerate(sys.path) if _is_installations(path)), len(sys.path))
    later = tuple(f"{path}/" for path in sys.path[place:])
    acting = {"sitecustomize", "usercustomize"}
    for name, module in sys.modules.items():
        if (getattr(module, "__file__", None) or "").startswith(later):
            acting.add(name.partition(".")[0])
    found = sorted(name for name in names if name.endswith(".pth") or name.partition(".")[0] in acting)
    if found:
        return f"{', '.join(found)} in {own}"
    sys.path.insert(place, own)
    return ""


def _is_installations(path: str) -> bool:
    """Whether it holds packages of the interpreter's installation, not of the environment made from it."""
    return path.endswith("-packages") and not path.startswith(f"{sys.prefix}/")


def _reseed() -> None:
    """Random state and secrets of its own. What is taken from the kernel when it is needed differs by itself."""
    random.seed()
    multiprocessing.current_process().authkey = os.urandom(32)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def show_as(argv: list[str], environment: dict[str, str], name: str) -> None:
    """Let `ps` and /proc tell this program's arguments, environment and name, where the kernel allows it."""
    _libc.prctl(PR_SET_NAME, name.encode()[:COMMAND_NAME], 0, 0, 0)
    arguments = b"".join(argument.encode() + b"\0" for argument in argv)
    variables = b"".join(f"{name}={value}".encode() + b"\0" for name, value in environment.items())
    buffer = ctypes.create_string_buffer(arguments + variables)
    start = ctypes.addressof(buffer)
    with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    stat = {number: int(fields[number - 3]) for number in (26, 27, 28, 45, 46, 47)}
    current = _libc.sbrk
    current.restype = ctypes.c_void_p
    layout = _Map(
        stat[26], stat[27], stat[45], stat[46], stat[47], current(0), stat[28],
        start, start + len(arguments), start + len(arguments), start + len(arguments) + len(variables),
        None, 0, 0xFFFFFFFF,
    )  # fmt: skip
    if _libc.prctl(PR_SET_MM, PR_SET_MM_MAP, ctypes.byref(layout), ctypes.sizeof(layout), 0) == 0:
        _kept.append(buffer)


def show_value(variable: str, value: bytes) -> None:
    """Change a variable's value in what `show_as` shows. There has to be room for it; costs less memory than that."""
    if _kept:
        begin = _kept[-1].raw.index(f"{variable}=".encode()) + len(variable) + 1
        _kept[-1][begin : begin + len(value)] = value

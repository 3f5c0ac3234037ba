"""How `ssh` is asked for the agent on a machine, and a connection that is begun before anybody needs it.

To connect takes as long as to import the rest of this program. So a command remembers where it went for its
configuration file, and the next one for the same file, unchanged, begins to connect with its first lines, see
`begin_ahead`. Standard library only, and little of that before `ssh` is started.

What we ask of `ssh` is asked of jump hosts too. For each of them `ssh` starts another one, which it tells the name of
the configuration file (-F) and nothing else that we say. So it is given a file of ours, see `configuration`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import subprocess
import threading

TYPE_CHECKING = False  # as `typing` has it, which would have to be imported for that
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import IO

    Way = tuple[str, Sequence[str]]
    """A destination as `ssh` takes it, and options for `ssh`."""

CONFIGURATIONS = ("hubfleet.yaml", "hubfleet.yml")
"""What the configuration file is called where nobody says."""
OPTIONS = {
    "BatchMode": "yes",  # several machines at once cannot ask for a password each
    "StrictHostKeyChecking": "yes",
    "ConnectTimeout": "10",
    "ServerAliveInterval": "15",
    "ServerAliveCountMax": "3",
}
OLDEST_PYTHON = (3, 9)
REFUSED = 77
"""Exit code of the first lines when they find that the agent cannot run; they print "hubfleet: " and why."""

_CONNECTING = frozenset({"check", "plan", "up", "status", "logs", "users", "machine", "rollback", "down", "do"})

# In the words of any shell. Its last argument is the program below; neither holds anything of the deployment.
# -S: the agent needs nothing that is installed there beside Python, and whatever that would run at each start.
_BEGIN = f"""
p=$(command -v python3) || {{ echo "hubfleet: no python3"; exit {REFUSED}; }}
[ "$(id -u)" = 0 ] && exec "$p" -I -S -c "$0"
command -v sudo >/dev/null || {{ echo "hubfleet: no sudo"; exit {REFUSED}; }}
sudo -n true 2>/dev/null || {{ echo "hubfleet: sudo asks"; exit {REFUSED}; }}
exec sudo -n "$p" -I -S -c "$0"
"""
# In the words of any Python 3: an old one must be able to say that it is. Nothing comes from who needs no agent.
_TAKE = f"""
import sys
if sys.version_info < {OLDEST_PYTHON}:
    print("hubfleet: python %d.%d" % sys.version_info[:2])
    sys.exit({REFUSED})
import os
size = int(sys.stdin.buffer.readline() or sys.exit())
file = os.memfd_create("hubfleet")
os.write(file, sys.stdin.buffer.read(size))
sys.path.insert(0, "/proc/self/fd/%d" % file)
from hubfleet.agent.serve import main
main()
"""


class Started:
    """An `ssh` that takes the agent. ``errors``: what it says, to be read from the start."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self.process, self.errors = process, errors

    def send_agent(self) -> None:
        with _PACKING:
            from hubfleet.parcel import parcel

            agent = parcel()
        assert self.process.stdin is not None
        # One that has ended has said why; whoever waits for an answer reads that.
        with contextlib.suppress(BrokenPipeError, ValueError):
            self.process.stdin.write(str(len(agent)).encode() + b"\n" + agent)
            self.process.stdin.flush()


_SYSTEM = "/etc/ssh/ssh_config"
_files: dict[bytes, int] = {}
_PACKING = threading.Lock()
"""Of several machines that are reached at once, one has the agent packed, and the others take the same."""
_ahead: dict[tuple[str, tuple[str, ...]], tuple[Started, threading.Thread]] = {}


def start(destination: str, options: Sequence[str]) -> Started:
    """Connect and send the agent, or go on with what `begin` began."""
    begun = _ahead.pop((destination, tuple(options)), None)
    if begun is None:
        started = _start(destination, options)
        started.send_agent()
        return started
    started, sending = begun
    sending.join()
    return started


def _start(destination: str, options: Sequence[str]) -> Started:
    errors = os.fdopen(os.memfd_create("ssh"), "w+b")
    given = [word for item in OPTIONS.items() for word in ("-o", "=".join(item))]
    remote = f"exec sh -c {shlex.quote(_BEGIN)} {shlex.quote(_TAKE)}"
    process = subprocess.Popen(
        ["ssh", "-T", *given, *_with_ours(options), "--", destination, remote],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        start_new_session=True,  # Ctrl-C is for us to answer; the agent ends with its input
    )
    return Started(process, errors)


# -- what counts for jump hosts, too ----------------------------------------------------------------------------------


def _with_ours(options: Sequence[str]) -> list[str]:
    """The same options for ``ssh``, with a configuration file of ours before the user's.

    Where that cannot be read, ``ssh`` is given it as it was, and says why.
    """
    rest, chosen = [*options], None
    if "-F" in rest:
        place = rest.index("-F")
        chosen = rest[place + 1]
        del rest[place : place + 2]
    try:
        return ["-F", _kept(configuration(chosen)), *rest]
    except OSError:
        return [*options]


def configuration(chosen: str | None) -> bytes:
    """What `ssh` reads: `OPTIONS`, of which the first word counts, and then what it would read without us.

    chosen: the file that the user names instead of the usual ones; None if none. Raises OSError if it cannot be read.
    """
    ours = "".join(f"{name} {value}\n" for name, value in OPTIONS.items()).encode()
    if chosen == "none":
        return ours
    if chosen is not None:
        # Not included, for `ssh` refuses to include what is somebody else's, as with `sudo` in a user's directory.
        with open(chosen, "rb") as file:
            return ours + file.read()
    home = pwd.getpwuid(os.geteuid()).pw_dir
    return ours + f'Include "{home}/.ssh/config"\n'.encode() + _of_the_system()


def _of_the_system() -> bytes:
    """The system's own configuration. What it includes is beside it, and would be looked for in the home here."""
    try:
        with open(_SYSTEM, "rb") as file:
            lines = file.read().splitlines()
    except OSError:  # as `ssh` has it, too
        return b""
    return b"".join(_anchored(line) + b"\n" for line in lines)


def _anchored(line: bytes) -> bytes:
    word, *names = line.split() or [b""]
    if word.lower() != b"include":
        return line
    beside = os.path.dirname(_SYSTEM).encode()
    return b" ".join([word, *(name if name.startswith((b"/", b'"')) else beside + b"/" + name for name in names)])


def _kept(content: bytes) -> str:
    """The name of a file in memory with this content, as long as this process lives.

    No character of it means anything to the shell that starts `ssh` for a jump host, nor to `ssh`.
    """
    if content not in _files:
        made = os.memfd_create("ssh_config")
        os.write(made, content)
        _files[content] = made  # now that it can be read
    return f"/proc/{os.getpid()}/fd/{_files[content]}"


# -- ahead of everything ----------------------------------------------------------------------------------------------


def begin_ahead(arguments: Sequence[str]) -> None:
    """Begin to connect for a command line, if it is of a known file that has not changed since."""
    file, hub, command = _chosen(arguments)
    if command not in _CONNECTING or file is None or {"-h", "--help"} & set(arguments):
        return
    import json

    # Whatever is wrong with the file or the note: who reads them for good says so, or needs none.
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError), open(_note(file, hub), "rb") as note:
        known = json.load(note)
        if known["file"] == _digest(file):
            begin([(str(destination), [str(option) for option in options]) for destination, options in known["ways"]])


def begin(ways: Sequence[Way]) -> None:
    """Begin to connect and to send the agent; `start` goes on with it."""
    # All of them before the first thread: it packs the agent, and would hold up the others meanwhile.
    started = {(destination, tuple(options)): _start(destination, options) for destination, options in ways}
    for way, one in started.items():
        sending = threading.Thread(target=one.send_agent, daemon=True)
        sending.start()
        _ahead[way] = one, sending


def remember(file: Path, hub: str | None, ways: Sequence[Way]) -> None:
    """Note where a command went that was given this file and this hub's name. It costs nobody anything if it cannot."""
    import json
    from pathlib import Path

    with contextlib.suppress(OSError):
        note, text = Path(_note(file, hub)), json.dumps({"file": _digest(file), "ways": [[*way] for way in ways]})
        if not note.exists() or note.read_text() != text:
            note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            unfinished = note.with_suffix(f".{os.getpid()}")
            unfinished.write_text(text)
            unfinished.replace(note)


def _chosen(arguments: Sequence[str]) -> tuple[str | None, str | None, str]:
    """File, hub's name and command of a command line, as far as they stand before the command."""
    found: dict[str, str] = {}
    rest = iter(arguments)
    command = ""
    for word in rest:
        name, equals, value = word.partition("=")
        if name in ("-c", "--config", "-H", "--hub"):
            found[name.strip("-")[0]] = value if equals else next(rest, "")
        elif not word.startswith("-"):
            command = word
            break
    given = found.get("c") or next((name for name in CONFIGURATIONS if os.path.exists(name)), None)
    return given, found.get("H") or found.get("h"), command


def _note(file: str | Path, hub: str | None) -> str:
    place = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(place, "hubfleet", _sha256(f"{os.path.realpath(file)}\0{hub or ''}".encode())[:24])


def _digest(file: str | Path) -> str:
    with open(file, "rb") as content:
        return _sha256(content.read())


def _sha256(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()

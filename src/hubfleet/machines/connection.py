"""One `ssh` process with the agent at its other end, and what is told where there is no way to it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Sequence
from typing import IO, Any

from hubfleet.agent.base import Progress
from hubfleet.agent.serve import GREETING, REFUSED, SILENCE_S, SYSTEM
from hubfleet.errors import HubfleetError, UnreachableError
from hubfleet.sshcommand import OLDEST_PYTHON, start
from hubfleet.sshcommand import REFUSED as NO_AGENT
from hubfleet.unixhttp import Refused

_PREFACE_LIMIT = 65536
_END_LIMIT_S = 10.0


class Connection:
    """One ssh process with the agent at its other end."""

    def __init__(self, name: str, destination: str, options: Sequence[str]) -> None:
        self._name = name
        try:
            started = start(destination, options)
        except FileNotFoundError as error:
            raise UnreachableError(
                f"{error.filename} is not installed on this machine",
                where=name,
                state="Nothing was changed there",
                remedy="apt install openssh-client, here",
            ) from error
        self._ssh, self._errors = started.process, started.errors
        self._closed = threading.Event()
        self._writing = threading.Lock()
        self._begin()
        threading.Thread(target=self._keep_alive, daemon=True).start()

    @property
    def _input(self) -> IO[bytes]:
        assert self._ssh.stdin is not None
        return self._ssh.stdin

    @property
    def _output(self) -> IO[bytes]:
        assert self._ssh.stdout is not None
        return self._ssh.stdout

    def _begin(self) -> None:
        preface = b""
        for line in self._output:
            if line.endswith(GREETING):
                return
            preface = (preface + line)[-_PREFACE_LIMIT:]
        raise self._no_way(preface.decode(errors="replace"))

    def ask(self, request: dict[str, Any], progress: Progress) -> Any:
        """Send a request and wait for its answer."""
        self._send(json.dumps(request).encode() + b"\n")
        for line in self._output:
            said = json.loads(line)
            if "progress" in said:
                progress(said["progress"])
            elif "error" in said:
                raise _error(said["error"], self._name)
            else:
                return said["answer"]
        raise self._lost(request["verb"])

    def _send(self, data: bytes) -> None:
        with self._writing:
            try:
                self._input.write(data)
                self._input.flush()
            except (BrokenPipeError, ValueError):
                return  # it has ended, and what it said tells why

    def _keep_alive(self) -> None:
        while not self._closed.wait(SILENCE_S / 4):
            self._send(b'{"verb": "alive"}\n')

    def close(self) -> None:
        self._closed.set()
        with self._writing, contextlib.suppress(BrokenPipeError):  # it has ended
            self._input.close()
        try:
            self._ssh.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._ssh.kill()
            self._ssh.wait()
        self._output.close()
        self._errors.close()

    # -- what went wrong ---------------------------------------------------------------------------------------------

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def _lost(self, verb: str) -> UnreachableError:
        self._ssh.wait()
        last = [line for line in self._said().splitlines() if line.strip()][-1:]
        return UnreachableError(
            "; ".join(["the connection was lost", *last]),
            where=self._name,
            state="A step that was begun there is brought to its end" if verb == "apply" else None,
            remedy="the same command again; it carries on from there",
        )

    def _no_way(self, preface: str) -> UnreachableError:
        code, said = self._ssh.wait(), self._said()
        refused = next((line for line in preface.splitlines() if line.startswith("hubfleet: ")), "")
        what, remedy = _reason(code, said, refused.removeprefix("hubfleet: "), preface)
        self.close()
        return UnreachableError(what, where=self._name, state="Nothing was changed there", remedy=remedy)


def _reason(code: int, said: str, refused: str, preface: str) -> tuple[str, str]:
    """Why the agent did not answer, and what to do. ``said``: by ssh; ``refused``: by the first lines there."""
    needed = ".".join(map(str, OLDEST_PYTHON))
    if code == NO_AGENT and refused:
        return {
            "no python3": ("it has no python3", f"install Python {needed} or newer there (apt install python3)"),
            "no sudo": ("the account there is not root, and there is no sudo", "name root, or install sudo there"),
            "sudo asks": ("sudo asks for a password there", "allow the account NOPASSWD in sudoers, or name root"),
        }.get(refused, (f"it has {refused.capitalize()} only", f"install Python {needed} or newer there"))
    where = "a jump host on the way there: " if _JUMPED in said else ""
    for words, what, remedy in _SSH_SAYS:
        if words in said:
            return f"{where}{what}", remedy
    last = [line for line in [*preface.splitlines(), *said.splitlines()] if line.strip()][-1:]
    return f"ssh ended with {code}: {' '.join(last) or 'without a word'}", "ssh to it by hand, to see what is wrong"


_JUMPED = "UNKNOWN port"
"""What `ssh` calls its other end when another program, such as the `ssh` to a jump host, was to bring it there."""
_SSH_SAYS = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is not the one that is known: it was installed anew, or another machine answers in its place",
        "find out which; if it was installed anew: ssh-keygen -R with its name, then ssh to it once",
    ),
    (
        "Host key verification failed",
        "its host key is not known here",
        "ssh to it once by hand, and compare the fingerprint before you say yes",
    ),
    (
        "Permission denied",
        "it does not let us in with any of the keys that ssh has here",
        "ssh-copy-id to it, or load the key into ssh-agent",
    ),
    ("Could not resolve hostname", "there is no such name", "correct the address"),
    ("Connection refused", "nothing answers at its SSH port", "start sshd there, or correct address and port"),
    ("timed out", "it does not answer", "see whether it is up and a firewall lets SSH through"),
    ("No route to host", "there is no way to it through the network", "see whether it is up"),
)


def _error(told: dict[str, Any], machine: str) -> HubfleetError | OSError:
    """The error as it was raised there; one of no file in particular names the machine."""
    if told["kind"] == SYSTEM:
        number, words, file = told["words"]
        return OSError(number, words, file or machine)
    if told["kind"] == REFUSED:
        return Refused(*told["words"])
    kinds = {kind.__name__: kind for kind in HubfleetError.__subclasses__()}
    return kinds.get(told["kind"], HubfleetError)(**told["words"])

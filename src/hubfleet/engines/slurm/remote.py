"""One kept SSH connection to a cluster's login node, by which commands are run there.

A connection for each command would be refused when a class presses Start. Whatever goes wrong is told apart by what it
means: nothing of it says that a job is gone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import shlex
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from hubfleet.engines.slurm.away import CommandFailed, LoginAway, NoAnswer, NotLetIn, Unreachable, WrongHostKey
from hubfleet.names import has_control

logger = logging.getLogger("hubfleet.launcher")
logging.getLogger("asyncssh").setLevel(logging.WARNING)  # it would tell every command

SESSIONS = 6
"""Commands at a time: a login node takes 10 on one connection."""
CONNECT_LIMIT_S = 10.0
LOGIN_LIMIT_S = 20.0
OPEN_LIMIT_S = 10.0
COMMAND_LIMIT_S = 30.0
MOST_SAID = 4_000_000
"""Characters that a command may print."""
ALIVE_S, ALIVE_MISSED = 15, 3
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
CERTIFICATE_S = 300
_KILL_S = 5
_LATE = 124  # what `timeout` ends with
_SAID = 500
_RSA = ("rsa-sha2-512", "rsa-sha2-256")


@dataclass(frozen=True)
class Access:
    """How to get to a login node. ``host_keys``: its public keys ("ssh-ed25519 AAAA..."), and no others are believed.

    ``key``: file of the private key. ``authority``: file of the key that the cluster trusts to name users: with it,
    each connection has a certificate for this account only, good for five minutes.
    """

    address: str
    user: str
    host_keys: tuple[str, ...]
    key: Path
    port: int = 22
    authority: Path | None = None


@dataclass(frozen=True)
class Done:
    """What a command has printed, and its exit code."""

    code: int
    output: str
    errors: str


class Remote:
    """A login node. ``sessions``: how many commands at a time."""

    def __init__(self, access: Access, sessions: int = SESSIONS) -> None:
        self._access = access
        self._connection: asyncssh.SSHClientConnection | None = None
        self._connecting = asyncio.Lock()
        self._sessions = asyncio.Semaphore(sessions)
        self._problem: LoginAway | None = None
        self._failures = 0
        self._again = 0.0

    async def close(self) -> None:
        """End the connection. A later command makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
            await connection.wait_closed()

    async def run(self, argv: Sequence[str], stdin: str = "", limit_s: float = COMMAND_LIMIT_S) -> Done:
        """Run a program there; whatever code it ends with is an answer.

        Nothing secret belongs into ``argv``, which everybody there can see; ``stdin`` is for that. Raises LoginAway,
        and ValueError for arguments that not every shell would take as they are.
        """
        if any(has_control(word) for word in argv):
            raise ValueError("an argument of a command has to be one line of text")
        # What is not awaited any more shall not stay there.
        command = f"exec timeout -k {_KILL_S} {max(1, int(limit_s))} {shlex.join(argv)}"
        async with self._sessions:
            connection, process = await self._begun_anyhow(command)
            try:
                return await asyncio.wait_for(self._finished(process, stdin), limit_s + _KILL_S)
            except asyncio.TimeoutError as error:
                self._give_up(connection)  # `timeout` there would have answered: it is the connection that is dead
                raise NoAnswer(f"{self._name} has not answered within {limit_s:.0f} s") from error
            finally:
                process.close()

    async def check(self, argv: Sequence[str], stdin: str = "", limit_s: float = COMMAND_LIMIT_S) -> Done:
        """As `run`; raises CommandFailed for another exit code than 0."""
        done = await self.run(argv, stdin, limit_s)
        if done.code:
            raise CommandFailed(_program(argv), done.code, _end(done.errors or done.output))
        return done

    @property
    def _name(self) -> str:
        return f"the login node {self._access.address}"

    # -- a command ---------------------------------------------------------------------------------------------------

    async def _begun_anyhow(self, command: str) -> tuple[asyncssh.SSHClientConnection, asyncssh.SSHClientProcess[str]]:
        connection = await self._connected()
        try:
            return connection, await self._begun(connection, command)
        except Unreachable:
            if self._connection is connection:
                raise
        connection = await self._connected()  # it had been lost since, and nothing was sent
        return connection, await self._begun(connection, command)

    async def _begun(self, connection: asyncssh.SSHClientConnection, command: str) -> asyncssh.SSHClientProcess[str]:
        try:
            return await asyncio.wait_for(
                connection.create_process(command, encoding="utf-8", errors="replace", term_type=None), OPEN_LIMIT_S
            )
        except asyncio.TimeoutError as error:
            self._give_up(connection)
            # It may have got there, and the answer not back.
            raise NoAnswer(f"{self._name} has not taken a command within {OPEN_LIMIT_S:.0f} s") from error
        except asyncssh.ChannelOpenError as error:
            if error.code == asyncssh.OPEN_CONNECT_FAILED:  # it has just been lost, and takes no further command
                self._give_up(connection)
            raise Unreachable(f"{self._name} takes no further command at the moment ({error.reason})") from error
        except (OSError, asyncssh.Error) as error:
            raise NoAnswer(f"the connection to {self._name} was lost") from error

    async def _finished(self, process: asyncssh.SSHClientProcess[str], stdin: str) -> Done:
        try:
            process.stdin.write(stdin)
            process.stdin.write_eof()
        except (OSError, asyncssh.Error):
            logger.debug("%s did not read what it was given", self._name)  # what it says tells why
        output, errors = await asyncio.gather(self._read(process.stdout), self._read(process.stderr))
        await process.wait_closed()
        code = process.returncode
        if code is None:
            raise NoAnswer(f"the connection to {self._name} was lost before a command had ended")
        if code == _LATE:
            raise NoAnswer(f"a command on {self._name} has not ended in time and was stopped")
        return Done(code, output, errors)

    async def _read(self, stream: asyncssh.SSHReader[str]) -> str:
        parts, length = list[str](), 0
        try:
            while part := await stream.read(65536):
                parts.append(part)
                length += len(part)
                if length > MOST_SAID:
                    raise NoAnswer(f"a command on {self._name} says more than {MOST_SAID} characters")
        except (OSError, asyncssh.Error) as error:
            raise NoAnswer(f"the connection to {self._name} was lost before a command had ended") from error
        return "".join(parts)

    def _give_up(self, connection: asyncssh.SSHClientConnection) -> None:
        """Let the next command have a new connection."""
        connection.abort()
        if self._connection is connection:
            self._connection = None

    # -- the connection ----------------------------------------------------------------------------------------------

    async def _connected(self) -> asyncssh.SSHClientConnection:
        """The connection that there is, or a new one. After a failure the next attempt has to wait a while, and until
        then the answer is the same."""
        async with self._connecting:
            if self._connection is not None and not self._connection.is_closed():
                return self._connection
            if self._problem is not None and time.monotonic() < self._again:
                raise type(self._problem)(str(self._problem))
            try:
                self._connection = await self._connect()
            except LoginAway as problem:
                pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self._failures) * random.uniform(0.6, 1.0)  # noqa: S311 - spreads hubs
                self._failures = min(self._failures + 1, 16)
                self._again = time.monotonic() + pause
                if self._problem is None:
                    logger.warning("%s", problem)
                self._problem = problem
                raise
            if self._problem is not None:
                logger.info("%s can be reached again", self._name)
            self._problem, self._failures = None, 0
            return self._connection

    async def _connect(self) -> asyncssh.SSHClientConnection:
        access, name = self._access, self._name
        try:
            trusted = [asyncssh.import_public_key(key) for key in access.host_keys]
            keys = await asyncio.to_thread(self._identity)
        except (OSError, asyncssh.KeyImportError) as error:
            raise NotLetIn(f"the key for {name} cannot be used: {error}") from error
        try:
            return await asyncssh.connect(
                access.address,
                access.port,
                username=access.user,
                known_hosts=(trusted, [], []),
                server_host_key_algs=_kinds(trusted),
                client_keys=keys,
                # Nothing of what this account has for ssh, and no other way in.
                config=None,
                agent_path=None,
                preferred_auth="publickey",
                gss_host=None,
                agent_forwarding=False,
                connect_timeout=CONNECT_LIMIT_S,
                login_timeout=LOGIN_LIMIT_S,
                keepalive_interval=ALIVE_S,
                keepalive_count_max=ALIVE_MISSED,
            )
        except asyncssh.HostKeyNotVerifiable as error:
            raise WrongHostKey(_OTHER_KEY.format(name)) from error
        except asyncssh.KeyExchangeFailed as error:
            if "host key" in error.reason.lower():
                raise WrongHostKey(_OTHER_KEY.format(name)) from error
            raise Unreachable(f"{name} and this hub have no way to speak in common: {error.reason}") from error
        except asyncssh.PermissionDenied as error:
            raise NotLetIn(f"{name} does not let us in as {access.user} with the key that we have") from error
        except (asyncio.TimeoutError, OSError, asyncssh.Error) as error:
            raise Unreachable(f"{name} cannot be reached: {_why(error)}") from error

    def _identity(self) -> list[asyncssh.SSHKey | tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]]:
        """Read anew for each connection, so that a key can be exchanged."""
        key = asyncssh.read_private_key(str(self._access.key))
        if self._access.authority is None:
            return [key]
        user = self._access.user
        certificate = asyncssh.read_private_key(str(self._access.authority)).generate_user_certificate(
            key,
            f"hubfleet for {user}",
            principals=[user],
            valid_after="-60s",
            valid_before=f"+{CERTIFICATE_S}s",
            permit_x11_forwarding=False,
            permit_agent_forwarding=False,
            permit_pty=False,
            permit_user_rc=False,
        )
        return [(key, certificate)]


_OTHER_KEY = (
    "{} does not have the host key that the configuration names: it was installed anew, or another machine answers in"
    " its place. Nothing was sent to it"
)


def _kinds(trusted: Sequence[asyncssh.SSHKey]) -> list[str]:
    """What kinds of host keys to ask for. First those of the keys that we know, and then others: a machine that has
    only these shall show one, for it would just hang up else."""
    known = [alg for key in trusted for alg in (_RSA if key.get_algorithm() == "ssh-rsa" else (key.get_algorithm(),))]
    return list(dict.fromkeys([*known, "ssh-ed25519", "ecdsa-sha2-nistp256", *_RSA]))


def _why(error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "it does not answer"
    if isinstance(error, socket.gaierror):
        return "there is no such name"
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
    return error.reason if isinstance(error, asyncssh.DisconnectError) else str(error)


def _program(argv: Sequence[str]) -> str:
    """What is really run, behind `env` and its variables."""
    words = [word for word in argv if word != "env" and "=" not in word]
    return words[0] if words else "a command"


def _end(said: str) -> str:
    """The last line: before it there may be a banner."""
    return (said.strip().splitlines() or [""])[-1].strip()[-_SAID:]

"""A site's own program that knows who owns a user's files.

It is given the login name as its only argument, and prints ``uid gid home``; gid and home may be missing. Exit code 1:
there is no such account. Any other: it could not find out. A secret, if there is one, is on its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from hubfleet.launcher.owners import Answer, Away, Nobody
from hubfleet.launcher.rest import LIMIT_S

NO_ACCOUNT = 1
_MOST_BYTES = 4096


class CommandSource:
    """Implements ``owners.Source``. ``limit``: seconds."""

    name = "the site's list of accounts"

    def __init__(self, program: Path, secret: str, limit: float = LIMIT_S) -> None:
        self._program = program
        self._secret = secret
        self._limit = limit

    async def ask(self, user: str) -> Answer:
        """See ``Source.ask``."""
        if user.startswith("-"):
            raise Nobody("a name that programs take for an option")
        pipe = asyncio.subprocess.PIPE
        try:
            # Its errors are in the launcher's log.
            process = await asyncio.create_subprocess_exec(
                self._program, user, stdin=pipe, stdout=pipe, start_new_session=True
            )
        except OSError as error:
            raise Away(f"{self._program} does not start: {error.strerror}", ours=True) from None
        try:
            said, _ = await asyncio.wait_for(process.communicate(self._secret.encode()), self._limit)
        except asyncio.TimeoutError:
            raise Away(f"{self._program.name} gave no answer within {self._limit:g} seconds", slow=True) from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with all that it has begun
            await process.wait()
        if process.returncode == NO_ACCOUNT:
            raise Nobody("no such account")
        words = said[:_MOST_BYTES].decode("utf-8", "replace").split()
        if process.returncode != 0 or not 1 <= len(words) <= 3:
            raise Away(f"{self._program.name} ended with code {process.returncode} and {len(words)} words", ours=True)
        uid, gid, home = (*words, None, None)[:3]
        return Answer(uid, gid, home)

    async def close(self) -> None:
        """See ``Source.close``."""

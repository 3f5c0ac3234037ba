"""The user's own token of who vouches for people, where the user's programs look for it (`tokenfiles`).

The server asks the hub, at its start and before the token is over; the hub has it renewed. So programs find one that is
good: in files of the home, and in the environment of what starts later.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from hubfleet_singleuser.room import home_directory
from hubfleet_singleuser.tokenfiles import variables, write_files

WANTED = "JUPYTERHUB_PROVIDER_TOKENS"
"""In the environment of a server whose hub has a token for it."""
ANSWER_LIMIT_S = 30.0
"""For the hub, which may have to ask the tenant first."""
ASK_ANEW_S = 60.0
"""After no answer, or an answer without a token."""
KERNEL_WAITS_S = 3.0
"""How long a kernel that is started at once waits for the first answer, to have the token in its environment."""


class NoToken(Exception):
    """The hub has none, or does not answer."""


def keep_token(server: Any) -> None:
    """Begin to ask, where the hub has tokens. Call before there is a kernel."""
    if os.environ.pop(WANTED, None) is None:
        return
    keeper = Keeper(server.log)
    server.web_app.settings["hubfleet_tokens"] = keeper  # keeps it from being collected
    start = server.kernel_manager.start_kernel

    async def start_kernel(*args: Any, **kwargs: Any) -> Any:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(keeper.asked.wait(), KERNEL_WAITS_S)
        return await start(*args, **kwargs)

    server.kernel_manager.start_kernel = start_kernel
    server.io_loop.add_callback(keeper.run)


class Keeper:
    """Asks again and again as long as the server runs."""

    def __init__(self, log: Any) -> None:
        self.asked = asyncio.Event()
        self._log = log
        self._trouble, self._token = "", ""
        self._given = set(os.environ)  # what somebody has set on purpose stays

    async def run(self) -> None:
        """Never returns."""
        while True:
            pause = ASK_ANEW_S
            try:
                told = await asyncio.to_thread(ask)
                pause = float(told["ask_again_s"])
                if told["access_token"] != self._token:
                    await asyncio.to_thread(self._use, told)
                    self._token, self._trouble = told["access_token"], ""
            except (NoToken, OSError, KeyError, TypeError, ValueError) as error:
                if str(error) != self._trouble:  # once, not each minute
                    self._trouble = str(error)
                    self._log.warning("The token for programs could not be renewed: %s", error)
            self.asked.set()
            await asyncio.sleep(pause)

    def _use(self, told: dict[str, Any]) -> None:
        for name, value in variables(told).items():
            if name not in self._given:
                os.environ[name] = value
        write_files(Path(home_directory()), told)


def ask() -> dict[str, Any]:
    """What the hub tells. Raises NoToken with its reason, OSError and ValueError."""
    address = urlsplit(os.environ["JUPYTERHUB_API_URL"])
    connection: http.client.HTTPConnection = (
        _Local(unquote(address.netloc), timeout=ANSWER_LIMIT_S)
        if address.scheme == "http+unix"
        else http.client.HTTPConnection(address.netloc, timeout=ANSWER_LIMIT_S)
    )
    with contextlib.closing(connection):
        try:
            headers = {"Authorization": f"token {os.environ['JUPYTERHUB_API_TOKEN']}"}
            connection.request("GET", f"{address.path}/hubfleet/token", headers=headers)
            answer = connection.getresponse()
            text = answer.read()
        except http.client.HTTPException as error:
            raise NoToken(f"the hub does not answer as it should: {error!r}") from error
    told = json.loads(text)
    if answer.status != 200:
        raise NoToken(f"the hub says: {told.get('message', answer.status)}")
    return dict(told)


class _Local(http.client.HTTPConnection):
    """To a hub at a Unix socket; the host is its path."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("hub", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

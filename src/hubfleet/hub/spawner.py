"""The hub's side of starting servers: it asks the launcher, and never takes "cannot tell" for "stopped"."""

from __future__ import annotations

import asyncio
import html
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
from jupyterhub.spawner import Spawner, SpawnException
from jupyterhub.utils import url_escape_path, url_path_join, utcnow
from traitlets import Unicode

from hubfleet.hub.turns import InTurn
from hubfleet.units import rounded

READOPT_LIMIT_S = 1800
START_HTTP_LIMIT_S = 60
LAUNCHER_AWAY_S = 1.0
START_PATIENCE_S = 10.0  # with a launcher that is away: it is being started anew
FOUND_AGAIN_PAUSE_S = 0.5
"""Between two looks at a server that a hub which comes up has in its database."""
ANSWER_LIMIT_S = 10  # for questions; a page waits for them
LOOK_LIMIT_S = 2.0
HOME_LIMIT_S = 2
"""For how much is in a home: the page is useful without."""
LITTLE_BYTES = 1024**2
STOP_LIMIT_S = 60
TOKENS = "JUPYTERHUB_PROVIDER_TOKENS"
"""Tells a server that the hub has a token of the provider for it; `singleuser.tokens` reads it."""
_OF_THE_API = ("JUPYTERHUB_API_URL", "JUPYTERHUB_ACTIVITY_URL")
_BEGAN = time.monotonic()
_LAUNCHER_DOWN = (aiohttp.ClientError, OSError, asyncio.TimeoutError)


class ServerStartFailed(SpawnException):
    """Shown to the person who pressed Start, in the words of the launcher.

    ``server_name`` and ``spawn_url``: whose start it was, and where to try again, for the page that tells of it.
    """

    def __init__(self, message: str, spawner: Spawner, *, status_code: int = 500) -> None:
        super().__init__(message, reason="start", status_code=status_code)
        self.jupyterhub_message = message
        self.server_name = spawner.name
        place = (spawner.user.escaped_name, url_escape_path(spawner.name))
        self.spawn_url = url_path_join(spawner.hub.base_url, "spawn", *place)


@dataclass(frozen=True)
class Files:
    """What a home holds and may hold, in bytes."""

    used: int
    limit: int

    @property
    def percent(self) -> int:
        """How full it is."""
        return 100 * self.used // self.limit

    @property
    def full(self) -> bool:
        """Whether next to nothing fits any more."""
        return self.limit - self.used < LITTLE_BYTES

    def __str__(self) -> str:
        return f"{rounded(self.used)} of {rounded(self.limit)}"


class LauncherSpawner(Spawner):
    """A client of the launcher's socket. Holds no privilege and knows nothing of how servers run."""

    launcher_socket = Unicode(help="Path of the launcher's Unix socket.").tag(config=True)
    hub_url = Unicode(help="Where servers reach the hub, if not at its Unix socket.").tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._progress: asyncio.Queue[str | None] = asyncio.Queue()
        self._launched = False
        self._server_name = self.name
        self._idle_limit: float | None = None
        self.notes: list[str] = []
        """What the running server does without, for its user's page."""
        self.ended = ""
        """Why the latest server is there no more, for its user's page; "" while it runs, and where its user stopped it.
        """
        self.stopped_for = ""
        """Why somebody who is about to stop it does so; "" for its user."""
        # A hub that comes back must be patient with servers it cannot reach at once: JupyterHub stops a server that
        # does not answer within this limit, and with it the kernels that are fine.
        self.http_timeout = READOPT_LIMIT_S

    @property
    def server(self) -> Any:
        """The server's address as JupyterHub keeps it, less the ``:80`` it adds even to a socket's path."""
        found = Spawner.server.fget(self)
        if found is not None and found.proto == "http+unix" and not found.connect_url:
            found.connect_url = f"{found.proto}://{found.ip}"
        return found

    @server.setter
    def server(self, server: Any) -> None:
        Spawner.server.fset(self, server)

    # -- what survives a restart of the hub --------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        state: dict[str, Any] = super().get_state()
        if self._launched:
            state.update(launched=True, server_name=self._server_name, stop_after_idle=self._idle_limit)
            state.update(notes=self.notes)
        if self.ended:
            state.update(ended=self.ended)
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self._launched = state.get("launched", False)
        # A named server may be given another name while it runs; the launcher knows it by the one it started with.
        self._server_name = state.get("server_name", self.name)
        self._idle_limit = state.get("stop_after_idle")
        self.notes = state.get("notes", [])
        self.ended = state.get("ended", "")

    def clear_state(self) -> None:
        """As in JupyterHub, which calls this after a server; why it ended stays until the next start."""
        super().clear_state()
        self._launched = False
        self._server_name = self.name
        self._idle_limit = None
        self.notes = []

    # -- start, poll, stop -------------------------------------------------------------------------------------------

    async def start(self) -> str:
        """Ask for the server; returns its address. Raises ServerStartFailed with the launcher's reason."""
        self.http_timeout = START_HTTP_LIMIT_S
        self._progress = asyncio.Queue()
        self._server_name = self.name
        self.ended = self.stopped_for = ""
        environment = {key: str(value) for key, value in self.get_env().items() if key.startswith("JUPYTERHUB_")}
        if getattr(self.authenticator, "told", {}).get("tokens"):
            environment[TOKENS] = "1"
        if self.hub_url:
            api = url_path_join(self.hub_url, self.hub.base_url, "api")
            for name in _OF_THE_API:
                environment[name] = environment[name].replace(self.hub.api_url, api, 1)
        wanted = {**await self._person(), "profile": self.user_options.get("profile"), "environment": environment}
        if isinstance(self.handler, InTurn):
            self.handler.end_turn()
        try:
            answer = await self._start(wanted)
        except _LAUNCHER_DOWN as error:
            why = "the launcher cannot be reached right now. Please try again in a minute"
            raise ServerStartFailed(f"Your server could not be started: {why}.", self, status_code=503) from error
        finally:
            self._progress.put_nowait(None)
        if "refused" in answer:
            # JupyterHub keeps the choice for the next start; one that is refused would be refused for good.
            self.orm_spawner.user_options = {}
            self.db.commit()
            raise ServerStartFailed(f"Your server was not started: {answer['error']}.", self, status_code=400)
        if "error" in answer:
            raise ServerStartFailed(f"Your server could not be started: {answer['error']}", self)
        self._launched = True
        self._idle_limit = answer["stop_after_idle"]
        self.notes = answer.get("notes", [])
        return str(answer["url"])

    async def _start(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Have it started; returns the launcher's last word.

        A launcher that is away, or goes away in the middle, is waited for, but not for long. The next one ends what
        had been begun, and begins anew.
        """
        limit, heard = aiohttp.ClientTimeout(total=None, sock_connect=START_PATIENCE_S), time.monotonic()
        while True:
            try:
                async with (
                    self._session(limit) as session,
                    session.post("http://launcher/v1/start", json=wanted) as response,
                ):
                    async for line in response.content:
                        heard, answer = time.monotonic(), json.loads(line)
                        if "progress" not in answer:
                            return dict(answer)
                        self._progress.put_nowait(answer["progress"])
                    raise ConnectionResetError("it ended without a last word")
            except _LAUNCHER_DOWN as error:
                if time.monotonic() > heard + START_PATIENCE_S:
                    raise
                self.log.warning("Starting %s has to wait for the launcher: %s", self._log_name, error)
            await asyncio.sleep(LAUNCHER_AWAY_S)

    def start_polling(self) -> None:
        """As in JupyterHub, which calls this when `start` is done, and when a hub comes back to a running server."""
        if self._start_pending:
            # It has been waiting for its turn, perhaps for long, and is idle from now on. Its own first report of
            # activity is an interval away. JupyterHub saves this with what it notes next, before anything is waited
            # for: what is unsaved then is taken back at the end of any request.
            self.user.last_activity = self.orm_spawner.last_activity = utcnow(with_tz=False)
        super().start_polling()

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """What the launcher reports, as events of JupyterHub's progress page."""
        done = 10
        while (message := await self._progress.get()) is not None:
            yield {"progress": done, "message": message}
            done = min(90, done + 30)

    async def poll(self) -> int | None:
        """None while the server runs, is being started, or cannot be asked about; else its exit code (0: not known)."""
        if not self._launched:
            return None if self._start_pending else 0
        answer = await self._status()
        if answer["state"] == "unknown":
            self.log.warning("Cannot tell whether %s runs: %s", self._log_name, answer["why"])
        # Once a hub that comes up has taken a server to run, it waits for it for READOPT_LIMIT_S, and its user for the
        # next start. So it asks until it is told, by a launcher that comes up beside it, or sees for itself.
        while answer["state"] == "unknown" and self._check_pending and time.monotonic() < _BEGAN + READOPT_LIMIT_S:
            if await self._answers():
                return None
            await asyncio.sleep(FOUND_AGAIN_PAUSE_S)
            answer = await self._status()
        if answer["state"] != "stopped":
            return None
        self.log.info("Server %s has ended: %s", self._log_name, answer["why"])
        # One that ended as it should was stopped from inside, or is one that the launcher no longer knows.
        self.ended = "" if answer["code"] == 0 else str(answer["why"])
        return answer["code"] or 0

    async def _status(self) -> dict[str, Any]:
        """What the launcher knows of the server; ``unknown``, too, while it is away itself."""
        try:
            return await self._ask("status", self._identity())
        except _LAUNCHER_DOWN as error:
            return {"state": "unknown", "why": str(error)}

    async def _answers(self) -> bool:
        """Whether the server itself does."""
        try:
            await asyncio.wait_for(self.server.wait_up(timeout=LOOK_LIMIT_S, http=True, extra_path="api"), LOOK_LIMIT_S)
        except (asyncio.TimeoutError, OSError):
            return False
        return True

    async def stop(self, now: bool = False) -> None:
        """Have it stopped. Waits for a launcher that is away: JupyterHub forgets a server even if stopping it fails."""
        while True:
            try:
                await self._ask("stop", self._identity(), STOP_LIMIT_S)
                break
            except aiohttp.ClientResponseError:
                raise
            except _LAUNCHER_DOWN as error:
                self.log.warning("Stopping %s has to wait for the launcher: %s", self._log_name, error)
                await asyncio.sleep(LAUNCHER_AWAY_S)
        # A look in the middle may have found it gone.
        self.ended, self.stopped_for = self.stopped_for, ""
        self.clear_state()

    def _identity(self) -> dict[str, str]:
        return {"user": self.user.name, "server": self._server_name}

    async def _person(self) -> dict[str, Any]:
        """Whose server, and the groups that person is in: what comes of those, the launcher knows."""
        theirs = {"hub": sorted(group.name for group in self.user.groups)}
        if hasattr(self.authenticator, "groups_of"):
            theirs["provider"] = sorted(await self.authenticator.groups_of(self.user))
        # Most people are in none; and a launcher that is older than this hub, while both are replaced, knows no groups.
        return {**self._identity(), **({"groups": theirs} if any(theirs.values()) else {})}

    def _session(self, limit: aiohttp.ClientTimeout) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(connector=aiohttp.UnixConnector(self.launcher_socket), timeout=limit)

    async def _ask(self, verb: str, body: dict[str, Any], patience: float = ANSWER_LIMIT_S) -> dict[str, Any]:
        limit = aiohttp.ClientTimeout(total=patience)
        async with (
            self._session(limit) as session,
            session.post(f"http://launcher/v1/{verb}", json=body) as response,
        ):
            response.raise_for_status()
            answer: dict[str, Any] = await response.json()
            return answer

    async def files(self) -> Files | None:
        """How much is in the user's home; None where nobody counts, or can be asked now."""
        try:
            answer = await self._ask("home", self._identity(), HOME_LIMIT_S)
        except _LAUNCHER_DOWN as error:
            self.log.warning("Cannot tell how much %s holds: %s", self.user.name, error)
            return None
        used, limit = answer.get("used"), answer.get("limit")
        return Files(used, limit) if isinstance(used, int) and isinstance(limit, int) else None

    # -- the start page ----------------------------------------------------------------------------------------------

    async def get_options_form(self) -> str:
        """The choice of profiles this user may have; nothing when there is no choice."""
        try:
            profiles = (await self._ask("profiles", await self._person()))["profiles"]
        except _LAUNCHER_DOWN:
            return ""
        if not profiles:
            return ""
        chosen = next((profile["key"] for profile in profiles if profile["default"]), profiles[0]["key"])
        choices = "\n".join(_choice(profile, profile["key"] == chosen) for profile in profiles)
        return f'<fieldset><legend class="visually-hidden">Profile</legend>\n{choices}\n</fieldset>'

    def options_from_form(self, form_data: dict[str, list[str]]) -> dict[str, str]:
        return {"profile": form_data["profile"][0]} if form_data.get("profile") else {}


def _choice(profile: dict[str, Any], checked: bool) -> str:
    key, title = html.escape(profile["key"]), html.escape(profile["title"] or profile["key"])
    details = " · ".join(html.escape(text) for text in (profile["description"], profile["limits"]) if text)
    mark = " checked" if checked else ""
    return f"""<div class="form-check mb-3">
  <input class="form-check-input" type="radio" name="profile" id="profile-{key}" value="{key}"{mark}>
  <label class="form-check-label" for="profile-{key}"><strong>{title}</strong><br><small>{details}</small></label>
</div>"""

"""One person of the class: every step timed, over HTTP and one websocket, as that person's browser would."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gzip
import re
import uuid
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp

from hubfleet.loadtest.assets import PAGE_REQUESTS, chunks, page_assets
from hubfleet.loadtest.hubapi import HubAPI, StepFailed, in_words
from hubfleet.loadtest.kernel import MESSAGE_LIMIT, KernelSocket
from hubfleet.loadtest.people import Login
from hubfleet.loadtest.scenario import Scenario, code_cells
from hubfleet.loadtest.way import Way
from hubfleet.names import in_address

LOOK_EVERY_S = 2.0
"""How often who waits for a kernel asks whether it is still there: less often than its server looks."""
CONNECTIONS = 6
"""How many a browser opens to one host over HTTP/1.1."""

NOTEBOOK = "loadtest.ipynb"
Answer = TypeVar("Answer")


@dataclass
class Record:
    """What happened to one person. Moments are seconds since the class began; `steps` holds (begin, end) of each."""

    name: str
    arrived: float = 0.0
    steps: dict[str, tuple[float, float]] = field(default_factory=dict)
    failed_step: str | None = None
    reason: str | None = None
    asked_again: int = 0
    requests: int = 0
    bytes_received: int = 0
    not_there: int = 0

    @property
    def failed(self) -> bool:
        return self.failed_step is not None


class Person:
    """Plays one person. ``clock`` gives seconds since the class began; ``report`` is told of each step that is done.

    ``way``: how the hub is reached.
    """

    def __init__(
        self,
        url: str,
        login: Login,
        scenario: Scenario,
        clock: Callable[[], float],
        report: Callable[[str], None],
        way: Way = Way(),
    ) -> None:
        self.record = Record(login.name)
        self._url, self._login, self._scenario = url.rstrip("/"), login, scenario
        self._clock, self._report, self._way = clock, report, way
        self._base = f"{self._url}/user/{in_address(login.name)}/"
        self.notebook = copy.deepcopy(scenario.notebook)
        self._fetched: set[str] = set()
        self.step = "login"
        """What is being done now; nothing while waiting for the others."""

    async def play(self, all_done: Callable[[], Awaitable[None]]) -> None:
        """Everything from log-in to stop. Never raises for what a hub may do: the record has it.

        ``all_done`` is awaited between the work and the stop: it returns when the whole class has got so far and been
        idle for as long as it should.
        """
        self.record.arrived = self._clock()
        connector = self._way.connector(CONNECTIONS)
        limit = aiohttp.ClientTimeout(total=None)  # each step has its own
        browser = aiohttp.ClientSession(
            connector=connector, headers={"Accept-Encoding": "gzip, deflate"}, auto_decompress=False, timeout=limit
        )
        # The hub may be known by its IP address only, whose cookies aiohttp drops unless told otherwise.
        cookies = aiohttp.CookieJar(unsafe=True)
        async with (
            browser,
            aiohttp.ClientSession(
                connector=connector, connector_owner=False, cookie_jar=cookies, timeout=limit
            ) as session,
        ):
            api = HubAPI(session, self._url, self._login.token)
            kernel = None
            with contextlib.suppress(StepFailed):  # it is noted in the record
                await self._enter(session, api)
                if self._scenario.lab:
                    await self._open_lab(browser, api)
                if self._scenario.kernel:
                    kernel = await self._step("kernel", self._start_kernel(session, api))
                    await self._step("done", self._run(kernel))
                    await self._step("save", self._save(session, api, self.notebook))
            self.step = ""
            await all_done()
            if kernel is not None:
                await kernel.close()
            if "start" in self.record.steps:
                with contextlib.suppress(StepFailed):
                    await self._step("stop", api.stop(self.record.name))

    async def _step(self, name: str, work: Awaitable[Answer]) -> Answer:
        """Do and time a step; all that a hub can do to it becomes a noted StepFailed."""
        self.step, begin = name, self._clock()
        try:
            answer = await asyncio.wait_for(work, self._scenario.step_limit_s)
        except (StepFailed, aiohttp.ClientError, OSError, asyncio.TimeoutError, ValueError, KeyError) as error:
            reason = self._reason(error)
            self.fail(name, reason)
            raise StepFailed(reason) from error
        self.record.steps[name] = (begin, self._clock())
        self._report(name)
        return answer

    def _reason(self, error: BaseException) -> str:
        """In words that are the same for everybody it happens to: no address of one person."""
        if isinstance(error, StepFailed):
            return str(error)
        if isinstance(error, asyncio.TimeoutError):
            return f"not done within {self._scenario.step_limit_s:g} s"
        if isinstance(error, aiohttp.WSServerHandshakeError):
            return f"HTTP {error.status}: the kernel's websocket was refused"
        if isinstance(error, aiohttp.ClientConnectorError):
            return f"no connection to the hub ({error.os_error.strerror or 'refused'})"
        if isinstance(error, aiohttp.ServerDisconnectedError):
            return "the connection was closed without an answer"
        return f"{type(error).__name__}: {error}"[:200]

    def fail(self, step: str, reason: str) -> None:
        """Note the first failure. The name in it is left out, so that equal reasons are counted together."""
        if not self.record.failed:
            reason = reason.replace(self.record.name, "NAME")
            self.record.failed_step, self.record.reason = step, reason
            self._report("failed")

    # -- log in, start ----------------------------------------------------------------------------------------------

    async def _enter(self, session: aiohttp.ClientSession, api: HubAPI) -> None:
        if self._login.password is not None:
            await self._step("login", self._log_in(session, self._login.password.reveal()))
        else:
            await self._step("login", api.ask("GET", "/user"))
        await self._step("start", self._start(api))

    async def _start(self, api: HubAPI) -> None:
        limit = self._scenario.step_limit_s
        self.record.asked_again = await api.start(self.record.name, self._scenario.options, limit)

    async def _log_in(self, session: aiohttp.ClientSession, password: str) -> None:
        """The form, as a browser sends it."""
        address = f"{self._url}/hub/login"
        async with session.get(address) as page:
            text = await page.text()
        found = re.search(r'name="_xsrf"\s+value="([^"]*)"', text)
        form = {"username": self.record.name, "password": password, "_xsrf": found[1] if found else ""}
        async with session.post(address, data=form, allow_redirects=False) as answer:
            if answer.status != 302:
                raise StepFailed(in_words(answer.status, await answer.text()))
        session.cookie_jar.clear()  # from here on the token speaks for this person

    # -- JupyterLab -------------------------------------------------------------------------------------------------

    async def _open_lab(self, browser: aiohttp.ClientSession, api: HubAPI) -> None:
        address = f"{self._base}lab"
        page = await self._step("page", self._fetch(browser, api, address, must=True))
        await self._step("assets", self._load(browser, api, *page_assets(address, page)))

    async def _load(self, browser: aiohttp.ClientSession, api: HubAPI, plain: list[str], scripts: list[str]) -> None:
        await asyncio.gather(
            *(self._fetch(browser, api, link, text=False) for link in plain),
            *(self._fetch_script(browser, api, link) for link in scripts),
        )
        requests = (f"{self._base}{target}" for target in PAGE_REQUESTS)
        await asyncio.gather(*(self._fetch(browser, api, link, text=False) for link in requests))

    async def _fetch_script(self, browser: aiohttp.ClientSession, api: HubAPI, address: str) -> None:
        text = await self._fetch(browser, api, address)
        await asyncio.gather(*(self._fetch(browser, api, link, text=False) for link in chunks(address, text)))

    async def _fetch(
        self, browser: aiohttp.ClientSession, api: HubAPI, address: str, *, must: bool = False, text: bool = True
    ) -> str:
        """Get what a page needs, once, as a browser that keeps it would. What the server does not have is counted."""
        if address in self._fetched or not address.startswith(f"{self._url}/"):
            return ""
        self._fetched.add(address)
        async with browser.get(address, headers=api.headers) as answer:
            body = await answer.read()
            self.record.requests += 1
            self.record.bytes_received += len(body)
            if answer.status >= 500 or (must and answer.status >= 400):
                raise StepFailed(in_words(answer.status, ""))
            if answer.status >= 400:
                self.record.not_there += 1
                return ""
            return _plain(body, answer.headers.get("Content-Encoding", "")) if text else ""

    # -- the notebook ------------------------------------------------------------------------------------------------

    async def _start_kernel(self, session: aiohttp.ClientSession, api: HubAPI) -> KernelSocket:
        """Create the notebook and start its kernel; returns the connection once the kernel answers."""
        await self._save(session, api, self.notebook)
        specs = await self._server(session, api, "GET", "api/kernelspecs")
        body = {"path": NOTEBOOK, "name": NOTEBOOK, "type": "notebook", "kernel": {"name": specs["default"]}}
        made = await self._server(session, api, "POST", "api/sessions", body)
        identifier = uuid.uuid4().hex
        address = f"{self._base}api/kernels/{made['kernel']['id']}/channels?session_id={identifier}"
        connecting = asyncio.ensure_future(session.ws_connect(address, headers=api.headers, max_msg_size=MESSAGE_LIMIT))
        try:
            # The server lets nobody in before the kernel answers, and waits a minute for one that has ended.
            while not (await asyncio.wait([connecting], timeout=LOOK_EVERY_S))[0]:
                await self._look_at(session, api, made["kernel"]["id"])
            kernel = KernelSocket(await connecting, identifier)
        finally:
            connecting.cancel()
        await kernel.ready()
        return kernel

    async def _look_at(self, session: aiohttp.ClientSession, api: HubAPI, kernel: str) -> None:
        """Raises StepFailed if the kernel has ended."""
        async with session.get(f"{self._base}api/kernels/{kernel}", headers=api.headers) as answer:
            if answer.status == 404:
                raise StepFailed("it ended by itself, again and again")
            reason = (await answer.json()).get("reason") if answer.status == 200 else None
        if reason:
            raise StepFailed(str(reason))

    async def _run(self, kernel: KernelSocket) -> None:
        begin = self._clock()

        def first_output() -> None:
            if "output" not in self.record.steps:
                self.record.steps["output"] = (begin, self._clock())
                self._report("output")

        for number, cell in enumerate(code_cells(self.notebook), start=1):
            await kernel.run(cell, number, first_output)

    async def _save(self, session: aiohttp.ClientSession, api: HubAPI, notebook: dict[str, Any]) -> None:
        document = {"type": "notebook", "format": "json", "content": notebook}
        await self._server(session, api, "PUT", f"api/contents/{NOTEBOOK}", document)

    async def _server(
        self, session: aiohttp.ClientSession, api: HubAPI, method: str, target: str, body: Any = None
    ) -> Any:
        """The API of this person's Jupyter server."""
        async with session.request(method, f"{self._base}{target}", json=body, headers=api.headers) as answer:
            if answer.status >= 400:
                raise StepFailed(in_words(answer.status, await answer.text()))
            return await answer.json()


def _plain(body: bytes, encoding: str) -> str:
    if encoding == "gzip":
        body = gzip.decompress(body)
    elif encoding == "deflate":
        body = zlib.decompress(body)
    return body.decode(errors="replace")

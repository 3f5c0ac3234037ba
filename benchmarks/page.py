"""JupyterLab's page through the proxy: time and bytes until its scripts and first answers are there.

    .venv/bin/python benchmarks/page.py --json

prints, among others, `ratio_page_cold` and `ratio_page_warm` (time), `ratio_bytes_cold` and `ratio_bytes_warm` (bodies
as transferred): how many times less ours is. Cold: an empty cache. Warm: the same person opens the page again, with a
cache that keeps to `Cache-Control`, `ETag` and `Last-Modified`. No script is run: the browser's own work is not in it.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import re
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from hubfleet.loadtest.assets import PAGE_REQUESTS, chunks, page_assets
from hubfleet.loadtest.hubapi import HubAPI
from hubfleet.loadtest.people import clean_up
from hubfleet.loadtest.person import CONNECTIONS
from hubfleet.names import in_address
from measure import STEP_LIMIT_S, medians, ratio, row, script, wait_until_idle
from peers import Hubs, Peer

TOKEN_S = 3600


@dataclass
class Kept:
    """An answer in the cache."""

    text: str
    fresh_until: float
    conditions: dict[str, str]


@dataclass
class Browser:
    """Connections and cache of one person. ``requests`` and ``received`` (bytes) since they were last set to zero."""

    session: aiohttp.ClientSession
    headers: dict[str, str]
    cache: dict[str, Kept] = field(default_factory=dict)
    requests: int = 0
    received: int = 0

    async def get(self, address: str) -> str:
        """The text at an address, from the cache if that may be used."""
        kept = self.cache.get(address)
        if kept and time.monotonic() < kept.fresh_until:
            return kept.text
        conditions = kept.conditions if kept else {}
        async with self.session.get(address, headers={**self.headers, **conditions}) as answer:
            body = await answer.read()
            self.requests += 1
            self.received += len(body)
            if answer.status == 304 and kept:
                return kept.text
            if answer.status >= 500:
                raise SystemExit(f"{address}: HTTP {answer.status}")
            if answer.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            text = body.decode(errors="replace")
            if answer.status == 200:
                self._keep(address, text, answer.headers)
            return text

    def _keep(self, address: str, text: str, headers: Any) -> None:
        control = headers.get("Cache-Control", "")
        if "no-store" in control:
            return
        age = re.search(r"max-age=(\d+)", control)
        fresh = float(age[1]) if age and "no-cache" not in control else 0.0
        names = {"If-None-Match": "ETag", "If-Modified-Since": "Last-Modified"}
        conditions = {ours: headers[theirs] for ours, theirs in names.items() if theirs in headers}
        if fresh or conditions:
            self.cache[address] = Kept(text, time.monotonic() + fresh, conditions)

    async def open_lab(self, server: str) -> dict[str, float]:
        """Open JupyterLab; returns seconds, bytes and requests."""
        self.requests = self.received = 0
        began = time.monotonic()
        address = f"{server}lab"
        plain, scripts = page_assets(address, await self.get(address))
        await asyncio.gather(*map(self.get, plain), *map(self._script, scripts))
        await asyncio.gather(*(self.get(f"{server}{target}") for target in PAGE_REQUESTS))
        return {"s": time.monotonic() - began, "bytes": self.received, "requests": self.requests}

    async def _script(self, address: str) -> None:
        await asyncio.gather(*map(self.get, chunks(address, await self.get(address))))


def measure(found: Hubs, options: argparse.Namespace) -> dict[str, Any]:
    """Everything about the page."""
    peers, made = found.all, []
    for number in range(options.rounds):
        for peer in peers if number % 2 == 0 else reversed(peers):
            busy = wait_until_idle(options.quick)
            visits = asyncio.run(_visits(peer))
            made.append({"hub": peer.name, "round": number + 1, "busy_before": busy, **visits})
    document: dict[str, Any] = {}
    rows = []
    for state in ("cold", "warm"):
        for figure, unit, name in (("s", "s", "page"), ("bytes", "MB", "bytes"), ("requests", "", "requests")):
            values = medians(made, peers, lambda one, state=state, figure=figure: one[state][figure])  # type: ignore[misc]
            document[f"ratio_{name}_{state}"] = ratio(values)
            text = {"page": "time", "bytes": "transferred", "requests": "requests"}[name]
            rows.append(row(f"JupyterLab's page, {state}: {text}", unit, values))
    return {**document, "failed": 0, "rows": rows, "rounds": made}


async def _visits(peer: Peer) -> dict[str, dict[str, float]]:
    """One person starts and opens JupyterLab with an empty cache, again with an empty one, and then with a full one.

    The first visit is not counted: a server that has just started reads its files for the first time.
    """
    target = peer.target
    connector = aiohttp.TCPConnector(limit_per_host=CONNECTIONS)
    agreed = {"Accept-Encoding": "gzip"}
    async with (
        aiohttp.ClientSession() as admin,
        aiohttp.ClientSession(connector=connector, headers=agreed, auto_decompress=False) as session,
    ):
        api = HubAPI(admin, target.url, target.token)
        try:
            [login] = await target.roster.enter(api, 1, TOKEN_S)
            person = HubAPI(session_of := aiohttp.ClientSession(), target.url, login.token)
            async with session_of:
                await person.start(login.name, {}, STEP_LIMIT_S)
            server = f"{target.url}/user/{in_address(login.name)}/"
            await Browser(session, person.headers).open_lab(server)
            browser = Browser(session, person.headers)
            return {"cold": await browser.open_lab(server), "warm": await browser.open_lab(server)}
        finally:
            names = await target.roster.mine(api)
            problems = await clean_up(api, target.roster) or await asyncio.to_thread(target.sweep, names)
            if problems:
                raise SystemExit(f"{peer.name}: {'; '.join(problems)}")


if __name__ == "__main__":
    script(__doc__, measure, users=1, rounds=5)

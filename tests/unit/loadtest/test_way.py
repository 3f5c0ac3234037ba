"""How a hub is reached whose name is not known here, or whose certificate nobody has signed."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from hubfleet.loadtest.way import Way
from pairs import Pair, make_pair

NAME = "hub.nowhere.invalid"


@pytest.fixture
def pair() -> Pair:
    """Signed by an authority that nobody knows, as an edge's own is."""
    return make_pair(NAME, by=make_pair("Our own authority", authority=True))


@pytest.fixture
async def port(pair: Pair, tmp_path: Path) -> AsyncIterator[int]:
    """Where it is shown."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=request.host)

    application = web.Application()
    application.router.add_get("/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*pair.write(tmp_path))
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def ask(way: Way, port: int, name: str = NAME) -> str:
    address = f"https://{name}:{port}/"
    async with aiohttp.ClientSession(connector=way.connector()) as session, session.get(address) as said:
        return await said.text()


async def test_a_name_leads_to_the_machine_and_its_certificate_is_trusted(pair: Pair, port: int) -> None:
    assert await ask(Way(host="127.0.0.1", certificate=pair.pem.decode()), port) == f"{NAME}:{port}"


async def test_no_other_certificate_is(port: int) -> None:
    other = make_pair(NAME, by=make_pair("Our own authority", authority=True))
    for way in (Way(host="127.0.0.1"), Way(host="127.0.0.1", certificate=other.pem.decode())):
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await ask(way, port)


async def test_a_certificate_is_trusted_for_its_own_names_only(pair: Pair, port: int) -> None:
    with pytest.raises(aiohttp.ClientConnectorCertificateError, match="Hostname mismatch"):
        await ask(Way(host="127.0.0.1", certificate=pair.pem.decode()), port, "other.nowhere.invalid")


async def test_without_a_host_the_name_leads_where_it_leads(pair: Pair, port: int) -> None:
    with pytest.raises(aiohttp.ClientConnectorDNSError):
        await ask(Way(certificate=pair.pem.decode()), port)

"""How the hub speaks with a provider: within limits, through the site's proxy, following no redirect."""

from __future__ import annotations

import asyncio
import io
import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
from tornado.httpclient import HTTPClientError, HTTPRequest, HTTPResponse
from tornado.httputil import HTTPHeaders

LIMIT_S = 10.0
LIMIT_BYTES = 4 * 1024**2
_CODE = re.compile(r"[a-z0-9_.-]{1,60}", re.IGNORECASE)


class Silent(Exception):
    """The provider gave no answer, or none that can be used. Says nothing of who asks."""


class Client:
    """Takes the place of Tornado's client in oauthenticator's classes, which knows no proxy (HTTPS_PROXY)."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit = aiohttp.ClientTimeout(total=limit_s)

    async def fetch(self, request: HTTPRequest, raise_error: bool = True) -> HTTPResponse:
        """The answer. Raises HTTPClientError for a status of 300 and above, Silent when there is none."""
        where = urlsplit(request.url).hostname
        try:
            async with (
                aiohttp.ClientSession(timeout=self._limit, trust_env=True) as session,
                session.request(
                    request.method,
                    request.url,
                    headers=dict(request.headers),
                    data=request.body,
                    allow_redirects=False,  # it would take the token with it
                ) as answer,
            ):
                body = await answer.content.read(LIMIT_BYTES + 1)
                while len(body) <= LIMIT_BYTES and (more := await answer.content.read(LIMIT_BYTES)):
                    body += more
        except asyncio.TimeoutError:
            raise Silent(f"{where} gave no answer within {self._limit.total:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Silent(f"{where}: {error}") from error
        if len(body) > LIMIT_BYTES:
            raise Silent(f"{where} answered more than {LIMIT_BYTES} bytes")
        if answer.status >= 500:
            raise Silent(f"{where} answered {answer.status} {answer.reason}")
        headers = HTTPHeaders()
        for name, value in answer.headers.items():
            headers.add(name, value)
        response = HTTPResponse(request, answer.status, headers=headers, buffer=io.BytesIO(body))
        if raise_error and answer.status >= 300:
            raise HTTPClientError(answer.status, answer.reason, response)
        return response


def parsed(response: HTTPResponse) -> dict[str, Any]:
    """The fields of an answer in JSON, or in the form of a form, which some have for errors; {} for anything else."""
    text = response.body.decode("utf-8", "replace") if response.body else ""
    try:
        data = json.loads(text)
    except ValueError:
        data = {key: values[-1] for key, values in parse_qs(text).items()}
    return data if isinstance(data, dict) else {}


def error_of(data: dict[str, Any]) -> tuple[str, str]:
    """The code of an error that a provider tells, and its own words on one line; ("", "") for none."""
    told: Any = data.get("error")
    words = data.get("error_description") or data.get("message") or ""
    if isinstance(told, dict):  # Google's way
        told, words = told.get("status") or told.get("code"), told.get("message", "")
    code = str(told or "")
    return code if _CODE.fullmatch(code) else ("unknown" if code else ""), one_line(str(words))


def one_line(text: str) -> str:
    """At most 200 printable characters."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:200]

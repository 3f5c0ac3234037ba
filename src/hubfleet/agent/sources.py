"""Where this machine's own tools get packages from, as they say themselves."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator

from hubfleet.agent.docker import tool
from hubfleet.agent.uv import uv_environ

LIMIT_S = 5.0
_PROXIES = tuple(f"Acquire::{scheme}::Proxy" for scheme in ("http", "https"))
_ADDRESS = re.compile(r"https?://[^\s'\"/]+")


def sources() -> dict[str, list[str]]:
    """By tool, whom it would ask (such as "https://mirror.example.edu"), or its proxies; no tool that is not there, or
    says nothing.

    They may have names and passwords in them.
    """
    asked = {"apt": _apt(), "pip": _pip(), "npm": _npm()}
    return {name: found for name, addresses in asked.items() if (found := list(dict.fromkeys(addresses)))}


def _apt() -> Iterator[str]:
    proxies = [line for line in _said("apt-config", "dump", "--format", "%v%n", *_PROXIES) if _ADDRESS.match(line)]
    for line in proxies or _said("apt-get", "--print-uris", "update"):
        yield from _ADDRESS.findall(line)[:1]


def _pip() -> Iterator[str]:
    """Its settings; where there are none, it knows its index itself."""
    index = uv_environ(os.environ).get("UV_DEFAULT_INDEX", "")
    yield from _ADDRESS.findall(index)


def _npm() -> Iterator[str]:
    for line in _said("npm", "config", "get", "registry"):
        yield from _ADDRESS.findall(line)


def _said(program: str, *words: str) -> list[str]:
    """The lines that a program prints; none where there is no such program, or it fails."""
    found = tool(program)
    if found is None:
        return []
    try:
        done = subprocess.run(
            [found, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S, cwd="/"
        )
    except subprocess.TimeoutExpired:
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []

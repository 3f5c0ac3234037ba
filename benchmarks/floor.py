"""What nobody gets below on this machine: the times that a start is to be held against."""

from __future__ import annotations

import os
import statistics
import time
import urllib.request
from collections.abc import Callable

from peers import Peer

TIMES = 20


def fork_s() -> float:
    """Median time of an empty fork of this process, from asking for it to its end."""
    return statistics.median(_timed(_fork) for _ in range(TIMES))


def page_s(peer: Peer) -> float:
    """Median time of one page of HTML from this hub, by way of its proxy: the one to log in."""
    return statistics.median(_timed(lambda: _page(f"{peer.target.url}/hub/login")) for _ in range(TIMES))


def _timed(what: Callable[[], None]) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def _fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _page(url: str) -> None:
    with urllib.request.urlopen(url) as answer:
        answer.read()

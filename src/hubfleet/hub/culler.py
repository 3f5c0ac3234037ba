"""The ecosystem's idle culler, with one limit a server: the one that server was started with."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from datetime import timedelta
from typing import Any

from jupyterhub_idle_culler import IdleCuller
from tornado.netutil import Resolver
from traitlets.config import Config

SOCKET_VARIABLE = "HUBFLEET_HUB_SOCKET"
"""The hub's Unix socket; without it, the culler goes by the address that it is given."""

_PR_SET_PDEATHSIG = 1


def is_idle(*, inactive: timedelta, inactive_limit: int, server: dict[str, Any], **_: Any) -> bool:
    """Whether a server has been idle for longer than its own limit. No limit recorded means it is never stopped."""
    limit = (server.get("state") or {}).get("stop_after_idle")
    return limit is not None and inactive.total_seconds() >= float(limit)


class HubSocket(Resolver):
    """Every name means the hub: the culler needs no entrance that others use."""

    async def resolve(self, host: str, port: int, family: Any = None) -> list[tuple[int, str]]:
        return [(socket.AF_UNIX, os.environ[SOCKET_VARIABLE])]


def die_with_hub() -> None:
    """Have the kernel end this process with the hub, which starts another: a killed hub must not leave one behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() == 1:
        sys.exit("the hub has ended already")


def main() -> None:
    """Run the culler with our rule; the arguments are the culler's own."""
    die_with_hub()
    if SOCKET_VARIABLE in os.environ:
        Resolver.configure(HubSocket)
    config = Config()
    config.IdleCuller.cull_arbiter_hook = is_idle
    config.IdleCuller.cull_every = 60
    config.IdleCuller.config_file = ""
    IdleCuller.launch_instance(sys.argv[1:], config=config)


if __name__ == "__main__":
    main()

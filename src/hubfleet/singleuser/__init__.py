"""Runs inside a user's server: a running computation counts as activity, the launcher is told when it is up, and more.

Jupyter Server knows when a kernel last said something; a cell that computes for hours in silence, or a program in a
terminal, would look idle and be stopped. This extension says otherwise. It is installed into the users' environment
under the name `hubfleet_singleuser`.
"""

from __future__ import annotations

import os
import socket
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

LOOK_EVERY_S = 10
BIND_S = 0.002


def busy(server: Any) -> bool:
    """Whether any kernel computes or any terminal runs a program."""
    kernels = server.kernel_manager
    if any(getattr(kernels.get_kernel(key), "execution_state", "") == "busy" for key in kernels.list_kernel_ids()):
        return True
    terminals = getattr(server.web_app.settings.get("terminal_manager"), "terminals", {})
    return any(_has_children(terminal.ptyproc.pid) for terminal in terminals.values())


def _has_children(pid: int) -> bool:
    """Whether a terminal's shell has started something that still runs."""
    try:
        return bool(Path(f"/proc/{pid}/task/{pid}/children").read_text().strip())
    except OSError:
        return False  # the shell has just ended, or this kernel does not tell


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "hubfleet_singleuser"}]


def _link_jupyter_server_extension(server: Any) -> None:
    """Called before anything is loaded: JupyterLab takes the handler of its files from this setting."""
    from hubfleet_singleuser.assets import CompressedFiles

    server.tornado_settings = {"static_handler_class": CompressedFiles, **server.tornado_settings}


def _load_jupyter_server_extension(server: Any) -> None:
    from hubfleet_singleuser.deaths import tell_of_deaths
    from hubfleet_singleuser.kernels import fork_kernels
    from hubfleet_singleuser.language_servers import look_when_asked
    from hubfleet_singleuser.roompage import add_page
    from hubfleet_singleuser.tokens import keep_token
    from tornado.ioloop import PeriodicCallback

    look_when_asked()
    fork_kernels(server)
    keep_token(server)
    tell_of_deaths(server)
    add_page(server)
    _tell_when_up(server)
    _spare_the_hub(server)
    server.no_browser_open_file = True  # it leads a browser on this machine here; people come by way of the hub

    def look() -> None:
        if busy(server):
            server.web_app.settings["last_activity_times"]["hubfleet_busy"] = datetime.now(timezone.utc)

    callback = PeriodicCallback(look, LOOK_EVERY_S * 1000)
    callback.start()
    server.web_app.settings["hubfleet_activity"] = callback  # keeps it from being collected


def _spare_the_hub(server: Any) -> None:
    """Have JupyterHub's extension ask and report nothing while the server starts: a class would do so all at once.

    It need not ask the hub for its version: both are of hubfleet's lists. It need not report activity, for the hub
    notes by itself that the server is up; the next report is as ever an interval away, give or take. Called before that
    extension is loaded, whose name comes later; what it does not know any more under these names, it does after all.
    """

    async def known() -> None:
        """In place of asking."""

    for apps in server.extension_manager.extension_apps.values():
        for app in apps:
            if hasattr(app, "hub_activity_interval"):
                app._last_activity_sent = datetime.now(timezone.utc)
                app.check_hub_version = known


def _tell_when_up(server: Any) -> None:
    """Write a word to the descriptor that the launcher gave, as soon as the server accepts connections."""
    descriptor = os.environ.pop("HUBFLEET_READY", None)
    if descriptor is None:
        return

    from hubfleet_singleuser import collecting

    def tell() -> None:
        if not _listens(server):  # loading an extension may turn the loop before the server listens
            server.io_loop.call_later(BIND_S, tell)
            return
        os.write(int(descriptor), b"+")
        os.close(int(descriptor))
        collecting.as_usual()

    server.io_loop.call_later(0, tell)


def _listens(server: Any) -> bool:
    if server.sock:
        return os.path.exists(server.sock)
    try:
        socket.create_connection((server.ip, server.port), timeout=BIND_S).close()  # this loop accepts it later
    except OSError:
        return False
    return True

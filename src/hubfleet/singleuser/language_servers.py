"""Looks for language servers when a page asks for them.

The extension `jupyter_lsp` looks at the start of every server for some thirty programs, in all places where they might
be installed. That is nearly half of a server's work at its start. JupyterLab asks for them while it opens, which is
early enough.
"""

from __future__ import annotations

import asyncio
from typing import Any


def look_when_asked() -> None:
    """Call before the server's loop turns; does nothing where `jupyter_lsp` is not installed."""
    try:
        from jupyter_lsp import serverextension
    except ImportError:
        return
    look = serverextension.initialize

    async def wait_and_look(server: Any, *arguments: Any) -> None:
        manager = server.language_server_manager
        asked = asyncio.Event()
        ready = manager.ready  # what jupyter_lsp's handlers wait for first

        async def ask() -> Any:
            asked.set()
            await asyncio.shield(looking)
            return await ready()

        async def when_asked() -> None:
            await asked.wait()
            await look(server, *arguments)

        looking = asyncio.ensure_future(when_asked())
        manager.ready = ask
        await looking

    serverextension.initialize = wait_and_look

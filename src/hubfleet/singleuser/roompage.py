"""A page of a user's own server where one makes room: the trash is emptied, large files are deleted for good.

It has the user's own rights and no others, and works when nothing can be written any more.
"""

from __future__ import annotations

import asyncio
import html
import time
from typing import Any

from hubfleet_singleuser.room import PAGE, Room, amount, home_directory
from hubfleet_singleuser.tidy import delete, empty_trash, in_trash, largest
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.utils import url_path_join
from tornado import web

COUNTED_LIMIT_S = 2.0
_LOOK_EVERY_S = 0.1
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Room in your home</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 48rem; margin: 2rem auto; padding: 0 1rem; }}
button {{ font: inherit; padding: .4rem 1rem; }}
label {{ overflow-wrap: anywhere; }}
li {{ list-style: none; }} ul {{ padding: 0; }}
.note {{ background: #e7f3e8; border: 1px solid #4c8a52; border-radius: .3rem; padding: .5rem 1rem; }}
</style></head><body>
<h1>Room in your home</h1>
{note}
<p>Of your home, <strong>{room}</strong>.</p>
{trash}
<h2>Largest files</h2>
{files}
<p><a href="{lab}">Back to JupyterLab</a></p>
</body></html>
"""


class RoomPage(JupyterHandler):
    """Shows the page, and does what its buttons say."""

    @web.authenticated
    async def get(self) -> None:
        """Show it."""
        await self._show("")

    @web.authenticated
    async def post(self) -> None:
        """Empty the trash, or delete the files that were chosen; then show what there is now."""
        home = home_directory()
        before = Room.at(home).left
        try:
            if self.get_body_argument("action", "") == "trash":
                await asyncio.to_thread(empty_trash, home)
            else:
                for path in self.get_body_arguments("file", strip=False):
                    await asyncio.to_thread(delete, home, path)
        except OSError as error:
            self.log.warning("room was not made: %s", error)
            await self._show(f"Not all of it could be deleted: {error.strerror or error}.")
            return
        freed = await _freed(home, before)
        await self._show(f"Done: {amount(freed)} more are free." if freed > 0 else "Done.")

    async def _show(self, note: str) -> None:
        home = home_directory()
        (count, size), files = await asyncio.to_thread(in_trash, home), await asyncio.to_thread(largest, home)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.finish(
            _PAGE.format(
                note=f'<p class="note" role="status">{html.escape(note)}</p>' if note else "",
                room=html.escape(str(Room.at(home))),
                trash=self._form("trash", f"Empty the trash ({amount(size)})", _things(count)) if count or size else "",
                files=self._form("files", "Delete the chosen for good", self._choices(files))
                if files
                else "<p>No file is large.</p>",
                lab=html.escape(url_path_join(self.base_url, "lab")),
            )
        )

    def _form(self, action: str, button: str, inner: str) -> str:
        token = html.escape(self.xsrf_token.decode())
        return (
            f'<form method="post"><input type="hidden" name="_xsrf" value="{token}">{inner}'
            f'<button name="action" value="{action}">{html.escape(button)}</button> This cannot be undone.</form>'
        )

    def _choices(self, files: list[tuple[int, str]]) -> str:
        lines = (
            f'<li><label><input type="checkbox" name="file" value="{html.escape(path)}"> '
            f"{html.escape(path)} ({amount(size)})</label></li>"
            for size, path in files
        )
        return f"<ul>{''.join(lines)}</ul>"


async def _freed(home: str, before: int) -> int:
    """How many bytes more are free, as soon as the file system says the same twice: XFS counts a moment later what was
    deleted."""
    freed, end = 0, time.monotonic() + COUNTED_LIMIT_S
    while time.monotonic() < end:
        last, freed = freed, Room.at(home).left - before
        if 0 < freed == last:
            break
        await asyncio.sleep(_LOOK_EVERY_S)
    return freed


def _things(count: int) -> str:
    what = f"{count} thing{'' if count == 1 else 's'}"
    return f"<h2>Trash</h2><p>{what} that you deleted, kept until you empty it.</p>"


def add_page(server: Any) -> None:
    """Call when the server has its web application."""
    address = url_path_join(server.web_app.settings["base_url"], PAGE)
    server.web_app.add_handlers(".*$", [(address, RoomPage)])

"""A database that cannot be written is called that, whatever the hub was asked.

JupyterHub notes when somebody was last seen before it does anything else, and takes any failure of that for nobody's
being logged in: people were sent to log in again, and programs told that their token is wrong.
"""

from __future__ import annotations

import functools
from typing import Any

from jupyterhub.handlers.base import BaseHandler
from sqlalchemy.exc import OperationalError

UNAVAILABLE = 503
WORDS = {
    "disk is full": "The hub's disk is full, so it could not note this down. Servers that run go on running. "
    "The administrator has to free space where the hub keeps its state",
    "database is locked": "The hub's database is in use by another program, so it could not note this down. "
    "Servers that run go on running. Try again in a minute",
}
"""What programs are told, by what SQLite says; the page for people is ``error.html``."""


class Telling:
    """What is added to each of JupyterHub's handlers."""

    _unwritable: OperationalError | None = None
    # JupyterHub looks at it where somebody has to log in again, and sets it only where a token was shown: without this
    # it fails there, which comes to the same and fills the log.
    _token_authenticated = False

    async def get_current_user(self) -> Any:
        """As in JupyterHub, keeping the failure that `prepare` passes over."""
        try:
            return await super().get_current_user()  # type: ignore[misc]
        except OperationalError as error:
            self._unwritable = error
            raise

    async def prepare(self) -> None:
        """As in JupyterHub, but nobody in particular is not answered where somebody could not be noted."""
        try:
            await super().prepare()  # type: ignore[misc]
        finally:
            if self._unwritable is not None:
                raise self._unwritable

    def send_error(self, status_code: int = 500, **more: Any) -> None:
        """As in JupyterHub, in words of ours where the database is the cause."""
        error = more.get("exc_info", (None, None))[1]
        if isinstance(error, OperationalError):
            for cause in (cause for cause in WORDS if cause in str(error)):
                error.jupyterhub_message = WORDS[cause]  # type: ignore[attr-defined]
                status_code = UNAVAILABLE
        super().send_error(status_code, **more)  # type: ignore[misc]


@functools.cache
def telling(handler: Any) -> Any:
    """The same handler, which tells; one that is not JupyterHub's own kind as it is."""
    if not issubclass(handler, BaseHandler):
        return handler
    return type(handler.__name__, (Telling, handler), {"__module__": handler.__module__, "__doc__": handler.__doc__})

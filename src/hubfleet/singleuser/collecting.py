"""How often Python looks for garbage while a server starts: hardly ever, for all that is made then stays.

What is imported is objects by the hundred thousand, and with the usual setting they are all looked through again and
again, which is an eighth of a start's processor time.
"""

from __future__ import annotations

import gc

SELDOM = 200_000
"""After so many new objects: a limit even where nobody sets the usual one again."""
_usual = gc.get_threshold()


def seldom() -> None:
    """From now on."""
    gc.set_threshold(SELDOM, *_usual[1:])


def as_usual() -> None:
    """When the server is up."""
    gc.set_threshold(*_usual)

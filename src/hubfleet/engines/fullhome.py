"""What a server is to write elsewhere than in its home, when that is full. Pure.

Jupyter and IPython make directories of their own before they read any setting, and end when they cannot.
"""

from __future__ import annotations

from typing import Any

LITTLE_BYTES = 1024**2
"""A home with less room than that is called full; `singleuser.room` has the same."""
_MADE = {
    "JUPYTER_CONFIG_DIR": (".jupyter", "migrated"),
    "JUPYTER_DATA_DIR": (".local/share/jupyter", ""),
    "IPYTHONDIR": (".ipython/profile_default", ""),
}
"""By the variable that has it elsewhere, a directory and what Jupyter writes into it at a start unless it is there: an
empty file will do, which finds room where nothing else does. A directory that is there already is read, and stays."""


def when_full(home: str, private: str) -> dict[str, Any]:
    """The part of what a server's first program is told. ``private``: a directory of the user's own, in memory."""
    instead = {name: [f"{home}/{path}", f"{private}/{name.lower()}", file] for name, (path, file) in _MADE.items()}
    return {"when_full": {"at": home, "below": LITTLE_BYTES, "instead": instead}}

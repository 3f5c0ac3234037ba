"""Lets a server start whose home is full, so that room can be made there.

What it would write at its start goes to memory. What is written even before that is elsewhere already, see
`engines.fullhome`.
"""

from __future__ import annotations

import os
from typing import Any

from hubfleet_singleuser.room import home_directory, is_full


def prepare(config: Any) -> None:
    """Called with the server's configuration before anything is made of it, and before the user's own is read."""
    if is_full(home_directory()):
        config.NotebookNotary.db_file = ":memory:"
        config.LabApp.workspaces_dir = os.path.join(os.environ["JUPYTER_RUNTIME_DIR"], "workspaces")

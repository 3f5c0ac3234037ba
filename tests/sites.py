"""The facts that a desired state is made from, without a machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hubfleet
from hubfleet.engines.base import TOKENS, Site
from hubfleet.layout import Layout
from hubfleet.resources.environment import tree_digest

PACKAGE = Path(hubfleet.__file__).parent


def site(hub: str = "physics101", **given: Any) -> Site:
    """A machine of root's, with containers."""
    usual: dict[str, Any] = {
        "layout": Layout(hub, Path("/var/lib/hubfleet"), True),
        "account": "root",
        "python": "python3",
        "python_version": "3.11",
        "interpreter": Path("/usr"),
        "package": PACKAGE,
        "package_digest": tree_digest(((str(PACKAGE), "hubfleet"),)),
        "singleuser_digest": tree_digest(((str(PACKAGE / "singleuser"), "hubfleet_singleuser"),)),
        "supervision": "containers",
        "limits_problem": None,
        "tokens": {name: f"token-{name}" for name in TOKENS},
        "passwords": {},
        "requirements": "",
    }
    return Site(**{**usual, **given})

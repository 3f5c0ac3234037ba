"""Runs a script of this environment as Python itself would, but for imports that a server never uses.

``python server.py SCRIPT ARGUMENT ...``. A server checks the form of its own events with a package that can tell
internationalised web addresses (RFC 3987) from other text. When that is imported it makes a parser of a long grammar,
which takes as long as all the rest of a server's imports, and hardly any server ever sees such an address.

Of JupyterHub a server uses helpers. Some of them name what is only in a hub, the database and its tables among it,
which is a third of what a server would import. And JupyterLab asks what registry of packages it would be built from,
when it is imported, by a program of Node's: that takes half as long as the import of everything, where there is Node.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import runpy
import sys
from types import ModuleType
from typing import Any

LATER = "rfc3987_syntax"
HELPERS = ("jupyterhub.metrics", "jupyterhub.log", "jupyterhub.utils", "jupyterhub.services.auth")
"""Those that name what follows, and those of a server's that import such ones."""
OF_A_HUB: dict[str, dict[str, Any]] = {
    # A server's requests are none of these, which a hub's log leaves out. It has no database.
    "jupyterhub.handlers": {},
    "jupyterhub.handlers.pages": {"HealthCheckHandler": type("HealthCheckHandler", (), {})},
    "jupyterhub.orm": {},
    "sqlalchemy": {"func": None},
    "sqlalchemy.exc": {"SQLAlchemyError": type("SQLAlchemyError", (Exception,), {})},
}
"""The modules, and what they are asked for when the helpers are imported."""


def leave_for_later(name: str) -> None:
    """Put a module in the place of a package that becomes the package when somebody uses it."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        return
    stand_in = ModuleType(name)

    def loaded() -> ModuleType:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return importlib.import_module(name)

    def look_up(attribute: str) -> Any:
        # Such names are asked of every module, by those who only want to know what is there.
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return getattr(loaded(), attribute)

    def is_valid_syntax(*arguments: Any) -> Any:
        return loaded().is_valid_syntax(*arguments)

    stand_in.__spec__, stand_in.__file__ = spec, spec.origin
    stand_in.__path__ = list(spec.submodule_search_locations or [])
    stand_in.__dict__.update(__getattr__=look_up, is_valid_syntax=is_valid_syntax)
    sys.modules[name] = stand_in


def import_helpers() -> None:
    """Import the helpers with something else in the place of what is only in a hub, and take that away again: whoever
    else imports it has it as it is. Where a helper needs more of it, nothing was imported, and all goes its usual way.
    """
    before = set(sys.modules)
    if before & set(OF_A_HUB) or importlib.util.find_spec("jupyterhub") is None:
        return
    stand_ins = {name: _stand_in(name, known) for name, known in OF_A_HUB.items()}
    sys.modules.update(stand_ins)
    try:
        for name in HELPERS:
            importlib.import_module(name)
    except Exception:  # noqa: BLE001 - another version of theirs, which may fail in any way
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == "jupyterhub":
                del sys.modules[name]
    finally:
        for name, stand_in in stand_ins.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]


def _stand_in(name: str, known: dict[str, Any]) -> ModuleType:
    made = ModuleType(name)

    def look_up(attribute: str) -> Any:
        if attribute.startswith("__") or sys.modules.get(name) is made:
            raise AttributeError(f"{attribute} of {name}, which is only in a hub")
        return getattr(importlib.import_module(name), attribute)

    made.__dict__.update(known, __getattr__=look_up, __path__=[])
    return made


def import_lab() -> None:
    """Import JupyterLab where no Node is found. Whoever looks for one later finds it."""
    if importlib.util.find_spec("jupyterlab") is None:
        return
    path = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.devnull
    try:
        importlib.import_module("jupyterlab.labapp")
    except Exception:  # noqa: BLE001 - the server says it when it comes to that
        sys.modules.pop("jupyterlab.labapp", None)
    finally:
        os.environ["PATH"] = path


def main() -> None:
    """Become the script."""
    del sys.argv[0]
    sys.path[0] = os.path.dirname(sys.argv[0])  # in place of the directory of this file
    if importlib.util.find_spec("hubfleet_singleuser"):
        importlib.import_module("hubfleet_singleuser.collecting").seldom()
    leave_for_later(LATER)
    import_helpers()
    import_lab()
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()

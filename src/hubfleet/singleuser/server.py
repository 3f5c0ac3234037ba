"""Runs a script of this environment as Python itself would, but for one import that is left for later.

``python server.py SCRIPT ARGUMENT ...``. A server checks the form of its own events with a package that can tell
internationalised web addresses (RFC 3987) from other text. When that is imported it makes a parser of a long grammar,
which takes as long as all the rest of a server's imports, and hardly any server ever sees such an address.
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


def main() -> None:
    """Become the script."""
    del sys.argv[0]
    sys.path[0] = os.path.dirname(sys.argv[0])  # in place of the directory of this file
    leave_for_later(LATER)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()

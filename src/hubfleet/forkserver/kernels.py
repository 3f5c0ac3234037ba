"""The parent of kernels: ``python kernels.py <settings as JSON>``, started by the launcher, beside that of servers.

It imports what a plainly started Python kernel has imported before it looks into its notebook's folder, and nothing
else. What that is, a rehearsal tells: such a start as nobody, in a sandbox, and not from a fork, which would have
brought along what is needed here only. Of it, packages of the locked list are imported, as for servers.

Each request is for a starter of kernels, see ``starter.py``: one for each server. Its descriptors: the specification,
output, the end of a socket whose other end the server has, and one of the server's process.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import socket
import sys
from typing import Any

PR_SET_DUMPABLE = 4

FIRST = ("ipykernel.kernelapp",)
PARTS = ("parent", "starter", "pages", "tied")


def main() -> tuple[Any, Any]:
    """Preload, wait, and in each child become the starter that was asked for; returns in a kernel, ready to begin."""
    settings = json.loads(sys.argv[1])
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # nobody of the same user id may look into it
    control = socket.socket(fileno=settings["control"])
    parent, starter, pages, tied = map(importlib.import_module, PARTS)
    sandbox = parent.load_module("sandbox", settings["sandbox"])
    for module in (*PARTS, "child"):
        sys.modules.pop(module, None)
    sys.path_importer_cache.pop(sys.path.pop(0), None)
    gc.disable()  # see parent.py
    rehearsed = parent.rehearse(settings["rehearsal"], starter, sandbox) or []
    early = rehearsed[: rehearsed.index("")] if rehearsed else []
    needed = rehearsed[len(early) + 1 :]
    before = dict(os.environ)
    tied.remember_what_is_asked()
    failed = parent.preload(parent.trusted([*FIRST, *needed], settings["distributions"]))
    asked = {name: before.get(name) for name in tied.asked()}
    made = {name: value for name, value in os.environ.items() if before.get(name) != value}
    asked.update({name: value for name, value in before.items() if name.startswith(tied.EARLY)})
    like = starter.Like(
        asked=asked,
        made=made,
        early=early,
        foreign=sorted(set(sys.modules) - {"__main__", *needed}) if needed else [],
        tied=tied.Tied.found(),
    )
    starter.child.show_as(["hubfleet-kernels"], {starter.OWNER: "\0" * starter.ROOM}, "hubfleet-kernels")
    pages.settle()
    parent.tell_ready(control, needed, failed)
    spec, descriptors = parent.Parent(control, None, ctypes.PyDLL(None).fork).serve()
    starter.take_on(spec, descriptors, sandbox)
    return starter, starter.serve(like)


if __name__ == "__main__":
    starter, request = main()
    starter.run(*request)

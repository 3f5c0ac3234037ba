"""Starts a server plainly: its program, run by the interpreter, in the sandbox."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from hubfleet.engines.local import sandbox


def start_plainly(spec: Mapping[str, Any], output: int, ready: int, kernels: int | None) -> subprocess.Popen[bytes]:
    """Start the sandbox in a session of its own. The specification (it holds the token) goes through a pipe."""
    given = {"HUBFLEET_READY": ready} if kernels is None else {"HUBFLEET_READY": ready, "HUBFLEET_KERNELS": kernels}
    spec = {**spec, "environment": {**spec["environment"], **{name: str(value) for name, value in given.items()}}}
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", sandbox.__file__],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        start_new_session=True,
        cwd="/",
        env={},
        pass_fds=tuple(given.values()),
    )
    assert child.stdin is not None
    try:
        with child.stdin as pipe:
            pipe.write(json.dumps(spec).encode())
    except BrokenPipeError:
        pass  # it died at once; the caller finds out from its exit code and its log
    return child

"""Runs programs of the system that are done at once, and have something to say only if they fail."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from hubfleet.agent.docker import tool
from hubfleet.errors import ApplyError


def call(*command: str, environ: Mapping[str, str] | None = None, told: str = "", remedy: str | None = None) -> str:
    """What it prints. ``told``: what it is called in an error, where its words are too many; ``remedy``: there too.

    Raises ApplyError with its own words.
    """
    program, what = tool(command[0]), told or " ".join(command)
    if program is None:
        raise ApplyError(f"{command[0]} is not installed")
    done = subprocess.run(
        [program, *command[1:]], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environ
    )
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip() or f"it ended with {done.returncode}"
        raise ApplyError(f"{what}: {said}", remedy=remedy)
    return done.stdout

"""What a test needs from the machine, as marks whose skip reasons are sentences.

Use: ``@needs.root()``, or ``pytestmark = [needs.root(), needs.command("chromium")]`` for a whole file.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys

import pytest


def root() -> pytest.MarkDecorator:
    """The test makes accounts, mounts or namespaces."""
    return pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def linux() -> pytest.MarkDecorator:
    """The test uses /proc, cgroups or namespaces."""
    return pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


def command(name: str, *, package: str | None = None) -> pytest.MarkDecorator:
    """``name`` is on PATH; ``package`` is what to install when that is called otherwise."""
    reason = f"needs the command {name} (apt install {package or name})"
    return pytest.mark.skipif(shutil.which(name) is None, reason=reason)


def package(name: str) -> pytest.MarkDecorator:
    """The Python package ``name`` can be imported in the environment that runs the tests."""
    missing = importlib.util.find_spec(name) is None
    return pytest.mark.skipif(missing, reason=f"needs the Python package {name} (make dev)")


def machines(limit_s: int = 1800) -> list[pytest.MarkDecorator]:
    """Machines of the lab. ``limit_s``: for one test; images are made of downloaded packages, unless some test has."""
    commands = {"dockerd": "docker.io", "mmdebstrap": "mmdebstrap", "ssh": "openssh-client"}
    needed = [command(name, package=wanted) for name, wanted in commands.items()]
    return [root(), *needed, pytest.mark.timeout(limit_s)]


def guests(limit_s: int = 900) -> list[pytest.MarkDecorator]:
    """Emulated machines. ``limit_s``: for one test; images are made of downloaded packages, unless some test has."""
    commands = {
        "mmdebstrap": "mmdebstrap",
        "mke2fs": "e2fsprogs",
        "qemu-system-x86_64": "qemu-system-x86",
        "qemu-img": "qemu-utils",
        "ssh": "openssh-client",
    }
    needed = [command(name, package=wanted) for name, wanted in commands.items()]
    return [root(), linux(), *needed, pytest.mark.timeout(limit_s)]

"""Images for the tests, made once an engine: of users' servers, and of the hub's own parts, less proxy and node.

Like some that sites have, that of users' servers has a directory where everybody may write.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import dockerd

import hubfleet.singleuser
from hubfleet.engines.docker.images import ENVIRONMENT
from hubfleet.environments import lock_text
from hubfleet.resources.environment import tree_digest

PYTHON = "/opt/hubfleet/environments/users-test"
"""The users' environment inside the image."""

_SINGLEUSER = Path(hubfleet.singleuser.__file__).parent
_ENVIRONMENT = f"""FROM {dockerd.BASE}
COPY user.txt /tmp/user.txt
RUN python3 -m venv --system-site-packages {PYTHON} && {{settings}} {PYTHON}/bin/python -m pip install \\
    --quiet --no-cache-dir --disable-pip-version-check --require-hashes -r /tmp/user.txt && rm /tmp/user.txt
"""
_OURS = f"""FROM {{environment}}
COPY hubfleet_singleuser /tmp/hubfleet_singleuser
RUN mv /tmp/hubfleet_singleuser {PYTHON}/lib/python3*/site-packages/ && \\
    {PYTHON}/bin/python -m compileall -q {PYTHON}/lib/python3*/site-packages/hubfleet_singleuser && \\
    mkdir -m 1777 /srv/careless
"""

_PARTS = f"""FROM {dockerd.BASE}
COPY hub.txt /tmp/hub.txt
RUN python3 -m venv {ENVIRONMENT} && {{settings}} {ENVIRONMENT}/bin/python -m pip install \\
    --quiet --no-cache-dir --disable-pip-version-check --require-hashes -r /tmp/hub.txt && rm /tmp/hub.txt
"""
_OUR_PARTS = f"""FROM {{environment}}
COPY hubfleet /tmp/hubfleet
RUN mv /tmp/hubfleet {ENVIRONMENT}/lib/python3*/site-packages/
"""


def user_image(engine: dockerd.Dockerd) -> str:
    """The tag of the image; it stays in the engine's data for the next run."""
    environment = f"hubfleet-test/environment:{_digest(_ENVIRONMENT, lock_text('user.txt'))}"
    sources = sorted(path for path in _SINGLEUSER.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    texts = [f"{path.relative_to(_SINGLEUSER)} {path.read_text()}" for path in sources]
    tag = f"hubfleet-test/user:{_digest(environment, _OURS, *texts)}"
    _make(engine, (environment, _ENVIRONMENT, "user.txt"), (tag, _OURS), _SINGLEUSER, "hubfleet_singleuser")
    return tag


def parts_image(engine: dockerd.Dockerd) -> str:
    """The tag of an image with this very package; what it needs stays in the engine's data for the next run."""
    environment = f"hubfleet-test/parts-environment:{_digest(_PARTS, lock_text('hub.txt'))}"
    package = Path(hubfleet.__file__).parent
    tag = f"hubfleet-test/parts:{_digest(environment, _OUR_PARTS, tree_digest(((str(package), 'hubfleet'),)))}"
    _make(engine, (environment, _PARTS, "hub.txt"), (tag, _OUR_PARTS), package, "hubfleet")
    return tag


def _make(
    engine: dockerd.Dockerd, environment: tuple[str, str, str], ours: tuple[str, str], package: Path, name: str
) -> None:
    """What is not there yet: of an environment (tag, text, lock file) and, on it, ours (tag, text) with the package."""
    (base, base_text, lock_file), (tag, text) = environment, ours
    with (engine.place / "images").open("w") as lock, tempfile.TemporaryDirectory() as folder:
        fcntl.flock(lock, fcntl.LOCK_EX)
        context = Path(folder)
        if not engine.docker("images", "--quiet", base):
            (context / lock_file).write_text(lock_text(lock_file))
            _build(engine, context, base_text.format(settings=registry()), base)
        if not engine.docker("images", "--quiet", tag):
            shutil.copytree(package, context / name, ignore=shutil.ignore_patterns("__pycache__"))
            _build(engine, context, text.format(environment=base), tag)


def _build(engine: dockerd.Dockerd, context: Path, text: str, tag: str) -> None:
    (context / "Dockerfile").write_text(text)
    engine.docker("build", "--quiet", "--network", "host", "--tag", tag, context)


def registry() -> str:
    """How this machine reaches the package registry, less what names places that an image has not."""
    names = ("PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "http_proxy", "https_proxy", "no_proxy")
    return " ".join(f"{name}='{os.environ[name]}'" for name in names if os.environ.get(name))


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]

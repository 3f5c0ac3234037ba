"""The image of users' servers for the tests, made once an engine: the base image with the single-user stack.

Like some that sites have, it has a directory where everybody may write.
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
from hubfleet.environments import lock_text

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


def user_image(engine: dockerd.Dockerd) -> str:
    """The tag of the image; it stays in the engine's data for the next run."""
    environment = f"hubfleet-test/environment:{_digest(_ENVIRONMENT, lock_text('user.txt'))}"
    sources = sorted(path for path in _SINGLEUSER.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    texts = [f"{path.relative_to(_SINGLEUSER)} {path.read_text()}" for path in sources]
    tag = f"hubfleet-test/user:{_digest(environment, _OURS, *texts)}"
    with (engine.place / "images").open("w") as lock, tempfile.TemporaryDirectory() as folder:
        fcntl.flock(lock, fcntl.LOCK_EX)
        context = Path(folder)
        if not engine.docker("images", "--quiet", environment):
            (context / "user.txt").write_text(lock_text("user.txt"))
            _build(engine, context, _ENVIRONMENT.format(settings=_registry()), environment)
        if not engine.docker("images", "--quiet", tag):
            shutil.copytree(_SINGLEUSER, context / "hubfleet_singleuser", ignore=shutil.ignore_patterns("__pycache__"))
            _build(engine, context, _OURS.format(environment=environment), tag)
    return tag


def _build(engine: dockerd.Dockerd, context: Path, text: str, tag: str) -> None:
    (context / "Dockerfile").write_text(text)
    engine.docker("build", "--quiet", "--network", "host", "--tag", tag, context)


def _registry() -> str:
    """How this machine reaches the package registry, less what names places that an image has not."""
    names = ("PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "http_proxy", "https_proxy", "no_proxy")
    return " ".join(f"{name}='{os.environ[name]}'" for name in names if os.environ.get(name))


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]

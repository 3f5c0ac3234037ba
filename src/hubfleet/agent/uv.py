"""Where uv is, and this site's pip settings in uv's words (sites with a mirror have them for pip already)."""

from __future__ import annotations

import configparser
import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from hubfleet.errors import ApplyError

SAME_MEANING = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}


def find_uv() -> str:
    """The uv that is installed with hubfleet, or else the one on PATH. Raises ApplyError."""
    path = f"{sysconfig.get_path('scripts')}:{os.environ.get('PATH', os.defpath)}"
    found = shutil.which("uv", path=path)
    if found is None:
        raise ApplyError("uv is not installed", remedy=f"{sys.executable} -m pip install uv")
    return found


def uv_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` with pip's settings added for uv; what is set for uv already wins."""
    settings = _pip_settings(environ)
    added = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
    for option, variable in SAME_MEANING.items():
        if option in settings:
            separator = "," if variable == "UV_FIND_LINKS" else " "
            added[variable] = separator.join(
                str(Path(word).expanduser()) if word.startswith("~") else word for word in settings[option].split()
            )
    if "UV_INDEX" in added:
        added["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # pip's own rule: all indexes count the same
    return {**added, **environ}


def install_options(environ: Mapping[str, str]) -> list[str]:
    """Options for `uv pip install` that have no variable."""
    no_index = _pip_settings(environ).get("no-index", "").lower() in ("1", "yes", "true", "on")
    return ["--no-index"] if no_index else []


def _pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """pip's settings, weakest first: the system's, the user's, this environment's, PIP_CONFIG_FILE, PIP_*."""
    home = environ.get("HOME", "/root")
    paths = [
        *(f"{folder}/pip/pip.conf" for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")),
        "/etc/pip.conf",
        f"{home}/.pip/pip.conf",
        f"{environ.get('XDG_CONFIG_HOME', f'{home}/.config')}/pip/pip.conf",
        f"{sys.prefix}/pip.conf",
    ]
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        paths = []
    elif named:
        paths.append(named)
    parser = configparser.RawConfigParser()
    parser.read(paths)
    settings: dict[str, str] = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            settings.update({key.replace("_", "-"): value for key, value in parser.items(section)})
    for variable, value in environ.items():
        if variable.startswith("PIP_"):
            settings[variable[4:].lower().replace("_", "-")] = value
    return settings

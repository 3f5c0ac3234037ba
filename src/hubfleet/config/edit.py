"""Changes that commands make in a configuration file: machines that come and go, a client's id. All else stays."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from hubfleet.config.document import Place
from hubfleet.errors import ConfigError


def add_machine(file: Path, name: str, settings: dict[str, Any], like: str = "") -> str:
    """The file's text with one more machine. Raises ConfigError if there is one of that name.

    ``like``: the machine whose configuration of ssh and key it has, unless the settings give one.
    """
    yaml, data, machines = _read(file)
    if name in machines:
        raise ConfigError(f"{file.name} has a machine {name} already", remedy="another name, or hubfleet up")
    same = {key: (machines.get(like) or {}).get(key) for key in ("ssh_config", "ssh_key") if not settings.get(key)}
    settings = {**settings, **same}
    machines[name] = {key: value for key, value in settings.items() if value}
    data["machines"] = machines
    return _text(yaml, data)


def remove_machine(file: Path, name: str) -> str:
    """The file's text without a machine. Raises ConfigError if there is none of that name."""
    yaml, data, machines = _read(file)
    if name not in machines:
        raise ConfigError(f"{file.name} has no machine {name}", remedy=" or ".join(machines) or "add machines to it")
    del machines[name]
    return _text(yaml, data)


def set_value(file: Path, place: Place, value: str) -> str:
    """The file's text with one setting more, or another value of it. ``place``: as in "login", "tapis", "client_id"."""
    yaml = _yaml()
    data = yaml.load(file.read_text(encoding="utf-8"))
    part = data
    for key in place[:-1]:
        if part.get(key) is None:
            part[key] = CommentedMap()
        part = part[key]
    part[place[-1]] = value
    return _text(yaml, data)


def write(file: Path, text: str) -> None:
    """Put a text in the file's place, in one step and with its mode."""
    new = file.with_name(f".{file.name}.new")
    new.write_text(text, encoding="utf-8")
    new.chmod(file.stat().st_mode & 0o7777)
    os.replace(new, file.resolve())


def _read(file: Path) -> tuple[YAML, Any, Any]:
    yaml = _yaml()
    data = yaml.load(file.read_text(encoding="utf-8"))
    if "hubs" in data:
        raise ConfigError(
            f"{file.name} has several hubs, and which of them share a machine is written there",
            state="The file was left as it is",
            remedy="write the machine into the file or take it out, then hubfleet up",
        )
    return yaml, data, data.get("machines") or {}


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    return yaml


def _text(yaml: YAML, data: Any) -> str:
    written = io.StringIO()
    yaml.dump(data, written)
    return written.getvalue()

"""A hub, or all hubs, of Deployer's files as the texts of a hubfleet.yaml and its secrets."""

from __future__ import annotations

import copy
import io
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from hubfleet.config.checks import named_files
from hubfleet.config.document import Place, dig
from hubfleet.deployer.hosts import FILES
from hubfleet.deployer.load import Loaded
from hubfleet.units import Secret

_SECRETS = "# Secrets of hubfleet. Only the owner may read this file; keep it out of version control.\n"


def texts(loaded: Sequence[Loaded], folder: Path) -> tuple[str, str]:
    """The two texts, for files in ``folder``; the second one is "" without secrets.

    Of several hubs, what they all have stands under `defaults`.
    """
    parts = {one.config.hub: _moved(one, folder) for one in loaded}
    secrets = {one.config.hub: {key: secret.reveal() for key, secret in one.given.items()} for one in loaded}
    heads = [_head(one, several=len(loaded) > 1) for one in loaded]
    if len(loaded) == 1:
        (hub,) = parts
        return heads[0] + _yaml(parts[hub]), _SECRETS + _yaml(secrets[hub]) if secrets[hub] else ""
    for part in parts.values():
        del part["hub"]
    common = shared(list(parts.values()))
    data = {"defaults": common} if common else {}
    data["hubs"] = {hub: without(part, common) for hub, part in parts.items()}
    given = {hub: found for hub, found in secrets.items() if found}
    return "".join(heads) + _yaml(data), _SECRETS + _yaml({"hubs": given}) if given else ""


def quiet(one: Loaded) -> Loaded:
    """The same with asterisks for every value of a file that is not shown."""

    def masked(value: Any, place: Place) -> Any:
        if isinstance(value, dict):
            return {key: masked(inner, (*place, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [masked(inner, (*place, str(index))) for index, inner in enumerate(value)]
        origin = one.provenance.origin(place)
        return Secret.MASK if origin and origin.secret else value

    return replace(one, data=masked(one.data, ()))


def shared(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What all maps have alike."""
    first, *rest = parts
    found: dict[str, Any] = {}
    for key, value in first.items():
        others = [part.get(key) for part in rest]
        if all(isinstance(other, dict) for other in [value, *others]):
            if inner := shared([value, *(other for other in others if isinstance(other, dict))]):
                found[key] = inner
        elif all(type(other) is type(value) and other == value for other in others):
            found[key] = copy.deepcopy(value)
    return found


def without(part: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    """What is left of a map of which ``common`` is written elsewhere."""
    found: dict[str, Any] = {}
    for key, value in part.items():
        if key not in common:
            found[key] = value
        elif isinstance(value, dict) and (inner := without(value, common[key])):
            found[key] = inner
    return found


def _moved(one: Loaded, folder: Path) -> dict[str, Any]:
    """The data, with paths as a file in ``folder`` names them."""
    data, base = copy.deepcopy(one.data), one.file.resolve().parent
    of_ssh = [("machines", name, key) for name in data["machines"] for key in FILES]
    for *above, key in {*of_ssh, *(place for place, _ in named_files(data))}:
        part = dig(data, tuple(above))
        if isinstance(part, dict) and isinstance(path := part.get(key), str) and not os.path.isabs(path):
            part[key] = os.path.relpath(base / path, folder.resolve())
    return data


def _head(one: Loaded, several: bool) -> str:
    lines = [f"# {one.config.hub}, as {one.file.name} and the files beside it describe it."]
    lines += [f"# {note}" for note in one.notes]
    return "\n".join(lines if not several or one.notes else lines[:1]) + "\n"


def _yaml(data: Any) -> str:
    yaml = YAML()
    yaml.width = 4096
    yaml.allow_unicode = False  # what is no letter to every reader of YAML is written by its number
    yaml.indent(mapping=2, sequence=4, offset=2)
    written = io.StringIO()
    yaml.dump(_readable(data), written)
    return written.getvalue()


def _readable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _readable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_readable(inner) for inner in value]
    return LiteralScalarString(value) if isinstance(value, str) and _block(value) else value


def _block(text: str) -> bool:
    """Whether this is the text of a file that is the same again as a block of lines."""
    *lines, rest = text.split("\n")
    return not rest and bool(lines) and all(line and line.isascii() and line.isprintable() for line in lines)

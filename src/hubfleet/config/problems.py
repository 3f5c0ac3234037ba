"""What pydantic found, as sentences with file, line, path and remedy. Values of secrets are not repeated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from hubfleet.config.document import Place, leaves
from hubfleet.config.fields import did_you_mean
from hubfleet.config.inherit import Provenance
from hubfleet.config.models import Config
from hubfleet.config.section import Section
from hubfleet.errors import ConfigError

_SECRET_KEY = re.compile(r".*(password|passwd|secret|token).*|(google|https|private)_key", re.IGNORECASE)
UNSHOWN = "not in the form that is expected here (the value is not shown)"
_LATER = {"slurm", "courses", "backup", "share"}
_SAME_FOR_ALL = {"packages", "requirements", "profiles", "named_servers", "homes"}

_SENTENCES = {
    "tuple_type": ("must be a list", "[one, two]"),
    "list_type": ("must be a list", "[one, two]"),
    "dict_type": ("must be a map", "{name: value}"),
    "model_type": ("must be a map", "{key: value}"),
    "model_attributes_type": ("must be a map", "{key: value}"),
    "string_type": ("must be text", 'put it in quotes: "..."'),
    "int_type": ("must be a whole number", "write a number such as 20"),
    "bool_type": ("must be true or false", "true"),
}


def problem(
    provenance: Provenance, place: Place, what: str, remedy: str | None, *, line_of: Place | None = None
) -> ConfigError:
    """One mistake at one place: "hubfleet.yaml:12: servers.memory.limit: what. Try: remedy"."""
    # The index of a list item is left out: the line and the value in the sentence say which one.
    path = ".".join(place[:-1] if place and place[-1].isdigit() else place)
    where, origin = provenance.where(line_of or place), provenance.nearest(line_of or place)
    if origin and origin.name:
        path = origin.name
    if origin and origin.secret:
        what, remedy = UNSHOWN, None
    return ConfigError(f"{path}: {what}" if path else what, where=where, remedy=remedy)


def translate(
    error: ValidationError, provenance: Provenance, model: type[Section] = Config
) -> Iterator[tuple[Place, ConfigError]]:
    """The place and the error of each mistake that pydantic found. model: what the whole file is to be."""
    for details in error.errors(include_url=False):
        place = tuple(str(part) for part in details["loc"] if part != "[key]")
        if details["type"] == "extra_forbidden":
            yield from ((place, found) for found in _unknown(model, provenance, place, details["input"]))
        elif details["type"] == "missing":
            example = (_section(model, place).model_fields[place[-1]].examples or ["..."])[0]
            yield place, problem(provenance, place, "is required", f"{place[-1]}: {example}")
        else:
            yield place, problem(provenance, place, *_sentence(details))


def inner_model(field: FieldInfo) -> tuple[type[Section] | None, bool]:
    """The model that a field holds, if any, and whether the field maps names to it."""
    return _model_in(field.annotation), get_origin(field.annotation) is dict


def _unknown(model: type[Section], provenance: Provenance, place: Place, value: Any) -> Iterator[ConfigError]:
    key, section = place[-1], _section(model, place)
    secrets = [inner for inner, text in leaves(value, (key,)) if _looks_secret(inner[-1], text)]
    for inner in secrets:
        what = "a secret has no place in this file"
        yield problem(provenance, (*place[:-1], *inner), what, "move to hubfleet.secrets.yaml")
    if (key,) in secrets:
        return
    known = list(section.model_fields)
    if key in _SAME_FOR_ALL and (place[0] in ("groups", "users") or place[:2] == ("servers", "profiles")):
        where = "storage" if key == "homes" else "servers"
        yield problem(
            provenance, place, "cannot differ per group, user or profile", f"set {where}.{key}, for everybody"
        )
    elif place == ("storage", "quota"):
        yield problem(provenance, place, "is for groups and users", "homes: {quota: 10G}, for everybody")
    elif meant := did_you_mean(key, known):
        yield problem(provenance, place[:-1], f"`{key}`{meant}", None, line_of=place)
    elif key in _LATER:
        yield problem(provenance, place, "is not part of this release", "remove it")
    else:
        yield problem(provenance, place, "unknown setting", f"one of {', '.join(known)}")


def _looks_secret(key: str, value: Any) -> bool:
    # `password: file` is no secret, wherever it was put.
    return bool(_SECRET_KEY.fullmatch(key)) and value != "file"


def _sentence(details: ErrorDetails) -> tuple[str, str | None]:
    context = details.get("ctx", {})
    cause = context.get("error")
    if cause is not None and hasattr(cause, "what"):
        return cause.what, cause.remedy
    if details["type"] == "literal_error":
        expected = str(context["expected"]).replace("'", "`")
        return f"must be {expected}", str(context["expected"]).replace("'", "")
    if details["type"] in ("greater_than_equal", "less_than_equal"):
        word = "least" if "ge" in context else "most"
        return f"must be at {word} {context.get('ge', context.get('le'))}", None
    return _SENTENCES.get(details["type"], (details["msg"], None))


def _section(model: type[Section], place: Place) -> type[Section]:
    """The model whose key the last part of the place is, in a file that is to be ``model``."""
    parts = iter(place[:-1])
    for part in parts:
        inner, named = inner_model(model.model_fields[part])
        if named:
            next(parts, None)
        model = inner or model
    return model


def _model_in(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((model for inner in get_args(annotation) if (model := _model_in(inner))), None)

"""The reference page and the JSON Schema, made of the models.

`python -m hubfleet.config.schema DIRECTORY` writes them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from hubfleet.config.models import Config
from hubfleet.config.problems import inner_model
from hubfleet.config.section import Section
from hubfleet.units import Bytes, Cores, Duration

PAGE, SCHEMA = "configuration.md", "hubfleet.schema.json"

_INTRODUCTION = """\
# Configuration: hubfleet.yaml

This page is made from the models by `python -m hubfleet.config.schema docs/reference`; change it there.

- Sizes: `512M`, `1G` (powers of 1024). Lengths of time: `90m`, `2h`, `1d`. Unknown keys are refused.
- What a user gets: `servers`, then the user's `groups` in file order, then `users`, then the chosen profile;
  the last one that sets a value wins. Maps merge, lists replace. `hubfleet explain USER` shows each value
  with the line it comes from.
- Secrets are in `hubfleet.secrets.yaml` beside this file (mode 0600): `class_password`,
  `admin_password: {<name>: ...}`, `owner_password`, `projects_token`, `client_secret`, `oauth_password`,
  `ldap_password`, `google_key`, `https_certificate`, `https_key`. `HUBFLEET_SECRET_CLASS_PASSWORD` in the
  environment wins; `!command pass show hub/class` runs a command.
- Several hubs in one file: `defaults: {...}` and `hubs: {prod: {...}, prod.physics: {...}}`. `prod.physics`
  inherits `prod`, which inherits `defaults`; the most local value wins, and `null` takes an inherited value
  away. Choose with `-H NAME`.
"""


class _Generator(GenerateJsonSchema):
    """Quantities as they are written in the file, and no titles that only repeat the keys."""

    def encode_default(self, dft: Any) -> Any:
        return str(dft) if isinstance(dft, (Bytes, Cores, Duration)) else super().encode_default(dft)

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema_of(model: type[Section]) -> dict[str, Any]:
    """The JSON Schema of a model of settings."""
    return model.model_json_schema(schema_generator=_Generator)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of hubfleet.yaml, for editors: one hub, or `defaults` and `hubs`."""
    hub = schema_of(Config)
    definitions = hub.pop("$defs")
    settings = {key: value for key, value in hub["properties"].items() if key != "hub"}
    part = {"type": ["object", "null"], "additionalProperties": False, "properties": settings}
    reference = {"$ref": "#/$defs/Part"}
    several = {
        "type": "object",
        "additionalProperties": False,
        "required": ["hubs"],
        "properties": {"defaults": reference, "hubs": {"type": "object", "additionalProperties": reference}},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "hubfleet.yaml",
        "anyOf": [hub, several],
        "$defs": {**definitions, "Part": part},
    }


def reference_markdown() -> str:
    """The reference page: every setting with its form, default, meaning and an example."""
    return page_of(Config, _INTRODUCTION)


def page_of(model: type[Section], introduction: str) -> str:
    """The reference page of a model of settings."""
    return "\n".join([introduction, *_settings(model, "", {})]).rstrip() + "\n"


def _settings(model: type[Section], prefix: str, known: dict[type[Section], str]) -> Iterator[str]:
    schema = schema_of(model)
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        inner, named = inner_model(field)
        form = "map" if inner else _form(schema["properties"][name])
        default = "required" if field.is_required() else f"default {_code(schema['properties'][name].get('default'))}"
        yield f"{'##' if not prefix else '###'} `{path}`\n"
        if isinstance(field.default, Section):
            default = "keys below"
        yield f"{field.description} ({form}; {default})\n"
        for example in field.examples or []:
            yield f"    {name}: {_yaml(example)}"
        yield ""
        if inner is None:
            continue
        if inner in known:
            yield f"The same keys as `{known[inner]}`.\n"
            continue
        below = f"{path}.<name>" if named else path
        known[inner] = below
        yield from _settings(inner, f"{below}.", known)


def _form(schema: dict[str, Any]) -> str:
    choices = [choice for choice in schema.get("anyOf", [schema]) if choice.get("type") != "null"]
    return " or ".join(dict.fromkeys(_one_form(choice) for choice in choices))


def _one_form(schema: dict[str, Any]) -> str:
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_form(schema['items'])}"
    if schema.get("type") == "object":
        return "map"
    words = {"string": "text", "integer": "whole number", "boolean": "true or false"}
    bounds = f" from {schema['minimum']} to {schema['maximum']}" if "minimum" in schema else ""
    return str(schema.get("format") or words.get(str(schema.get("type")), "value")) + bounds


def _code(value: Any) -> str:
    return "none" if value is None else f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    """A value as one line of YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_yaml(inner) for inner in value) + "]"
    if isinstance(value, str):
        plain = value and not set(value) & set(" :{}[],&*#?|<>=!%@\"'") and not value.replace(".", "").isdigit()
        return value if plain else json.dumps(value)
    return json.dumps(value)


def main(directory: Path) -> None:
    """Write both files."""
    directory.joinpath(PAGE).write_text(reference_markdown(), encoding="utf-8")
    directory.joinpath(SCHEMA).write_text(json.dumps(json_schema(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

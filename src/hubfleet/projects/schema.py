"""The reference pages and JSON Schemas of projects that are no hub, made of their models.

`python -m hubfleet.projects.schema DIRECTORY` writes those of `services`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hubfleet.config.schema import json_schema, page_of, schema_of
from hubfleet.projects.registry import DEFAULT, project

PAGE, SCHEMA = "services.md", "services.schema.json"

_INTRODUCTION = """\
# Project services: hubfleet.yaml

This page is made from the models by `python -m hubfleet.projects.schema docs/reference`; change it there. How to use
them: [services](../how-to/services.md).

- Sizes: `512M`, `1G` (powers of 1024). Unknown keys are refused.
- Secrets are in `hubfleet.secrets.yaml` beside this file (mode 0600), by the names under `secrets`;
  `HUBFLEET_SECRET_DB_PASSWORD` in the environment wins, and `!command pass show shop/db` runs a command.
"""


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a project's configuration, for editors. Raises ConfigError for a project that is not there."""
    if name == DEFAULT:
        return json_schema()
    made = schema_of(project(name).model)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "hubfleet.yaml", **made}


def main(directory: Path) -> None:
    """Write both files."""
    directory.joinpath(PAGE).write_text(page_of(project("services").model, _INTRODUCTION), encoding="utf-8")
    directory.joinpath(SCHEMA).write_text(json.dumps(schema("services"), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""`hubfleet schema`: the configuration's JSON Schema, for editors."""

from __future__ import annotations

from typing import Annotated

import typer

from hubfleet.cli.console import say_json
from hubfleet.projects.registry import DEFAULT
from hubfleet.projects.schema import schema as schema_of


def schema(
    project: Annotated[str, typer.Option("--project", metavar="NAME", help="That of another project.")] = DEFAULT,
) -> None:
    """Print the JSON Schema of hubfleet.yaml, for editors.

    Example: hubfleet schema > hubfleet.schema.json
    """
    say_json(schema_of(project))

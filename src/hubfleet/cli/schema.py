"""`hubfleet schema`: the configuration's JSON Schema, for editors."""

from __future__ import annotations

from hubfleet.cli.console import say_json
from hubfleet.config.schema import json_schema


def schema() -> None:
    """Print the JSON Schema of hubfleet.yaml, for editors.

    Example: hubfleet schema > hubfleet.schema.json
    """
    say_json(json_schema())

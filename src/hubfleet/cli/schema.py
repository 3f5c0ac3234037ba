"""`hubfleet schema`: the configuration's JSON Schema, for editors."""

from __future__ import annotations

import json

from hubfleet.cli.console import say
from hubfleet.config.schema import json_schema


def schema() -> None:
    """Print the JSON Schema of hubfleet.yaml, for editors.

    Example: hubfleet schema > hubfleet.schema.json
    """
    say(json.dumps(json_schema(), indent=1))

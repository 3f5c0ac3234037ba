"""`hubfleet init`: write a first configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hubfleet.cli.console import as_typed, say
from hubfleet.config import starter_text, valid_hub
from hubfleet.config.default import DEFAULT_NAME
from hubfleet.errors import ConfigError
from hubfleet.sshcommand import CONFIGURATIONS


def init(
    context: typer.Context,
    hub: Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the hub.")] = DEFAULT_NAME,
) -> None:
    """Write a commented hubfleet.yaml to start from.

    Example: hubfleet init --name physics101
    """
    path = context.obj.config or Path(CONFIGURATIONS[0])
    for present in [path] if context.obj.config else [Path(name) for name in CONFIGURATIONS]:
        if present.exists():
            raise ConfigError(f"{present} is already there", state="It was left as it is", remedy="hubfleet check")
    path.write_text(starter_text(valid_hub(hub)))
    say(as_typed(f"Wrote {path}. Next: edit it if you like, then `hubfleet plan` and `hubfleet up`."))

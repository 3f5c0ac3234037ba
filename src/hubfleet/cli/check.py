"""`hubfleet check`: find what would fail, before anything changes."""

from __future__ import annotations

from typing import Annotated

import typer

from hubfleet.checks import failures
from hubfleet.cli import moved, projectcommands
from hubfleet.cli.begin import open_deployment
from hubfleet.cli.console import as_typed, say, say_json
from hubfleet.cli.projectdeployment import opened
from hubfleet.errors import CheckError

MARKS = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}


def check(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    port: Annotated[
        int | None, typer.Option("--port", metavar="PORT", min=1, max=65535, help="As for `up --port`.")
    ] = None,
) -> None:
    """Check the configuration and the hub's machine, and change nothing.

    Example: hubfleet check
    """
    if (other := opened(context.obj)) is not None:
        name, findings = {"name": other.name}, projectcommands.check(other)
    else:
        deployment = open_deployment(context.obj, port=port)
        name, findings = {"hub": deployment.config.hub}, moved.check(deployment)
    if as_json:
        say_json({**name, "findings": [vars(finding) for finding in findings]})
    else:
        for finding in findings:
            say(f"{MARKS[finding.level]}  {as_typed(finding.text)}", "red" if finding.level == "problem" else "")
    bad = failures(findings)
    if bad:
        raise CheckError(f"{len(bad)} of {len(findings)} checks found a problem", state="Nothing was changed")

"""`hubfleet loadtest`: play a class against a hub, and say how many people it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hubfleet.names import MOST_TEST_PEOPLE
from hubfleet.units import UnitError, parse_duration

TOKEN_VARIABLE = "HUBFLEET_LOADTEST_TOKEN"


def _seconds(text: str) -> float:
    try:
        return 0.0 if text in ("0", "0s") else float(parse_duration(text))
    except UnitError as error:
        raise typer.BadParameter(str(error)) from error


def loadtest(
    context: typer.Context,
    people: Annotated[
        int, typer.Option("--people", metavar="N", min=1, max=MOST_TEST_PEOPLE, help="How many come.")
    ] = 20,
    over: Annotated[str, typer.Option("--over", metavar="TIME", help="In what time they arrive, evenly.")] = "0s",
    idle: Annotated[str, typer.Option("--idle", metavar="TIME", help="How long they stay afterwards.")] = "5s",
    notebook: Annotated[
        Path | None, typer.Option("--notebook", metavar="FILE", help="What each runs, instead of one short cell.")
    ] = None,
    profile: Annotated[str | None, typer.Option("--profile", metavar="KEY", help="Which profile they choose.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="PATH", help="Write PATH.html and PATH.json.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON too, and no progress.")] = False,
    step_limit: Annotated[
        str, typer.Option("--step-limit", metavar="TIME", help="After this a step has failed.")
    ] = "5m",
    limit: Annotated[str, typer.Option("--limit", metavar="TIME", help="After this all is broken off.")] = "30m",
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Any JupyterHub, instead of the file's hub.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", metavar="FILE", help=f"With --url: an admin's token [or set {TOKEN_VARIABLE}]."),
    ] = None,
    hub_pid: Annotated[
        int | None, typer.Option("--hub-pid", metavar="PID", help="With --url: its process, to be measured.")
    ] = None,
    mine: Annotated[
        bool, typer.Option("--it-is-mine", help="With --url: test a hub on another machine; it is yours.")
    ] = False,
    disturb_people: Annotated[
        bool, typer.Option("--disturb-people", help="Go on although people are on the hub.")
    ] = False,
    clean_up: Annotated[
        bool, typer.Option("--clean-up", help="Only remove what a killed load test left on the file's hub.")
    ] = False,
) -> None:
    """Play a class: log in, start, open JupyterLab, run a notebook, save, stop. Then say how many people the hub holds.

    Example: hubfleet loadtest --people 30
    """
    # Not before: it brings along half a second of imports, and this file is part of every command.
    from hubfleet.cli.loadtest_play import Wanted, carry_out

    wanted = Wanted(
        people,
        arrive_s=_seconds(over),
        idle_s=_seconds(idle),
        notebook=notebook,
        step_limit_s=_seconds(step_limit),
        limit_s=_seconds(limit),
        profile=profile,
        output=output,
        as_json=as_json,
        url=url,
        token_file=token_file,
        hub_pid=hub_pid,
        mine=mine,
        disturb_people=disturb_people,
        clean_up=clean_up,
    )
    carry_out(context.obj, wanted)

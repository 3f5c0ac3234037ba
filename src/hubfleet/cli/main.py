"""The program `hubfleet`: its commands, and the one place where errors become text and exit codes."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

import hubfleet
from hubfleet.cli import (
    check,
    deployer,
    do,
    down,
    explain,
    homes,
    importing,
    init,
    loadtest,
    logs,
    machine,
    oauth,
    plan,
    rollback,
    schema,
    status,
    up,
    users,
)
from hubfleet.cli.console import as_typed, err, remember, say
from hubfleet.cli.reading import Options
from hubfleet.errors import INTERNAL_EXIT_CODE, ApplyError, BrokenOff, CancelledError_, HubfleetError

EXIT_CODES = {
    0: "done",
    2: "wrong configuration or arguments",
    3: "this machine cannot carry it out",
    4: "a step failed",
    5: "somebody else is changing this hub",
    6: "the hub does not run",
    7: "you said no",
    8: "a machine cannot be reached, or lacks what it takes to work on it",
    70: "a defect in hubfleet",
    BrokenOff.exit_code: "interrupted",
}
INTERRUPTED = BrokenOff.exit_code  # what typer makes of Ctrl-C, too
EPILOG = "Exit codes: " + " · ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items())

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
users_app = typer.Typer(rich_markup_mode=None, no_args_is_help=False)
homes_app = typer.Typer(rich_markup_mode=None, no_args_is_help=False)
machine_app = typer.Typer(rich_markup_mode=None, no_args_is_help=False)
oauth_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)


@oauth_app.callback()
def _oauth() -> None:
    """What the hub is at a provider of logins.

    Example: hubfleet oauth register
    """


def _version(wanted: bool) -> None:
    if wanted:
        say(f"hubfleet {hubfleet.__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", metavar="FILE", help="The configuration file [default: hubfleet.yaml]."),
    ] = None,
    hub: Annotated[
        str | None, typer.Option("-H", "--hub", metavar="NAME", help="Which hub of a file with several.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Deploy JupyterHub on the machines you have, and run it.

    Example: hubfleet up
    """
    context.obj = Options(config, hub, debug)
    remember([*(["-c", str(config)] if config else []), *(["-H", hub] if hub else [])])


for name, command in (
    ("init", init.init),
    ("check", check.check),
    ("plan", plan.plan),
    ("up", up.up),
    ("status", status.status),
    ("logs", logs.logs),
    ("explain", explain.explain),
    ("loadtest", loadtest.loadtest),
    ("rollback", rollback.rollback),
    ("do", do.do),
    ("down", down.down),
    ("schema", schema.schema),
    ("deployer", deployer.deployer),
    ("import", importing.import_),
):
    app.command(name)(command)
users_app.callback(invoke_without_command=True)(users.listing)
users_app.command("approve")(users.approve)
users_app.command("block")(users.block)
users_app.command("reset-password")(users.reset_password)
app.add_typer(users_app, name="users")
homes_app.callback(invoke_without_command=True)(homes.listing)
homes_app.command("archive")(homes.archive)
app.add_typer(homes_app, name="homes")
machine_app.callback(invoke_without_command=True)(machine.listing)
machine_app.command("add")(machine.add)
machine_app.command("drain")(machine.drain)
machine_app.command("remove")(machine.remove)
app.add_typer(machine_app, name="machine")
oauth_app.command("register")(oauth.register)
app.add_typer(oauth_app, name="oauth")


def run() -> None:
    """Entry point. Errors are told in words, with an exit code for each cause."""
    try:
        app()
    except SystemExit as leaving:
        if leaving.code == INTERRUPTED:
            err.print("\nInterrupted. Run the same command again to go on from here.", markup=False)
        raise
    except Exception as error:  # noqa: BLE001 - the last resort: all is told in words
        if "--debug" in sys.argv:
            traceback.print_exc()
        text, code = _told(error)
        said_no = isinstance(error, CancelledError_) and error.remedy is None
        err.print(as_typed(text), style="" if said_no else "red", markup=False)
        sys.exit(code)


def _told(error: Exception) -> tuple[str, int]:
    if isinstance(error, HubfleetError):
        return str(error), error.exit_code
    if isinstance(error, OSError):
        what = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
        return f"{what}. Try: mend that, then run the same command again", ApplyError.exit_code
    what = f"hubfleet failed in a way it does not know ({type(error).__name__}: {error})"
    return f"{what}. Try: the same command with --debug, and report what it shows", INTERNAL_EXIT_CODE

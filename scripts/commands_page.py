"""Writes the reference page of the commands, made of the commands themselves; its argument is the file."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from hubfleet.cli.main import EXIT_CODES, app

INTRODUCTION = """\
# Commands

This page is made from the commands by `make docs`; change it there. `hubfleet COMMAND --help` shows the same.

After `make up` or `make venv` the command is `.venv/bin/hubfleet`. Colours are left out in a pipe, a file, and where
`NO_COLOR` is set. Questions are answered with no where nobody can answer (`--yes` answers yes beforehand).
"""


def page() -> str:
    """The whole page."""
    root = typer.main.get_command(app)
    parts = [INTRODUCTION, *_command(root, "hubfleet", 2), *_exit_codes()]
    return "\n".join(parts).rstrip() + "\n"


def _command(command: Any, name: str, level: int) -> Iterator[str]:
    arguments = [_name(entry) for entry in command.params if entry.param_type_name == "argument"]
    below = getattr(command, "commands", {})
    usage = [name, "[OPTIONS]", *arguments, *(["COMMAND ..."] if below else [])]
    text, _, example = inspect.cleandoc(command.help).partition("\n\nExample: ")
    yield f"{'#' * level} `{name}`\n"
    yield f"{' '.join(text.split())}\n"
    yield f"    {' '.join(usage)}\n"
    yield from _parameters(command.params)
    yield f"Example: `{example}`\n"
    for key, inner in below.items():
        yield from _command(inner, f"{name} {key}", level + 1)


def _parameters(parameters: list[Any]) -> Iterator[str]:
    rows = [f"| `{_name(entry)}` | {_meaning(entry)} |" for entry in parameters if entry.name != "help"]
    if rows:
        yield "| option | meaning |\n|---|---|"
        yield "\n".join(rows) + "\n"


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        word = str(parameter.metavar)
        return word if parameter.required else f"[{word}]"
    value = "" if parameter.is_flag or parameter.count else f" {parameter.metavar}"
    return ", ".join([*parameter.opts, *parameter.secondary_opts]) + value


def _meaning(parameter: Any) -> str:
    text = parameter.help or ""
    default = parameter.default
    if default in (None, False, "") or parameter.required:
        return text
    return f"{text} Default: `{default}`."


def _exit_codes() -> Iterator[str]:
    yield "## Exit codes\n"
    yield "| code | meaning |\n|---|---|"
    yield "\n".join(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")

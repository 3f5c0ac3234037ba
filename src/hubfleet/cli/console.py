"""How commands speak: plain lines everywhere, colour on a terminal that wants it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from hubfleet.errors import CancelledError_
from hubfleet.plan import Event, Line

STYLES = {
    "heading": "bold",
    "setting": "bold",
    "create": "green",
    "update": "yellow",
    "remove": "red",
    "run": "cyan",
    "added": "green",
    "removed": "red",
    "detail": "dim",
    "impact": "yellow",
    "note": "blue",
}

_PIPE_WIDTH = 10_000


def _console(stream: TextIO) -> Console:
    # Wrapping would break addresses and paths that people copy; in a pipe or a file nothing is cut to a width either.
    return Console(
        file=stream,
        width=None if stream.isatty() else _PIPE_WIDTH,
        soft_wrap=True,
        highlight=False,
        emoji=False,
        no_color=bool(os.environ.get("NO_COLOR")),
    )


out = _console(sys.stdout)
err = _console(sys.stderr)


def say(text: str = "", style: str = "") -> None:
    """One line on standard output; the text is shown as it is, markup or not.

    What would steer the terminal (a user's log may hold anything) is shown as a question mark.
    """
    out.print(Text("".join(char if char.isprintable() or char in "\n\t" else "?" for char in text), style=style))


_given: list[str] = []
_COMMANDS = (
    "init|check|plan|up|status|logs|users|homes|machine|oauth|explain|loadtest|schema|rollback|down|do|deployer|import"
)
_COMMAND = re.compile(rf"(?<![\w/.-])hubfleet (?=({_COMMANDS})\b)")


def remember(words: Sequence[str]) -> None:
    """Take the options before the command (`-c FILE -H NAME`) into every command that `as_typed` tells."""
    _given[:] = words


def as_typed(text: str) -> str:
    """The text, with each "hubfleet COMMAND" in it as it has to be typed here."""
    return _COMMAND.sub(lambda _: shlex.join([*program(), *_given]) + " ", text)


def program() -> list[str]:
    """How hubfleet is called from here: by its name where that is on the path, else by where it is."""
    called = Path(sys.argv[0])
    if called.name != "hubfleet" or shutil.which("hubfleet") == str(called):
        return ["hubfleet"]
    return [os.path.relpath(called) if called.is_relative_to(Path.cwd()) else str(called)]


def say_json(data: Any, indent: int | None = 1) -> None:
    """Data for programs, where a command was given --json."""
    say(json.dumps(data, indent=indent))


def show(lines: Iterable[Line]) -> None:
    """A plan's lines in their colours."""
    for line in lines:
        say(line.text, STYLES[line.role])


def table(*headers: str) -> Table:
    """An empty table in the style of all; too long a value goes on in the next line, and is never cut."""
    made = Table(box=None, pad_edge=False, header_style="dim")
    for header in headers:
        made.add_column(header, overflow="fold")
    return made


def counted(number: int, noun: str) -> str:
    """Such as "1 server" and "2 servers"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def draw(picture: RenderableType) -> None:
    """A table, or a group of texts and tables."""
    out.print(picture, soft_wrap=False)


def ask(question: str) -> bool:
    """A yes-or-no question; no is the default, and the answer where there is nobody to ask."""
    if not sys.stdin.isatty():
        return False
    try:
        return out.input(f"{question} \\[y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:
        out.line()
        return False


def confirm(question: str, otherwise: str) -> None:
    """Return when the answer is yes. Raises CancelledError_: for a no without advice, which nobody needs then.

    ``otherwise``: what to type where there is nobody to ask.
    """
    if not sys.stdin.isatty():
        raise CancelledError_("there is nobody to ask", state="Nothing was changed", remedy=otherwise)
    if not ask(question):
        raise CancelledError_("You said no", state="Nothing was changed")


def report(event: Event, *, several: bool = False) -> None:
    """A step of a plan as it happens: one line when it begins or reports, its time when it took long.

    several: machines are at work, and each line says which.
    """
    name = f"{event.machine}: " if several else ""
    if event.status == "start":
        say(f"[{event.number:>2}/{event.total}] {name}{event.change.action} {event.change.resource.title}")
    elif event.status == "progress":
        say(f"        {name}{event.text}", "dim")
    elif event.seconds >= 1:
        say(f"        {name}{event.status} in {event.seconds:.1f} s", "dim")

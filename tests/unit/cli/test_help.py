"""Every command explains itself, and the reference page says the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

import hubfleet.errors
from command import run
from hubfleet.cli.main import EXIT_CODES, app
from hubfleet.projects import DEFAULT, project

REPOSITORY = Path(__file__).parents[3]


def _commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield words
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, (*words, name))


COMMANDS = list(_commands(typer.main.get_command(app)))


def test_the_reference_page_is_up_to_date(tmp_path: Path) -> None:
    subprocess.run([sys.executable, REPOSITORY / "scripts/commands_page.py", tmp_path / "page.md"], check=True)
    written = (REPOSITORY / "docs/reference/commands.md").read_text()
    assert written == (tmp_path / "page.md").read_text(), "run: make docs"
    assert len(COMMANDS) > 10
    for words in COMMANDS:
        assert f"# `{' '.join(['hubfleet', *words])}`\n" in written


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_has_an_example_and_fits_the_terminal(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = run(tmp_path, *words, "--help")
    assert done.code == 0
    assert done.err == ""
    lines = done.out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    [example] = [line for line in lines if line.startswith("  Example: ")]
    assert example.startswith(f"  Example: {' '.join(['hubfleet', *words])}")


def test_what_is_listed_as_a_hubs_actions_are_commands(tmp_path: Path) -> None:
    listed = run(tmp_path, "do").out
    for name, action in project(DEFAULT).actions.items():
        assert (name,) in COMMANDS
        assert action.run is None
        assert f"hubfleet {name} " in listed


def test_every_error_has_an_exit_code_that_is_explained() -> None:
    kinds = [value for value in vars(hubfleet.errors).values() if isinstance(value, type)]
    codes = {kind.exit_code for kind in kinds if issubclass(kind, hubfleet.errors.HubfleetError)}
    assert len(codes) > 5
    assert codes <= set(EXIT_CODES)


def test_every_exit_code_is_in_the_help(tmp_path: Path) -> None:
    text = " ".join(run(tmp_path, "--help").out.split())
    for code, meaning in EXIT_CODES.items():
        assert f"{code} {meaning}" in text


def test_only_who_needs_it_waits_for_its_imports() -> None:
    late = {"aiohttp", "hubfleet.loadtest", "hubfleet.deployer.load"}
    code = f"import sys, hubfleet.cli.main; print({late} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "set()\n"

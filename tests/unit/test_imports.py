"""What is imported before somebody needs it: people wait for it with every command."""

from __future__ import annotations

import subprocess
import sys

import pytest

import hubfleet.resources
from hubfleet.agent.converge import handler
from hubfleet.resources.registry import KINDS

SLOW = {"asyncio", "difflib", "email", "http.client", "shutil", "sqlite3", "ssl", "subprocess", "tempfile", "zipfile"}
"""What the agent may need for some requests."""
LOOK = """
import sys
from hubfleet.agent.serve import _VERBS
from hubfleet.resources import Account, Directory, File
wanted = [Account("root", ""), Directory("/"), File("/etc/passwd", ""), File("/nowhere", "")]
_VERBS["observe"]({"resources": [one.redacted().to_json() for one in wanted]}, print, None)
_VERBS["store"]({"method": "names", "arguments": ["/nowhere"]}, print, None)
"""


def imported(code: str) -> set[str]:
    """All modules that a new Python has after this."""
    code += "\nimport sys; print(*sys.modules)"
    command = [sys.executable, "-S", "-c", code]
    path = {"PYTHONPATH": ":".join(sys.path)}
    return set(subprocess.run(command, capture_output=True, text=True, check=True, env=path).stdout.split())


def test_an_agent_that_looks_at_files_has_nothing_slow() -> None:
    found = imported(LOOK)
    assert "hubfleet.agent.file" in found
    assert not found & SLOW
    assert not found & {"hubfleet.agent.container", "hubfleet.resources.container"}


def test_ssh_is_started_before_much_is_imported() -> None:
    found = imported("import hubfleet.cli")
    assert "hubfleet.sshcommand" in found
    assert not found & {"dataclasses", "hashlib", "json", "pathlib", "tempfile", "typing", "typer", "hubfleet.parcel"}


def test_the_command_has_nothing_that_the_agent_alone_needs() -> None:
    assert not imported("from hubfleet.cli import program; program()") & {"http.client", "sqlite3", "ssl", "asyncio"}


def test_what_the_command_imported_is_kept_from_the_collector_which_then_goes_on() -> None:
    code = "import gc; from hubfleet.cli import program; program()"
    imported(f"{code}; assert gc.get_freeze_count() > 1000; assert gc.isenabled()")


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_where_it_is_looked_for(kind: str) -> None:
    found = getattr(hubfleet.resources, KINDS[kind])
    assert found.kind == kind
    assert KINDS[kind] in hubfleet.resources.__all__
    assert callable(handler(kind).observe)
    assert callable(handler(kind).apply)


def test_all_names_of_the_resources_are_there() -> None:
    assert all(getattr(hubfleet.resources, name) for name in hubfleet.resources.__all__)
    with pytest.raises(ImportError, match="Nothing"):
        from hubfleet.resources import Nothing  # type: ignore[attr-defined]  # noqa: F401

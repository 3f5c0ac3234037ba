"""How a server in a container begins: as its script says, with one import left for later."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import hubfleet.singleuser

SERVER = Path(hubfleet.singleuser.__file__).with_name("server.py")
TELL = "import json, sys\nprint(json.dumps([__name__, sys.argv, sys.path[0], 'lark' in sys.modules]))\n"
CHECK = """
import json, sys
from jsonschema import FormatChecker
def fits(text, form):
    return FormatChecker().conforms(text, form)
said = ['lark' in sys.modules]
said += [fits('http://example.org/\\u00e4', 'iri'), fits('no address', 'iri'), fits('/\\u00e4', 'iri-reference')]
import rfc3987_syntax, rfc3987_syntax.utils
print(json.dumps([*said, rfc3987_syntax.is_valid_syntax('iri', 'http://a/'), hasattr(rfc3987_syntax, 'syntax_parser')]))
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A script as an environment has them, in a directory that also has a module of a name the program uses itself."""
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin" / "jupyterhub-singleuser"


def run(script: Path, text: str, *arguments: str) -> Any:
    script.write_text(text)
    home = script.parents[1]
    (home / "json.py").write_text("raise SystemExit('this is the home')")
    command = [sys.executable, str(SERVER), str(script), *arguments]
    return json.loads(subprocess.run(command, cwd=home, capture_output=True, text=True, check=True).stdout)


def test_the_script_finds_itself_as_if_python_had_started_it(script: Path) -> None:
    assert run(script, TELL, "--a", "b") == ["__main__", [str(script), "--a", "b"], str(script.parent), False]


def test_a_server_is_loaded_without_the_parser_of_addresses(script: Path) -> None:
    assert run(script, f"import jupyter_events.logger\n{TELL}")[-1] is False


def test_addresses_are_told_from_other_text_as_ever(script: Path) -> None:
    assert run(script, CHECK) == [False, True, False, True, True, True]

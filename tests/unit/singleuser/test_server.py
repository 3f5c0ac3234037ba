"""How a server in a container begins: as its script says, with one import left for later."""

from __future__ import annotations

import gc
import json
import os
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

HELPERS = """
import json, os, sys
import jupyterhub.services.auth, jupyterhub.log, jupyterhub.metrics, jupyterhub.utils
said = [sorted(name for name in sys.modules if name.partition('.')[0] in ('sqlalchemy', 'alembic')), os.environ['PATH']]
import sqlalchemy, sqlalchemy.exc, jupyterhub.orm, jupyterhub.handlers.pages
said += [jupyterhub.orm.User.__tablename__, jupyterhub.metrics.orm.User is jupyterhub.orm.User]
said += [issubclass(sqlalchemy.exc.NoResultFound, sqlalchemy.exc.SQLAlchemyError)]
print(json.dumps([*said, hasattr(jupyterhub.handlers.pages, 'HomeHandler')]))
"""
ANOTHER = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location('server', {server!r})
server = importlib.util.module_from_spec(spec)
spec.loader.exec_module(server)
del server.OF_A_HUB['sqlalchemy.exc']['SQLAlchemyError']
server.import_helpers()
left = [name for name in sys.modules if name.partition('.')[0] in ('jupyterhub', 'sqlalchemy')]
import jupyterhub.services.auth
print(json.dumps([left, 'sqlalchemy' in sys.modules]))
"""
LAB = "import os, pathlib, shutil\npathlib.Path({seen!r}).write_text(str(shutil.which('node')))\n"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A script as an environment has them, in a directory that also has a module of a name the program uses itself."""
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin" / "jupyterhub-singleuser"


def run(script: Path, text: str, *arguments: str, path: str = "") -> Any:
    script.write_text(text)
    home = script.parents[1]
    (home / "json.py").write_text("raise SystemExit('this is the home')")
    command = [sys.executable, str(SERVER), str(script), *arguments]
    environ = {**os.environ, "PATH": path or os.environ["PATH"]}
    done = subprocess.run(command, cwd=home, env=environ, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_script_finds_itself_as_if_python_had_started_it(script: Path) -> None:
    assert run(script, TELL, "--a", "b") == ["__main__", [str(script), "--a", "b"], str(script.parent), False]


def test_a_server_is_loaded_without_the_parser_of_addresses(script: Path) -> None:
    assert run(script, f"import jupyter_events.logger\n{TELL}")[-1] is False


def test_addresses_are_told_from_other_text_as_ever(script: Path) -> None:
    assert run(script, CHECK) == [False, True, False, True, True, True]


def test_of_jupyterhub_only_what_a_server_uses_is_loaded_and_the_rest_is_there_for_who_asks(script: Path) -> None:
    loaded, path, *later = run(script, HELPERS)
    assert loaded == []
    assert path == os.environ["PATH"]
    assert later == ["users", True, True, True]


def test_another_jupyterhub_whose_helpers_need_more_is_loaded_whole() -> None:
    command = [sys.executable, "-c", ANOTHER.format(server=str(SERVER))]
    assert json.loads(subprocess.run(command, capture_output=True, check=True).stdout) == [[], True]


def test_jupyterlab_finds_no_node_while_it_is_imported(script: Path) -> None:
    """A program of Node's would be asked where JupyterLab is built from, in each start."""
    seen, lab, node = script.with_name("seen"), script.with_name("jupyterlab"), script.with_name("node")
    lab.mkdir()
    (lab / "__init__.py").touch()
    (lab / "labapp.py").write_text(LAB.format(seen=str(seen)))
    node.write_text("#!/bin/sh\n")
    node.chmod(0o755)
    tell = "import os, json, shutil\nprint(json.dumps(shutil.which('node')))\n"
    assert run(script, tell, path=f"{script.parent}{os.pathsep}{os.environ['PATH']}") == str(node)
    assert seen.read_text() == "None"


def test_garbage_is_hardly_looked_for_until_the_server_is_up(script: Path) -> None:
    script.with_name("hubfleet_singleuser").symlink_to(SERVER.parent)
    up = "import gc, json\nfrom hubfleet_singleuser import collecting\nsaid = [gc.get_threshold()[0]]\n"
    up += "collecting.as_usual()\nprint(json.dumps([*said, gc.get_threshold()]))\n"
    assert run(script, up) == [200_000, list(gc.get_threshold())]

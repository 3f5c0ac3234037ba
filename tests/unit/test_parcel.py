"""The agent as it is sent: quick to load for a Python like this one, readable for any other."""

from __future__ import annotations

import compileall
import hashlib
import importlib.util
import io
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import hubfleet
from hubfleet import parcel

LOAD = "import sys; sys.path.insert(0, sys.argv[1]); import hubfleet.agent.serve as s; print(s.__file__, s.SILENCE_S)"


def loaded(folder: Path, agent: bytes) -> tuple[str, str]:
    """Where a Python that has nothing of ours finds the agent, and a value that is in it."""
    (folder / "agent.zip").write_bytes(agent)
    command = [sys.executable, "-I", "-S", "-c", LOAD, str(folder / "agent.zip")]
    file, value = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return str(Path(file).relative_to(folder / "agent.zip")), value


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """hubfleet's code, installed elsewhere and compiled there."""
    copy = tmp_path / "elsewhere" / "hubfleet"
    shutil.copytree(Path(hubfleet.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert compileall.compile_dir(copy, quiet=1)
    return copy


def test_the_same_python_need_not_compile_it(tmp_path: Path) -> None:
    assert loaded(tmp_path, parcel.parcel()) == ("hubfleet/agent/serve.pyc", "60.0")


def test_another_python_compiles_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "MAGIC_NUMBER", b"\0\0\r\n")
    assert loaded(tmp_path, parcel.parcel.__wrapped__()) == ("hubfleet/agent/serve.py", "60.0")


def test_it_is_the_same_for_the_same_code(package: Path) -> None:
    """Wherever that is, and whether it was compiled before: images are named after it."""
    code = "import hashlib; from hubfleet.parcel import parcel; print(hashlib.sha256(parcel()).hexdigest())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    digests = {said.strip(), hashlib.sha256(parcel.parcel()).hexdigest()}
    digests.add(hashlib.sha256(parcel.packed(package)).hexdigest())
    for kept in package.rglob("__pycache__"):
        shutil.rmtree(kept)
    digests.add(hashlib.sha256(parcel.packed(package)).hexdigest())
    assert len(digests) == 1


def test_what_was_compiled_from_another_source_is_not_sent(package: Path, tmp_path: Path) -> None:
    source = package / "agent" / "serve.py"
    source.write_text(source.read_text().replace("SILENCE_S = 60.0", "SILENCE_S = 0.5"))
    assert loaded(tmp_path, parcel.packed(package)) == ("hubfleet/agent/serve.pyc", "0.5")


def test_what_another_python_compiled_is_not_sent(package: Path, tmp_path: Path) -> None:
    kept = Path(importlib.util.cache_from_source(str(package / "agent" / "serve.py")))
    kept.write_bytes(b"\0\0\r\n" + kept.read_bytes()[4:])
    assert loaded(tmp_path, parcel.packed(package)) == ("hubfleet/agent/serve.pyc", "60.0")


def test_where_it_was_packed_is_nothing_to_the_machine(package: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(parcel.packed(package))) as members:
        content = b"".join(members.read(name) for name in members.namelist())
    assert b"hubfleet/agent/serve.py" in content
    assert str(package.parent).encode() not in content

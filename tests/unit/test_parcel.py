"""The agent as it is sent: quick to load for a Python like this one, readable for any other."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from hubfleet import parcel

LOAD = "import sys; sys.path.insert(0, sys.argv[1]); import hubfleet.agent.serve; print(hubfleet.agent.serve.__file__)"


def loaded_from(folder: Path) -> str:
    """Where a Python that has nothing of ours finds the agent."""
    (folder / "agent.zip").write_bytes(parcel.parcel.__wrapped__())
    command = [sys.executable, "-I", "-S", "-c", LOAD, str(folder / "agent.zip")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return str(Path(done.stdout.strip()).relative_to(folder / "agent.zip"))


def test_the_same_python_need_not_compile_it(tmp_path: Path) -> None:
    assert loaded_from(tmp_path) == "hubfleet/agent/serve.pyc"


def test_another_python_compiles_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "MAGIC_NUMBER", b"\0\0\r\n")
    assert loaded_from(tmp_path) == "hubfleet/agent/serve.py"


def test_it_is_the_same_for_the_same_code() -> None:
    code = "import hashlib; from hubfleet.parcel import parcel; print(hashlib.sha256(parcel()).hexdigest())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == hashlib.sha256(parcel.parcel()).hexdigest()

"""The agent at the other end of a stream."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from hubfleet.agent.serve import GREETING
from waiting import soon

PROGRAM = """
import os, pathlib, sys, time
from hubfleet.agent import serve

def loud(request, progress, held):
    os.system("echo loud")
    print("louder")
    return "said"

def slow(request, progress, held):
    path = pathlib.Path(request["path"])
    told = 0
    while not path.with_suffix(".go").exists():
        progress("waiting")
        told += 1
        path.with_suffix(".told").write_text(str(told))
        time.sleep(0.01)
    path.touch()
    return True

serve._VERBS.update(loud=loud, slow=slow)
serve.main()
"""


def agent(*requests: dict[str, Any]) -> subprocess.Popen[bytes]:
    started = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert started.stdin is not None
    for request in requests:
        started.stdin.write(json.dumps(request).encode() + b"\n")
    started.stdin.flush()
    return started


def told(path: Path) -> int:
    return int(path.with_suffix(".told").read_text() or 0)


def test_only_answers_are_in_the_stream() -> None:
    said, _ = agent({"verb": "loud"}, {"verb": "alive"}, {"verb": "loud"}).communicate(timeout=30)
    greeting, *answers = said.splitlines(keepends=True)
    assert greeting == GREETING
    assert [json.loads(line) for line in answers] == [{"answer": "said"}] * 2


def test_a_step_that_was_begun_is_brought_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "made"
    started = agent({"verb": "slow", "path": str(path)}, {"verb": "slow", "path": str(tmp_path / "next")})
    soon(path.with_suffix(".told").exists)
    assert started.stdin is not None
    assert started.stdout is not None
    started.stdin.close()
    started.stdout.close()  # the operator is gone altogether
    heard = told(path)
    soon(lambda: started.poll() is not None or told(path) >= heard + 3)
    path.with_suffix(".go").touch()
    started.wait(30)
    assert path.exists()
    assert not (tmp_path / "next.told").exists(), "what nobody waits for is not begun"

"""What is sent to machines runs on the oldest Python that these may have."""

from __future__ import annotations

import ast
import builtins
import io
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from hubfleet import parcel
from hubfleet.sshcommand import OLDEST_PYTHON

REPOSITORY = Path(__file__).parents[2]
VERMIN = Path(sysconfig.get_path("scripts")) / "vermin"
OLDEST = ".".join(map(str, OLDEST_PYTHON))
# What says "new" of what is not: a module of ours has the name of something that was in Python 2 only.
OURS = ("file",)
WITH_A_JOB = ("engines/slurm/placing", "singleuser/job")


class _Evaluated(ast.NodeTransformer):
    """The same program without annotations: where it says so, nobody evaluates those, and they may be of any Python."""

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant("")
        return self.generic_visit(node)


def complaints(folder: Path, sources: dict[str, str]) -> list[str]:
    """What of these texts needs a newer Python."""
    found = []
    for name, text in sources.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        evaluated = ast.parse(text)
        if "from __future__ import annotations" in text:
            evaluated = _Evaluated().visit(evaluated)
        found += [f"{name}: {ast.unparse(node)}" for node in ast.walk(evaluated) if _is_union(node)]
    excluded = [word for name in OURS for word in ("--exclude", name)]
    options = [f"-t={OLDEST}-", "--quiet", "--violations", "--no-tips", *excluded]
    command = [sys.executable, str(VERMIN), *options, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    assert done.returncode in (0, 1), said
    return [*found, *(said if done.returncode else [])]


def _is_union(node: ast.AST) -> bool:
    """Whether it is `X | Y` of types: of None, or of what is built in."""
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr)):
        return False
    names = [side.id for side in (node.left, node.right) if isinstance(side, ast.Name)]
    nothing = any(isinstance(side, ast.Constant) and side.value is None for side in (node.left, node.right))
    return nothing or any(isinstance(getattr(builtins, name, None), type) for name in names)


def sent() -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(parcel.parcel())) as members:
        names = [name for name in members.namelist() if name.endswith(".py")]
        return {name: members.read(name).decode() for name in names}


def test_nothing_that_is_sent_needs_a_newer_one(tmp_path: Path) -> None:
    sources = sent()
    assert "hubfleet/agent/serve.py" in sources
    assert complaints(tmp_path, sources) == []


def test_nothing_that_is_sent_with_a_job_needs_a_newer_one(tmp_path: Path) -> None:
    """A cluster's login node has what its administrators have installed."""
    sources = {f"{name}.py": (REPOSITORY / "src" / "hubfleet" / f"{name}.py").read_text() for name in WITH_A_JOB}
    assert complaints(tmp_path, sources) == []


@pytest.mark.parametrize(
    "line",
    [
        "from itertools import pairwise",
        "list(zip([1], [2], strict=True))",
        "Known = int | None",
        "isinstance(1, int | str)",
        "from dataclasses import dataclass\n@dataclass(slots=True)\nclass A: pass",
        "match 1:\n    case 1: pass",
        "import datetime\ndatetime.UTC",
        "from pathlib import Path\nPath().walk()",
        "import tomllib",
        "x = print(1) | None",
    ],
)
def test_what_is_newer_is_found(tmp_path: Path, line: str) -> None:
    good = (
        "from __future__ import annotations\ndef f(a: int | None) -> int | None:\n    b: int | None = a\n    return b\n"
    )
    assert complaints(tmp_path / "good", {"good.py": good}) == []
    assert complaints(tmp_path / "early", {"early.py": good.partition("\n")[2]}) != []
    assert complaints(tmp_path / "bad", {"bad.py": f"{good}{line}\n"}) != []


@pytest.mark.parametrize("name", [*parcel.SINGLE, *WITH_A_JOB, "agent/serve", "resources/base"])
def test_the_style_is_checked_for_that_python_too(name: str) -> None:
    """Or else one of its rules asks for what is newer."""
    ruff = Path(sysconfig.get_path("scripts")) / "ruff"
    command = [ruff, "check", "--no-cache", "--stdin-filename", REPOSITORY / "src" / "hubfleet" / f"{name}.py", "-"]
    text = "match 1:\n    case 1:\n        pass\n"
    said = subprocess.run(command, input=text, capture_output=True, text=True, cwd=REPOSITORY, check=False).stdout
    assert f"Cannot use `match` statement on Python {OLDEST}" in said

"""The README's two commands, as a newcomer types them, on a machine with nothing but Python and make."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import needs
from command import hear_ctrl_c

REPOSITORY = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("clean_root.sh")

pytestmark = [
    needs.root(),
    needs.linux(),
    needs.command("mmdebstrap"),
    needs.command("git"),
    pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="needs a git checkout to clone"),
    # Everything is downloaded: the archive's packages, the hub's environment, the users' environment.
    pytest.mark.timeout(1200),
]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A fresh root with a clean clone of what is committed here, in /root/hubfleet."""
    root = tmp_path_factory.mktemp("newcomer") / "root"
    subprocess.run([SCRIPT, "build", root], check=True)
    clone = ["git", "-c", "safe.directory=*", "clone", "--quiet", "--no-hardlinks", str(REPOSITORY)]
    subprocess.run([*clone, str(root / "root/hubfleet")], check=True)
    yield root
    # Plain removal: whatever was mounted lived in namespaces that are gone.
    subprocess.run(["rm", "-rf", "--one-file-system", root], check=True)


def start(machine: Path, command: str) -> subprocess.Popen[str]:
    """Run ``command`` in the clone, in a process group of its own, so that Ctrl-C can be sent to it."""
    return subprocess.Popen(
        [SCRIPT, "run", machine, f"cd /root/hubfleet && {command}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=hear_ctrl_c,
    )


def free_port() -> int:
    """A TCP port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_the_machine_is_bare(machine: Path) -> None:
    for command in ("node", "npm", "gcc", "uv"):
        assert start(machine, f"command -v {command}").wait() != 0


def test_make_up_and_ctrl_c(machine: Path) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    process = start(machine, f"make up PORT={port}")
    try:
        assert process.stdout is not None
        seen = []
        for line in process.stdout:
            print(line, end="")
            seen.append(line)
            if url in line:
                break
        assert url in "".join(seen), "make up ended before it printed the hub's address"
        with urllib.request.urlopen(f"{url}/hub/login", timeout=30) as answer:
            assert answer.status == 200

        os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate()
        print(rest)
        assert "hubfleet up" in rest or "make up" in rest, "Ctrl-C did not say how to come back"
        assert "Traceback" not in rest
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(url, timeout=5)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_make_test(machine: Path) -> None:
    """The README's other command; of the real hubs' tests those of one file, for time's sake."""
    process = start(machine, "PYTEST_ADDOPTS=\"-k 'unit or protocol'\" make test")
    output, _ = process.communicate()
    print(output)
    assert process.returncode == 0
    assert re.search(r"^=+ .*\b\d+ passed", output, re.MULTILINE)

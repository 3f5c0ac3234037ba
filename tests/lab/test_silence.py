"""A connection that dies without a word: packets are dropped, and neither side is told."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hubs_there import HubThere
from machines import Lab, Machine
from stock import stocked

import needs
from hubfleet.agent.serve import SILENCE_S
from waiting import soon

pytestmark = needs.machines()

NOTICED_S = 70.0
"""ssh asks three times, every 15 seconds, and hears nothing for as long after the last."""
STEP_S = 60.0
"""More than what is left of the step that was begun: a trial on a busy machine."""
DROPPED = """
table inet silence {
  chain incoming { type filter hook input priority -300; tcp dport 22 drop; }
  chain outgoing { type filter hook output priority -300; tcp sport 22 drop; }
}
"""


class Aside:
    """The machine's shell without a connection, through the engine that it is a container of."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def run(self, line: str, text: str | None = None) -> str:
        engine, name = self._machine.lab.engine, self._machine.container
        return engine.docker("exec", "--interactive", name, "sh", "-c", line, text=text, check=False)

    @contextmanager
    def silence(self) -> Iterator[None]:
        self.run("nft -f -", DROPPED)
        try:
            yield
        finally:
            self.run("nft delete table inet silence")


def test_the_command_ends_and_the_lock_is_free_again(lab: Lab, tmp_path: Path) -> None:
    hub = HubThere(stocked(lab), tmp_path)
    aside = Aside(hub.machine)
    hub.write()
    hub.up()
    taken = f"flock --nonblock {hub.state}/lock true || echo taken"
    assert aside.run(taken) == ""
    hub.write(servers={"memory": {"limit": "1G"}})
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    operator = subprocess.Popen(hub.command("up", "--yes"), cwd=hub.folder, env=hub.environment, text=True, **given)
    soon(lambda: "_try-user" in aside.run("docker ps --format '{{.Names}}'"), 180)
    with aside.silence():
        begin = time.monotonic()
        said, _ = operator.communicate(timeout=NOTICED_S)
        assert operator.returncode == 8, said
        assert "the connection was lost" in said, said
        assert "A step that was begun there is brought to its end" in said
        assert "Try: the same command again; it carries on from there" in said
        assert aside.run(taken) == "taken", "nobody may come in between while the step goes on"
        soon(lambda: aside.run(taken) == "", SILENCE_S + STEP_S)
        assert time.monotonic() - begin < SILENCE_S + STEP_S
        soon(lambda: aside.run("pgrep -f '[m]emfd_create' || echo none") == "none")  # nor is the agent there
    assert "Hub lab is ready" in hub.up()
    assert "nothing to change" in hub.run("plan").stdout
    assert hub.answers()

"""What goes wrong on a server and on the way to it: whoever computes goes on, and all comes back by itself."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from cells import can_log_in
from deployed import PARTS, DistantCell, Running, Server, until
from dockerd import BASE
from harness import Person

import hubfleet
import needs
from hubfleet.errors import ApplyError, LockedError, UnreachableError

pytestmark = needs.machines(1500)

BACK_S = 60.0
"""Within this time after a death new people come in again. Some seconds, where eight processes do not share a core."""
ENGINE_BACK_S = 90.0
LOCK_S = 300.0
"""With the whole of the next `up`."""
REBOOT_S = 180.0


@pytest.fixture
def person(server: Server) -> Iterator[Person]:
    """Somebody whose server runs."""
    found = server.person(server.new_name("paul"))
    assert found.start()[-1]["ready"]
    yield found
    found.stop()


Release = Callable[..., None]


@pytest.fixture
def release(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Release]:
    """Has the command line be another release, with these words at the end of some of its files; at the end this one's
    again, deployed."""
    target = tmp_path / "hubfleet"

    def change(**added: str) -> None:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(Path(hubfleet.__file__).parent, target)
        for name, words in added.items():
            with (target / f"{name.replace('__', '/')}.py").open("a") as code:
                code.write(f"{words}\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    yield change
    monkeypatch.delenv("PYTHONPATH", raising=False)
    server.write("")
    server.up()
    assert server.changes() == []


def takes(limit: float, what: str, look: Callable[[], object], begun: float | None = None) -> None:
    begun = begun or time.monotonic()
    until(what, look, limit)
    print(f"{what}: {time.monotonic() - begun:.1f} s")


# -- deaths on the machine ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_killed_is_back_soon(server: Server, person: Person, part: str) -> None:
    cell = DistantCell(person, server)
    first = server.process(part)
    server.machine.kill(first)
    takes(BACK_S, f"{part} is back", lambda: server.process(part) not in (0, first) and can_log_in(person))
    takes(BACK_S, "all parts are well", lambda: server.status()["state"] == "running")
    cell.finish()
    assert cell.reconnects <= (part in ("proxy", "edge"))


def test_an_engine_that_is_killed_is_back_soon(server: Server, person: Person) -> None:
    cell = DistantCell(person, server)
    before = [server.process(part) for part in PARTS]
    server.machine.kill("dockerd")
    assert can_log_in(person), "the hub does not need the engine for that"
    takes(ENGINE_BACK_S, "the engine is back", lambda: server.machine.docker("version", check=False).count("Server:"))
    cell.finish()
    assert cell.reconnects == 0
    assert [server.process(part) for part in PARTS] == before
    person.stop()
    assert person.start()[-1]["ready"]
    assert server.status()["state"] == "running"
    assert server.changes() == []


# -- the way to it -----------------------------------------------------------------------------------------------------


def _kill(up: Running, server: Server) -> None:
    up.kill()


def _lost(up: Running) -> None:
    assert up.end() == UnreachableError.exit_code, up.text
    said = " ".join(up.text.split())
    assert "the connection was lost" in said
    assert "A step that was begun there is brought to its end" in said


def _kill_ssh(up: Running, server: Server) -> None:
    (ssh,) = psutil.Process(up.pid).children()
    ssh.kill()
    _lost(up)


def _drop(up: Running, server: Server) -> None:
    """The connection ends over there: the agent's parent is sshd."""
    agent = server.machine.run("pgrep", "-f", "hubfleet.agent.serve [i]mport")
    server.machine.run(f"kill -9 $(ps -o ppid= -p {agent})")
    _lost(up)


ENDS = (
    (_drop, "waiting for hubfleet-"),
    (_kill_ssh, "stopping the earlier"),
    (_kill, "building image"),
    (_drop, "building image"),
    (_kill, "starting hubfleet-"),
)


def test_an_up_that_is_cut_off_is_carried_on(server: Server, person: Person, release: Release) -> None:
    """Once after another, with a cell that runs all the time."""
    cell = DistantCell(person, server)
    for end, words in ENDS:
        release(hub__app=f"# {time.time()}")
        up = Running(server, "up", "--yes")
        up.await_text(words)
        end(up, server)
        # What was begun there is brought to its end, and then the lock is free.
        takes(LOCK_S, f"after {end.__name__} at '{words}' the lock is free", lambda: _not_locked(server))
        assert server.changes() == []
        assert can_log_in(person)
    cell.finish()


def _not_locked(server: Server) -> bool:
    done = server.run("up", "--yes", check=False, timeout=600)
    accepted = {0, LockedError.exit_code, ApplyError.exit_code}
    assert done.returncode in accepted, done.stdout + done.stderr
    return done.returncode == 0


def test_of_two_at_once_one_wins(server: Server, release: Release) -> None:
    release(hub__app=f"# {time.time()}")
    both = [Running(server, "up", "--yes") for _ in range(2)]
    assert sorted(one.end() for one in both) == [0, LockedError.exit_code], [one.text for one in both]
    (loser,) = (one for one in both if one.end())
    assert "is changing this hub now. Nothing was changed. Try: wait until" in " ".join(loser.text.split())


# -- what does not work ------------------------------------------------------------------------------------------------


def test_an_image_that_cannot_be_built_on_leaves_all_as_it_is(server: Server, person: Person, release: Release) -> None:
    cell = DistantCell(person, server)
    before = [server.process(part) for part in PARTS]
    unfit = f"FROM {BASE}\nRUN rm -f /usr/bin/python3* /usr/bin/apt-get\n"
    server.machine.docker("build", "--quiet", "--tag", "hubfleet-test/unfit:1", "-", text=unfit)
    server.write("servers: {image: hubfleet-test/unfit:1}\n")
    failed = server.run("up", "--yes", check=False)
    assert failed.returncode == ApplyError.exit_code
    said = " ".join((failed.stdout + failed.stderr).split())
    assert "it has no Python 3.10 or newer, and no apt-get to install it" in said
    assert "No image was made, and earlier ones stay" in said
    assert [server.process(part) for part in PARTS] == before
    cell.finish()
    assert cell.reconnects == 0
    person.stop()
    assert person.start()[-1]["ready"]


def test_settings_that_only_a_broken_release_can_read_are_taken_back(
    server: Server, person: Person, release: Release
) -> None:
    """Those of the part that does not come up, and of those whose turn had not come."""
    settings = [f"{server.state}/{name}" for name in ("launcher/launcher.json", "hub/hub.json")]
    before = server.machine.run("cat", *settings)
    broken = "_as = as_json\ndef as_json(data): return _as({f'new_{key}': data[key] for key in data})"
    release(engines__docker__desired=broken)
    failed = server.run("up", "--yes", check=False)
    assert failed.returncode == ApplyError.exit_code
    assert "The hub goes on as it was" in " ".join((failed.stdout + failed.stderr).split())
    assert server.machine.run("cat", *settings) == before
    assert can_log_in(person)


# -- the machine -------------------------------------------------------------------------------------------------------


def test_all_is_back_after_a_reboot(server: Server, person: Person) -> None:
    assert person.kernel().run("open('kept.txt', 'w').write('words')") == "5"
    begun = time.monotonic()
    server.machine.reboot()
    takes(REBOOT_S, "people come in again", lambda: can_log_in(person), begun)
    assert person.start()[-1]["ready"]
    assert person.jupyter("GET", "/api/contents/kept.txt").json()["content"] == "words"
    assert server.status()["state"] == "running"
    assert server.changes() == []


def test_all_is_back_after_a_power_cut_while_a_cell_ran(server: Server, person: Person) -> None:
    """Nothing was brought to its end: neither the cell, nor the hub, nor the engine."""
    assert person.kernel().run("open('kept.txt', 'w').write('words')") == "5"
    kernel = person.kernel()
    kernel.send("import time\nwhile True: open('count.txt', 'a').write('x'); time.sleep(0.1)")
    size = f"stat --format %s {server.homes}/{person.name}/count.txt"
    until("the cell runs", lambda: int(server.machine.run(size)) > 5, 60)
    server.machine.run("sync")
    before = server.machine.docker("ps", "--quiet", "--no-trunc")
    begun = time.monotonic()
    server.machine.cut_power()
    server.machine.start()
    takes(REBOOT_S, "people come in again", lambda: can_log_in(person), begun)
    takes(REBOOT_S, "all parts are well", lambda: server.status()["state"] == "running", begun)
    assert {server.inspect(server.container(part))[0]["Id"] for part in PARTS} <= set(before.split())
    until("nobody has a server that ended", lambda: not person.servers(), BACK_S)
    assert person.start()[-1]["ready"]
    assert person.jupyter("GET", "/api/contents/kept.txt").json()["content"] == "words"
    counted = int(server.machine.run(size))
    assert person.kernel().run("print(1)") == "1\n"
    assert int(server.machine.run(size)) == counted > 5, "no cell runs by itself"
    assert server.changes() == []

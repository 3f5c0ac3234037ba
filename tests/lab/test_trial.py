"""A new generation that nobody could work with does not replace the one that serves. On a server, with images built."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import dockerd
import pytest
from machines import Lab, Machine
from stock import SETTINGS, stocked

import command
import hubfleet
import needs
from hubfleet.loadtest.hubapi import HubAPI
from hubfleet.loadtest.kernel import MESSAGE_LIMIT, KernelSocket
from hubfleet.loadtest.people import HubfleetRoster
from hubfleet.units import Secret
from waiting import soon

pytestmark = needs.machines()

STATE = "/var/lib/hubfleet/lab"
TRIED = "try out the new generation with a test user"
UP = ("up", "--yes", "--detach")
BROKEN_IMAGE = "broken:1"
# Every Python that sees the image's packages reads such a file at its start; only kernels end of this one.
_SAYS = 'os.write(2, b"libsolver.so.1: not found\\n")'
DYING = f'import os, sys; "ipykernel_launcher" in sys.orig_argv and ({_SAYS}, os._exit(3))'
BROKEN = f"""FROM {dockerd.BASE}
RUN place=$(python3 -c 'import site; print(site.getsitepackages()[0])') && mkdir -p $place && \
    printf '%s\\n' '{DYING}' >$place/course.pth
"""
HANGS_S = 20.0
READY_S = 40.0
"""For the other parts of a second hub, and its removal."""
KERNEL_S = 15.0
"""From the notebook to the end, for a kernel that ends at its start; who asks nobody waits for a minute."""


class Site:
    """An operator's folder, and the hub's machine."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine, self.folder = machine, folder
        (folder / "ssh_config").write_text("Host *\n" + "".join(f"  {line}\n" for line in _words(machine.options())))

    def write(self, **settings: Any) -> None:
        given = {
            **SETTINGS,
            "machines": {
                "hub1": {"ssh": f"root@{self.machine.address}", "ssh_config": str(self.folder / "ssh_config")}
            },
            "https": "self-signed",
            "login": {"password": "file"},
            **settings,
        }
        (self.folder / "hubfleet.yaml").write_text(json.dumps(given, indent=1))

    def up(self, code: int = 0) -> str:
        """All that `hubfleet up` says."""
        done = command.run(self.folder, *UP)
        assert done.code == code, done.out + done.err
        return done.out + done.err

    def timed(self, words: str) -> tuple[str, float]:
        """All that a `hubfleet up` says that fails, and how many seconds it took from these words on."""
        said, told = "", 0.0
        environment = {**command.environment(self.folder), "PYTHONUNBUFFERED": "1"}
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with subprocess.Popen([*command.COMMAND, *UP], cwd=self.folder, env=environment, text=True, **given) as running:
            assert running.stdout
            for line in running.stdout:
                said += line
                told = told or (time.monotonic() if words in line else 0.0)
        assert (running.returncode, bool(told)) == (4, True), said
        return said, time.monotonic() - told

    def parts(self) -> dict[str, str]:
        """The ids of the hub's containers, and when each was started, by name."""
        form = "{{.Name}} {{.Id}} {{.State.StartedAt}}"
        found = self.machine.docker("ps", "--quiet").split()
        lines = self.machine.docker("inspect", "--format", form, *found).splitlines()
        return {name: rest for name, _, rest in (line.partition(" ") for line in lines)}

    def files(self) -> str:
        """What those who serve would read if they had to start again."""
        return self.machine.run(f"cat {STATE}/hub/*.json {STATE}/launcher/launcher.json {STATE}/proxy/* | sha256sum")

    def nothing_left(self) -> bool:
        names = self.machine.docker("ps", "--all", "--format", "{{.Names}}")
        return "_try" not in names and "_try" not in self.machine.run("ls /var/lib/hubfleet")


def _words(options: list[str]) -> Iterator[str]:
    """ssh's options as lines of its configuration."""
    for flag, value in zip(options[::2], options[1::2], strict=True):
        if flag == "-i":
            yield f"IdentityFile {value}"
        elif flag == "-o":
            yield value.replace("=", " ", 1)


class Work:
    """Somebody with a running server and a kernel that knows a number."""

    def __init__(self, site: Site) -> None:
        self._url = f"https://{site.machine.address}"
        token = json.loads(site.machine.run(f"cat {STATE}/secrets/tokens.json"))["operator_token"]
        self._kernel = asyncio.run(self._begin(Secret(token)))

    async def _begin(self, operator: Secret) -> str:
        async with self._session() as session:
            (self._login,) = await HubfleetRoster().enter(HubAPI(session, self._url, operator), 1, 7200)
            self._server = f"{self._url}/user/{self._login.name}"
            api = HubAPI(session, self._url, self._login.token)
            await api.start(self._login.name, {}, 120)
            async with session.post(f"{self._server}/api/kernels", json={}, headers=api.headers) as answer:
                kernel = str((await answer.json())["id"])
            await self._run(session, kernel, "number = 41")
            return kernel

    @staticmethod
    def _session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False))

    async def _run(self, session: aiohttp.ClientSession, kernel: str, code: str) -> str:
        headers = HubAPI(session, self._url, self._login.token).headers
        address = f"{self._server}/api/kernels/{kernel}/channels"
        socket = KernelSocket(await session.ws_connect(address, headers=headers, max_msg_size=MESSAGE_LIMIT), "s")
        await socket.ready()
        cell: dict[str, Any] = {"source": code}
        await socket.run(cell, 1, lambda: None)
        await socket.close()
        return "".join(output.get("text", "") for output in cell["outputs"]).strip()

    def goes_on(self) -> bool:
        """Whether the kernel still knows its number."""

        async def ask() -> str:
            async with self._session() as session:
                return await self._run(session, self._kernel, "number += 1; print(number - 1)")

        return asyncio.run(ask()).isdigit()


@pytest.fixture(scope="module")
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A hub that was deployed."""
    made = Site(stocked(lab), tmp_path_factory.mktemp("site"))
    made.write()
    assert f"] {TRIED}\n" in made.up(), "the first one too"
    return made


@pytest.fixture(scope="module")
def work(site: Site) -> Work:
    return Work(site)


def test_a_good_one_takes_over_and_is_not_tried_out_again(site: Site, work: Work) -> None:
    assert site.nothing_left()
    said = site.up()
    assert "nothing to change" in said
    assert TRIED not in said
    before = site.parts()
    site.write(servers={"memory": {"limit": "1G"}})
    said = site.up()
    assert said.index(f"] {TRIED}\n") < said.index("restart container hubfleet-lab-launcher")
    assert "the test user: the notebook ran, and is saved" in said
    assert {name for name, one in site.parts().items() if before.get(name) != one} == {"/hubfleet-lab-launcher"}
    assert site.nothing_left()
    assert work.goes_on()


def test_an_image_whose_kernels_do_not_start(site: Site, work: Work) -> None:
    before = site.parts(), site.files()
    site.machine.docker("build", "--quiet", "--tag", BROKEN_IMAGE, "-", text=BROKEN)
    site.write(servers={"image": BROKEN_IMAGE})
    said, took = site.timed("JupyterLab is open; running a notebook")
    assert f"{TRIED} failed: the notebook's kernel did not start: it ended by itself, and is started again." in said
    assert "The end of its server's log:\n    libsolver.so.1: not found" in said, said
    assert took < KERNEL_S, took
    assert "The hub goes on as it was; nothing of it was replaced." in said
    assert "Try: mend that, then: hubfleet up" in said
    assert (site.parts(), site.files()) == before
    assert work.goes_on()
    assert site.nothing_left()


def test_a_release_whose_hub_does_not_start(
    site: Site, work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = site.parts(), site.files()
    shutil.copytree(Path(hubfleet.__file__).parent, tmp_path / "hubfleet")
    with (tmp_path / "hubfleet" / "hub" / "jupyterhub_config.py").open("a") as config:
        config.write("raise SystemExit('no such setting: colour')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    site.write()
    said = site.up(code=4)
    assert f"{TRIED} failed: hubfleet-lab_try-hub ended. The end of the log of hubfleet-lab_try-hub:" in said
    assert "\n    no such setting: colour" in said
    assert (site.parts(), site.files()) == before
    assert work.goes_on()
    assert site.nothing_left()


def test_a_release_whose_hub_never_answers(
    site: Site, work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not waited for without end; how long is shortened here, for both sides of the connection."""
    before = site.parts(), site.files()
    shutil.copytree(Path(hubfleet.__file__).parent, tmp_path / "hubfleet")
    with (tmp_path / "hubfleet" / "hub" / "jupyterhub_config.py").open("a") as config:
        config.write("print('waiting for the moon', flush=True); import time; time.sleep(9999)\n")
    with (tmp_path / "hubfleet" / "agent" / "trial.py").open("a") as agent:
        agent.write(f"READY_LIMIT_S = {HANGS_S}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    site.write()
    said, took = site.timed("starting a second hub beside the one that serves")
    assert f"{TRIED} failed: hubfleet-lab_try-hub does not answer after {HANGS_S:.0f} s." in said
    assert "waiting for the moon" in said
    assert "The hub goes on as it was; nothing of it was replaced." in said
    assert HANGS_S < took < HANGS_S + READY_S
    assert (site.parts(), site.files()) == before
    assert work.goes_on()
    assert site.nothing_left()


def test_a_database_that_the_new_hub_cannot_use(site: Site, work: Work) -> None:
    """The trial's hub has a copy, so that is told before the hub that serves is stopped."""
    change = "import sqlite3; d = sqlite3.connect('{}'); d.execute(\"UPDATE alembic_version SET version_num = '{}'\")"
    database = f"{STATE}/hub/jupyterhub.sqlite"
    read = (
        f"import sqlite3; print(sqlite3.connect('{database}').execute('SELECT * FROM alembic_version').fetchone()[0])"
    )
    known = site.machine.run("python3", "-c", read)
    site.machine.run("python3", "-c", f"{change.format(database, 'fedcba987654')}; d.commit()")
    before = site.parts()
    site.write(servers={"memory": {"limit": "2G"}})
    try:
        said = site.up(code=4)
    finally:
        site.machine.run("python3", "-c", f"{change.format(database, known)}; d.commit()")
    assert "hubfleet-lab_try-hub ended" in said
    assert "fedcba987654" in said
    assert site.parts() == before
    assert work.goes_on()


def test_one_that_was_killed_is_removed_by_the_next(site: Site, work: Work) -> None:
    before = site.parts()
    site.write(servers={"memory": {"limit": "3G"}})
    environment = command.environment(site.folder)
    quiet: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    operator = subprocess.Popen([*command.COMMAND, *UP], cwd=site.folder, env=environment, **quiet)
    soon(lambda: "hubfleet-lab_try-user" in site.machine.docker("ps", "--format", "{{.Names}}"), 180)
    site.machine.run("pkill -9 -f '[m]emfd_create'")  # the agent
    assert operator.wait(60) == 8
    assert not site.nothing_left()
    assert {name: one for name, one in site.parts().items() if "_try" not in name} == before
    site.up()
    assert site.nothing_left()
    assert work.goes_on()


def test_what_a_killed_one_left_goes_with_the_hub(site: Site) -> None:
    site.write(servers={"memory": {"limit": "4G"}})
    quiet: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    operator = subprocess.Popen([*command.COMMAND, *UP], cwd=site.folder, env=command.environment(site.folder), **quiet)
    soon(lambda: "hubfleet-lab_try-user" in site.machine.docker("ps", "--format", "{{.Names}}"), 180)
    site.machine.run("pkill -9 -f '[m]emfd_create'")  # the agent
    assert operator.wait(60) == 8
    assert not site.nothing_left()
    done = command.run(site.folder, "down", "--delete-data", "--yes-delete", "lab")
    assert done.code == 0, done.err
    assert site.nothing_left()
    assert site.machine.docker("ps", "--all", "--quiet") == ""

"""The container that keeps homes, as it is described for a deployment: what it does, and the walls around it."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dockerd
import pytest
import pytest_asyncio
from containers import Guest, House
from converging import converge, remove
from images import parts_image

import needs
from hubfleet.config import Config
from hubfleet.config.owner import Owner
from hubfleet.engines.docker import homes
from hubfleet.engines.docker.images import hub_image
from hubfleet.engines.docker.launch import DockerLaunch
from hubfleet.homes import ARCHIVED, HOMES_MARKER
from hubfleet.homes.asked import Asked
from hubfleet.launcher.base import Running, StartFailed
from hubfleet.resources import Container, Directory, Skeleton
from hubfleet.resources.skeleton import Entry
from hubfleet.unixhttp import Refused, request
from sites import site

pytestmark = [
    needs.root(),
    needs.command("dockerd", package="docker.io"),
    needs.command("mmdebstrap"),
    pytest.mark.timeout(900),  # the first one makes the images
    pytest.mark.usefixtures("reach"),
]

OWN = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3}
"""Its capabilities, by the kernel's numbers."""
ADA = Owner(70_001, 70_001)


class Keeper:
    """Who keeps a hub's homes."""

    def __init__(self, engine: dockerd.Dockerd, house: House) -> None:
        self.engine, self.house, self.homes = engine, house, house.layout.homes
        config = Config.model_validate({"hub": house.hub, "engine": "docker", "login": {"password": "file"}})
        assert config.storage.homes is not None
        kept = config.storage.homes.model_copy(update={"skeleton": Path("/nowhere")})
        config = config.model_copy(update={"storage": config.storage.model_copy(update={"homes": kept})})
        facts = site(house.hub, layout=house.layout)
        skeletons = house.layout.state / "skeletons"
        begin = Skeleton.of(str(skeletons), {"start.ipynb": Entry(0o644, content=b"{}")})
        files = homes.files(config, facts, begin)
        for one in (Directory(str(skeletons), "root", "root", 0o700), *homes.directories(config, house.layout), begin):
            converge(one)
        for file in files.values():
            converge(file)
        image = replace(hub_image(config, facts), tag=parts_image(engine))
        self.container: Container = homes.container(config, facts, image, files, {"network": "none"})
        converge(self.container)

    @property
    def line(self) -> dict[str, str]:
        return {"socket": str(self.house.layout.keeper_socket)}

    def ask(self, method: str, target: str, body: Any = None) -> Any:
        return request(self.house.layout.keeper_socket, method, target, body)

    def refusal(self, method: str, target: str, body: Any = None) -> str:
        with pytest.raises(Refused) as told:
            self.ask(method, target, body)
        return f"{told.value.status} {told.value}"

    def inside(self, *command: str) -> str:
        """What a command says that is run in it with all that it may."""
        done = subprocess.run(
            ["docker", "--host", f"unix://{self.engine.socket}", "exec", self.container.name, *command],
            capture_output=True,
            text=True,
            timeout=60,
        )
        return (done.stdout + done.stderr).strip()


@pytest.fixture
def keeper(engine: dockerd.Dockerd, house: House) -> Iterator[Keeper]:
    made = Keeper(engine, house)
    yield made
    engine.docker("rm", "--force", "--volumes", made.container.name, check=False)


@pytest_asyncio.fixture
async def served(house: House, keeper: Keeper) -> AsyncIterator[DockerLaunch]:
    """What the launcher has for this hub, with that keeper of homes."""
    launch = house.launch(keeper=keeper.line)
    await launch.open()
    yield launch
    await launch.close()


# -- what it does ----------------------------------------------------------------------------------------------------


async def test_a_server_has_a_home_that_the_keeper_made(house: House, served: DockerLaunch, keeper: Keeper) -> None:
    guest = await house.start(served, "ada")
    assert await guest.run("print(open('start.ipynb').read()); open('mine', 'w').write('words')") == "{}\n"
    found = (guest.home / "start.ipynb").stat()
    assert (found.st_uid, found.st_gid) == (guest.uid, guest.uid)
    assert keeper.ask("GET", "/homes")["homes"][0]["uid"] == guest.uid
    await served.stop(guest.record, grace=10)
    again = await house.start(served, "ada")
    assert await again.run("print(open('mine').read())") == "words\n"


async def test_without_it_nobody_starts_and_who_is_there_goes_on(
    house: House, served: DockerLaunch, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubfleet.homes.asked.PATIENCE_S", 1.0)
    guest = await house.start(served, "ada")
    remove(keeper.container)
    with pytest.raises(StartFailed, match="the storage of homes cannot be asked now"):
        await house.start(served, "ben")
    assert await served.poll(guest.record) == Running()
    assert await guest.run("open('still', 'w').write('words')") == ""
    converge(keeper.container)
    assert isinstance(await house.start(served, "ben"), Guest)


async def test_a_home_of_another_owner_is_not_given_away(house: House, served: DockerLaunch, keeper: Keeper) -> None:
    await Asked(keeper.line).ensure("ada", Owner(70_777, 70_777))
    with pytest.raises(StartFailed, match=r"ada belongs to user id 70777, not \d+; an administrator has to look"):
        await house.start(served, "ada")
    assert (keeper.homes / "ada").stat().st_uid == 70_777
    assert house.left() == []


async def test_a_home_is_put_away_by_it(keeper: Keeper) -> None:
    asked = Asked(keeper.line)
    home = await asked.ensure("ada", ADA)
    (home.path / "private").write_text("words")
    (home.path / "private").chmod(0o600)
    done = await asked.archive("ada")
    listed = subprocess.run(["tar", "-tzf", done.tar], capture_output=True, text=True, check=True).stdout.split()
    assert sorted(listed) == ["ada/", "ada/private", "ada/start.ipynb"]
    assert (done.moved / "private").read_text() == "words"
    assert not home.path.exists()
    await asked.close()


# -- its walls -------------------------------------------------------------------------------------------------------


def test_it_may_give_files_away_and_nothing_else(keeper: Keeper) -> None:
    status = dict(
        line.split(":\t", 1) for line in keeper.inside("cat", "/proc/self/status").splitlines() if ":\t" in line
    )
    wanted = sum(1 << number for number in OWN.values())
    assert {name: int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == dict.fromkeys(
        ("CapPrm", "CapEff", "CapBnd"), wanted
    )
    assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")
    assert "ermi" in keeper.inside("mount", "-t", "tmpfs", "none", "/tmp")
    assert "not permitted" in keeper.inside("mknod", f"{keeper.homes}/disk", "b", "8", "0")
    assert "not permitted" in keeper.inside("chroot", str(keeper.homes), "true")


def test_it_has_no_network(keeper: Keeper) -> None:
    assert keeper.inside("ls", "/sys/class/net") == "lo"
    address = keeper.engine.docker(
        "network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", keeper.house.hub
    )
    code = f"import socket; socket.create_connection(('{address}', 22), 3)"
    assert "Network is unreachable" in keeper.inside("python3", "-c", code)


def test_it_sees_homes_and_nothing_of_the_machine(keeper: Keeper) -> None:
    layout = keeper.house.layout
    for path in (
        "/var/run/docker.sock",
        "/run/docker.sock",
        keeper.engine.socket,
        "/host",
        layout.launcher_dir,
        layout.uids,
    ):
        assert "No such file" in keeper.inside("ls", str(path)), path
    assert sorted(keeper.inside("ls", "-A", str(layout.state)).split()) == ["homes", "keeper", "run", "skeletons"]
    assert keeper.inside("ls", "-A", str(layout.run)) == "keeper"
    for place in ("/", "/etc", "/root", layout.keeper_dir, layout.state / "skeletons"):
        assert "Read-only file system" in keeper.inside("touch", f"{place}/new"), place
    assert keeper.inside("touch", f"{keeper.homes}/new") == "", "where it may write, the same way works"
    (keeper.homes / "new").unlink()


@pytest.mark.parametrize("name", ["..", "%2e%2e", "%2fetc", "ada%2f..%2f..", ".hubfleet-homes", "Ada", "ada%20b"])
def test_it_makes_nothing_under_other_names(keeper: Keeper, name: str) -> None:
    before = sorted(path.name for path in keeper.homes.iterdir())
    assert keeper.refusal("PUT", f"/homes/{name}", {"uid": 70_001, "gid": 70_001})[:3] in ("400", "404", "405")
    assert sorted(path.name for path in keeper.homes.iterdir()) == before == [HOMES_MARKER]


@pytest.mark.parametrize(("uid", "gid"), [(0, 70_001), (70_001, 0), (999, 70_001), (65_534, 65_534)])
def test_it_gives_nothing_to_ids_that_nobody_may_have(keeper: Keeper, uid: int, gid: int) -> None:
    assert "409 nobody's files may belong to id" in keeper.refusal("PUT", "/homes/ada", {"uid": uid, "gid": gid})
    assert not (keeper.homes / "ada").exists()


@pytest.mark.parametrize("more", [{"path": "/etc"}, {"skeleton": "/root"}, {"limit": 1 << 40}])
def test_it_takes_no_path_and_no_limit(keeper: Keeper, more: dict[str, Any]) -> None:
    told = keeper.refusal("PUT", "/homes/ada", {"uid": 70_001, "gid": 70_001, **more})
    assert told == "400 expected uid and gid, perhaps group, and nothing else"
    assert not (keeper.homes / "ada").exists()


def test_a_link_in_the_place_of_a_home_leads_nowhere(keeper: Keeper) -> None:
    outside = keeper.house.layout.base / "outside"
    outside.mkdir()
    (keeper.homes / "ada").symlink_to(outside)
    assert "is not a directory" in keeper.refusal("PUT", "/homes/ada", {"uid": 70_001, "gid": 70_001})
    assert "404" in keeper.refusal("POST", "/homes/ada/archive")
    assert (outside.stat().st_uid, list(outside.iterdir())) == (0, [])


def test_its_disk_is_not_there(keeper: Keeper) -> None:
    (keeper.homes / HOMES_MARKER).unlink()
    assert "is its disk mounted" in keeper.refusal("PUT", "/homes/ada", {"uid": 70_001, "gid": 70_001})
    assert list(keeper.homes.iterdir()) == []


def test_a_disk_that_is_mounted_later_is_seen(house: House, keeper: Keeper) -> None:
    """Where the machine shares its mounts, as those with systemd do."""
    place = house.layout.base
    remove(keeper.container)
    subprocess.run(["mount", "--bind", place, place], check=True)
    subprocess.run(["mount", "--make-shared", place], check=True)
    try:
        converge(keeper.container)
        subprocess.run(["mount", "-t", "tmpfs", "none", keeper.homes], check=True)
        try:
            assert "is its disk mounted" in keeper.refusal("PUT", "/homes/ada", {"uid": 70_001, "gid": 70_001})
            assert list(keeper.homes.iterdir()) == []
        finally:
            subprocess.run(["umount", keeper.homes], check=True)
        assert keeper.ask("PUT", "/homes/ada", {"uid": 70_001, "gid": 70_001})["uid"] == 70_001
        remove(keeper.container)
    finally:
        subprocess.run(["umount", place], check=True)


# -- strangers -------------------------------------------------------------------------------------------------------

_KNOCK = """
import socket
with socket.socket(socket.AF_UNIX) as line:
    try:
        line.connect(PATH)
        line.sendall(b"GET /homes HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
        print(line.recv(100).split(b"\\r\\n")[0].decode())
    except OSError as error:
        print(type(error).__name__)
"""


async def test_users_servers_do_not_reach_it(house: House, served: DockerLaunch, keeper: Keeper) -> None:
    guest = await house.start(served, "ada")
    path = house.layout.keeper_socket
    assert await guest.run(_KNOCK.replace("PATH", repr(str(path)))) == "FileNotFoundError\n"
    assert await guest.run(f"import os; print(os.path.exists({str(house.layout.keeper_dir)!r}))") == "False\n"
    # And if they could see it:
    shown = ["run", "--rm", "--user", f"{guest.uid}:{guest.uid}", "--volume", f"{path.parent}:/there", dockerd.BASE]
    knock = ["python3", "-c", _KNOCK.replace("PATH", "'/there/keeper.sock'")]
    assert keeper.engine.docker(*shown, *knock) == "PermissionError"
    path.parent.chmod(0o777)
    path.chmod(0o777)
    assert keeper.engine.docker(*shown, *knock) == "HTTP/1.1 403 Forbidden"
    assert keeper.ask("GET", "/homes")["homes"], "while root is answered"


async def test_archives_are_roots_only(house: House, served: DockerLaunch, keeper: Keeper) -> None:
    guest = await house.start(served, "ada")
    await served.stop(guest.record, grace=10)
    asked = Asked(keeper.line)
    await asked.archive("ada")
    await asked.close()
    again = await house.start(served, "ada")
    folder = keeper.homes / ARCHIVED
    seen = ["run", "--rm", "--user", f"{again.uid}:{again.uid}", "--volume", f"{keeper.homes}:/there", dockerd.BASE]
    done = keeper.engine.docker(*seen, "ls", f"/there/{ARCHIVED}", check=False)
    assert "Permission denied" in done
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o777) == (0, 0o700)

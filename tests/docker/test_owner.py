"""Whose the files are that a server writes, and what it is shown of the site: as services of the site say."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from containers import Guest, House

import needs
from hubfleet.config import Config
from hubfleet.engines.docker.launch import DockerLaunch
from hubfleet.launcher.base import StartFailed
from hubfleet.launcher.servers import Servers
from hubfleet.launcher.sources import owners_of, projects_of
from services import Memberships, Tas, running

pytestmark = [
    needs.root(),
    needs.command("dockerd", package="docker.io"),
    needs.command("mmdebstrap"),
    pytest.mark.timeout(900),  # the first one makes the image
]
SECRETS = {"owner_password": "canary-tas", "projects_token": "canary-projects"}


@pytest.fixture
def tas() -> Iterator[Tas]:
    service = Tas()
    service.add("ada", 810_001, 810_500)
    with running(service):
        yield service


@pytest.fixture
def memberships() -> Iterator[Memberships]:
    with running(service := Memberships()):
        yield service


class Hub:
    """A hub whose site has an accounting service and file systems: what is below `site` on this machine."""

    def __init__(self, house: House, launch: DockerLaunch, tas: Tas) -> None:
        self.house, self._launch, self._tas = house, launch, tas
        self.site = house.layout.base / "site"
        self.site.mkdir(mode=0o755)
        self._closing: list[Any] = []

    def servers(self, **storage: Any) -> Servers:
        """The launcher's, as one that was just started has them."""
        own = {"owner": {"tas": {"url": self._tas.url, "account": "hub-role"}}, **storage}
        settings = {"hub": self.house.hub, "engine": "docker", "storage": own, "servers": {"memory": {"limit": "512M"}}}
        config = Config.model_validate(settings)
        directory = self.house.layout.launcher_dir
        owners, projects = owners_of(config, SECRETS, directory), projects_of(config, SECRETS)
        self._closing += [owners, *([projects] if projects else [])]
        return Servers(config, self._launch, directory / "servers", owners, projects)

    async def start(self, servers: Servers, user: str) -> Guest:
        request = self.house.request(user)
        record = await servers.start(request, self.house.said.append)
        return Guest(self.house, record, request.environment["JUPYTERHUB_API_TOKEN"])

    async def refused(self, servers: Servers, user: str) -> str:
        with pytest.raises(StartFailed) as told:
            await self.start(servers, user)
        return str(told.value)

    async def close(self) -> None:
        for one in self._closing:
            await one.close()


@pytest_asyncio.fixture
async def hub(house: House, launch: DockerLaunch, tas: Tas) -> AsyncIterator[Hub]:
    made = Hub(house, launch, tas)
    yield made
    await made.close()


async def test_files_have_the_owner_that_the_service_tells(hub: Hub) -> None:
    place = hub.site / "01234" / "ada"
    place.mkdir(parents=True)
    subprocess.run(["chown", "810001:810500", place], check=True)
    servers = hub.servers(mounts=[f"{hub.site}/{{tas_homeDirectory}}:/home/jupyter/tacc-work:rw"])
    guest = await hub.start(servers, "ada")
    code = "import getpass, grp, os; print(os.getuid(), os.getgid(), os.getgroups(), getpass.getuser(),"
    code += " grp.getgrgid(os.getgid()).gr_name); open('/home/jupyter/tacc-work/new', 'w').write('x'); open('own', 'w')"
    assert await guest.run(code) == "810001 810500 [810500] ada ada\n"
    for file in (place / "new", guest.home / "own", guest.home):
        assert (file.stat().st_uid, file.stat().st_gid) == (810_001, 810_500)
    assert hub.house.said[0] == "Looking up your account"
    # Nobody can read the password who may ask the engine, or look at processes and logs.
    described = str(guest.described()) + subprocess.run(["ps", "axeww"], capture_output=True, text=True).stdout
    assert "canary-tas" not in described
    assert "canary-tas" not in hub.house.log("ada")


async def test_with_the_service_away_who_is_known_starts_and_others_do_not(hub: Hub, tas: Tas) -> None:
    servers = hub.servers()
    first = await hub.start(servers, "ada")
    await first.run("open('kept', 'w').write('words')")
    await servers.stop("ada")
    tas.stop()
    again = hub.servers()
    second = await hub.start(again, "ada")
    assert await second.run("print(open('kept').read())") == "words\n"
    assert second.uid == 810_001
    await again.stop("ada")
    said = await hub.refused(again, "ben")
    assert said == "the accounting service cannot be asked now who you are; please try again in a few minutes"
    assert not (hub.house.layout.homes / "ben").exists()
    assert hub.house.left() == []


@pytest.mark.parametrize(("uid", "words"), [(0, "user id 0, which no user may have"), (810_777, "belong to 810001")])
async def test_an_id_that_must_not_be_starts_nothing(hub: Hub, tas: Tas, uid: int, words: str) -> None:
    servers = hub.servers()
    await hub.start(servers, "ada")
    await servers.stop("ada")
    tas.add("ada", uid, 810_500)
    assert words in await hub.refused(servers, "ada")
    assert hub.house.left() == []
    assert (hub.house.layout.homes / "ada").stat().st_uid == 810_001


async def test_a_home_of_another_owner_is_not_given_away(hub: Hub) -> None:
    home = hub.house.layout.homes / "ada"
    home.mkdir(mode=0o700)
    subprocess.run(["chown", "70000:70000", home], check=True)
    assert "belongs to user id 70000, not 810001" in await hub.refused(hub.servers(), "ada")
    assert home.stat().st_uid == 70_000


async def test_a_load_test_is_shown_nothing_of_the_site(hub: Hub, tas: Tas) -> None:
    (hub.site / "shared").mkdir()
    guest = await hub.start(hub.servers(mounts=[f"{hub.site}/shared:/shared:ro"]), "loadtest-1")
    assert tas.asked == []
    assert await guest.run("import os; print(os.path.exists('/shared'))") == "False\n"


async def test_projects_appear_for_who_belongs_to_them(hub: Hub, memberships: Memberships) -> None:
    for name in ("PRJ-1", "PRJ-2", "PRJ-3"):
        (hub.site / name).mkdir()
        (hub.site / name).chmod(0o777)
        (hub.site / name / "what").write_text(name)
    memberships.members["ada"] = [
        {"id": "PRJ-1", "title": "Shake table / 2026", "mode": "rw"},
        {"id": "PRJ-2", "title": "Waves", "mode": "ro"},
        {"id": "PRJ-3", "title": "Waves", "mode": "ro"},
        {"id": "PRJ-4", "title": "Gone", "mode": "rw"},
    ]
    servers = hub.servers(projects={"path": str(hub.site), "service": f"{memberships.url}/{{username}}"})
    guest = await hub.start(servers, "ada")
    look = "import os; print(sorted(os.listdir('projects')))"
    assert await guest.run(look) == "['Shake table 2026', 'Waves (PRJ-2)', 'Waves (PRJ-3)']\n"
    assert await guest.run("print(open('projects/Waves (PRJ-2)/what').read())") == "PRJ-2\n"
    assert await guest.run("open('projects/Shake table 2026/new', 'w').write('x')") == ""
    assert (hub.site / "PRJ-1" / "new").stat().st_uid == 810_001
    assert "Read-only file system" in await guest.run("open('projects/Waves (PRJ-2)/new', 'w')")
    assert "Permission denied" in await guest.run("open('projects/new', 'w')")
    left_out = [said for said in hub.house.said if said.startswith("Left out: ")]
    assert left_out == [
        f"Left out: Gone: {hub.site}/PRJ-4 is missing on this machine; an administrator has to create it"
    ]
    await servers.stop("ada")

    del memberships.members["ada"][1]
    guest = await hub.start(servers, "ada")
    assert await guest.run(look) == "['Shake table 2026', 'Waves']\n"
    await servers.stop("ada")
    assert list((hub.house.layout.homes / "ada" / "projects").iterdir()) == []

    memberships.stop()
    hub.house.said.clear()
    guest = await hub.start(servers, "ada")
    assert await guest.run(look) == "[]\n"
    assert "Left out: your projects, since the project service cannot be asked now" in " ".join(hub.house.said)


async def test_what_is_not_mounted_is_not_shown(hub: Hub) -> None:
    work = hub.site / "work"
    (work / "01234" / "ada").mkdir(parents=True)
    storage = {"mounts": [f"{work}/{{tas_homeDirectory}}:/work:rw"], "must_be_mounted": [str(work)]}
    servers = hub.servers(**storage)
    said = await hub.refused(servers, "ada")
    assert said == f"{work} is not mounted on this machine; an administrator has to mount it"
    assert hub.house.left() == []
    subprocess.run(["mount", "-t", "tmpfs", "none", work], check=True)
    try:
        place = work / "01234" / "ada"
        place.mkdir(parents=True)
        subprocess.run(["chown", "810001:810500", place], check=True)
        guest = await hub.start(servers, "ada")
        assert await guest.run("open('/work/new', 'w').write('x')") == ""
        assert Path(place / "new").stat().st_uid == 810_001
        await servers.stop("ada")
    finally:
        subprocess.run(["umount", work], check=True)

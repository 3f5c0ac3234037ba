"""Files and processes have the owner that the site's accounting service tells, from `up` to a cell."""

from __future__ import annotations

import secrets
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import CommandLines, RunningHub, expect_failure

import needs
from services import Memberships, Tas, running

pytestmark = [needs.root()]
TOLD = f"canary-{secrets.token_hex(8)}"
SETTINGS = """
storage:
  owner: {{tas: {{url: "{tas}", account: hub-role}}}}
  mounts: ["{place}/{{tas_homeDirectory}}:/srv/work:rw"]
  projects: {{path: "{place}/projects", service: "{service}/{{username}}"}}
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """File systems of the site, as this machine has them."""
    folder = Path(f"/var/lib/hubfleet-test-site-{secrets.token_hex(3)}")
    (folder / "01234" / "ada").mkdir(parents=True)
    subprocess.run(["chown", "810001:810500", folder / "01234" / "ada"], check=True)
    (folder / "projects" / "PRJ-1").mkdir(parents=True)
    (folder / "projects" / "PRJ-1").chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def tas() -> Iterator[Tas]:
    service = Tas(password=f"{TOLD}-tas")
    service.add("ada", 810_001, 810_500)
    service.add("root2", 0, 0)
    with running(service):
        yield service


@pytest.fixture(scope="module")
def memberships() -> Iterator[Memberships]:
    service = Memberships(token=f"{TOLD}-projects")
    service.members["ada"] = [{"id": "PRJ-1", "title": "Shake table", "mode": "rw"}, {"id": "PRJ-2", "title": "Gone"}]
    with running(service):
        yield service


@pytest.fixture(scope="module")
def hub(new_hub: Callable[[str], RunningHub], place: Path, tas: Tas, memberships: Memberships) -> RunningHub:
    made = new_hub(SETTINGS.format(tas=tas.url, place=place, service=memberships.url))
    file = made.folder / "hubfleet.secrets.yaml"
    before = file.read_text() if file.exists() else ""
    file.write_text(f"{before}owner_password: {TOLD}-tas\nprojects_token: {TOLD}-projects\n")
    file.chmod(0o600)
    with CommandLines() as watch:
        made.told = made.up()
    made.seen = watch.seen
    return made


def test_an_owner_projects_and_what_is_missing(hub: RunningHub, place: Path, tas: Tas) -> None:
    ada = hub.person("ada")
    assert ada.start()[-1]["ready"]
    left_out = f"Left out: Gone: {place}/projects/PRJ-2 is missing on this machine"
    # It is told beside the running server too, for who did not see it pass by.
    assert left_out in ada.session.get(f"{hub.url}/hub/home").text
    code = """
import getpass, os
print(os.getuid(), os.getgid(), getpass.getuser(), sorted(os.listdir(os.path.expanduser("~/projects"))))
for file in ("/srv/work/new", os.path.expanduser("~/own"), os.path.expanduser("~/projects/Shake table/new")):
    open(file, "w").write("x")
try:
    open(os.path.expanduser("~/projects/new"), "w")
except OSError as error:
    print(error.strerror)
"""
    kernel = ada.kernel()
    assert kernel.run(code) == "810001 810500 ada ['Shake table']\nPermission denied\n"
    for file in (place / "01234/ada/new", hub.homes / "ada/own", place / "projects/PRJ-1/new", hub.homes / "ada"):
        assert (file.stat().st_uid, file.stat().st_gid) == (810_001, 810_500), file
    kernel.close()
    ada.stop()
    assert list((hub.homes / "ada" / "projects").iterdir()) == []

    tas.stop()
    assert ada.start()[-1]["ready"], "what is known holds"
    ada.stop()
    assert "user id 810001 is used, as known for" in (hub.logs / "launcher.log").read_text()
    eve = hub.person("eve")
    assert (
        "the accounting service cannot be asked now who you are; please try again in a few minutes"
        in expect_failure(eve)
    )
    tas.start()
    assert "the accounting service has no account for eve" in expect_failure(eve)
    assert "user id 0, which no user may have" in expect_failure(hub.person("root2"))


def test_the_services_secrets_are_nowhere_else(hub: RunningHub) -> None:
    assert TOLD not in hub.told
    assert not any(TOLD in line for line in hub.seen)
    kept = hub.state / "launcher" / "launcher-secrets.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    holding = subprocess.run(["grep", "-rl", TOLD, hub.state], capture_output=True, text=True).stdout.split()
    assert holding == [str(kept)]
    assert hub.changes() == []

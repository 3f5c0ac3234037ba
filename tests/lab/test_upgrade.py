"""A release whose JupyterHub has another form of database takes over while a kernel runs, and is taken back.

The later JupyterHub is this one with one more step for Alembic; this one is as published, and cannot read what that has
made. One machine for all, and the tests build on each other.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Kernel, Person
from hubs_there import HubThere
from machines import Lab
from stock import stocked

import hubfleet
import needs
from hubfleet.errors import ApplyError

pytestmark = needs.machines()

LATER = "fedcba987654"
_STEP = f'''"""One more column."""
import sqlalchemy
from alembic import op
revision, down_revision, branch_labels, depends_on = "{LATER}", "KNOWN", None, None
def upgrade():
    op.add_column("users", sqlalchemy.Column("later", sqlalchemy.Unicode(9), server_default="new"))
'''
RELEASE = f"""
import shutil, tempfile
import sqlalchemy
from alembic.script import ScriptDirectory
from jupyterhub import orm
_known = ScriptDirectory(dbutil.ALEMBIC_DIR).get_current_head()
_place = tempfile.mkdtemp()
shutil.copytree(dbutil.ALEMBIC_DIR, _place, dirs_exist_ok=True)
Path(_place, "versions", "{LATER}.py").write_text({_STEP!r}.replace("KNOWN", _known))
dbutil.ALEMBIC_DIR = _place
orm.User.later = sqlalchemy.Column(sqlalchemy.Unicode(9), server_default="new")
"""
BREAKS = """
_done = upgrade
def upgrade(path):
    _done(path)
    if "_try" not in str(path):
        raise SystemExit("no room for the new column")
"""
"""Once it has changed the database; only where it serves, as nothing breaks in a trial that is to tell of it."""


class Site(HubThere):
    """The hub, and what is in its database."""

    def form(self) -> str:
        return str(self._ask("SELECT version_num FROM alembic_version")[0][0])

    def people(self) -> set[str]:
        return {name for (name,) in self._ask("SELECT name FROM users")}

    def _ask(self, question: str) -> list[list[str]]:
        asked = f"sqlite3.connect('{self.state}/hub/jupyterhub.sqlite').execute('{question}').fetchall()"
        code = f"import json, sqlite3; print(json.dumps({asked}))"
        found: list[list[str]] = json.loads(self.machine.run("python3", "-c", code))
        return found

    def copies(self) -> list[str]:
        """What there is of databases, but for sound copies, with modes."""
        look = f"find {self.state} -name '*jupyterhub.sqlite*' -not -name '*.good-*' -printf '%P %m\\n'"
        return sorted(line for line in self.machine.run(look).splitlines() if not line.startswith("generations/"))


@pytest.fixture(scope="module")
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Site:
    made = Site(stocked(lab), tmp_path_factory.mktemp("site"))
    made.write()
    made.up()
    return made


@pytest.fixture(scope="module")
def first(site: Site) -> str:
    """The form of the database that this JupyterHub makes."""
    return site.form()


@pytest.fixture(scope="module")
def ada(site: Site) -> Person:
    return site.person("ada")


@pytest.fixture(scope="module")
def kernel(ada: Person) -> Iterator[Kernel]:
    assert ada.start()[-1].get("ready")
    made = ada.kernel()
    made.run("kept = 42")
    yield made
    made.close()


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The command line is of a release with a later JupyterHub; the file that its hub upgrades by."""
    shutil.copytree(Path(hubfleet.__file__).parent, tmp_path / "hubfleet")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made = tmp_path / "hubfleet" / "hub" / "upgrade.py"
    with made.open("a") as code:
        code.write(RELEASE)
    return made


def alive(kernel: Kernel) -> bool:
    kernel.connect()
    return kernel.run("print(kept)").strip() == "42"


def test_a_hub_that_breaks_after_it_changed_the_database_leaves_the_earlier_one_with_its_own(
    site: Site, first: str, ada: Person, kernel: Kernel, later: Path
) -> None:
    with later.open("a") as code:
        code.write(BREAKS)
    before = site.machine.docker("inspect", "--format", "{{.Id}}", "hubfleet-lab-hub")
    done = site.run("up", "--yes", check=False, timeout=1200)
    said = done.stdout + done.stderr
    assert done.returncode == ApplyError.exit_code, said
    assert "no room for the new column" in said
    assert "putting the database of before back" in said
    assert "The earlier one serves again" in " ".join(said.split())
    assert site.machine.docker("inspect", "--format", "{{.Id}}", "hubfleet-lab-hub") == before
    assert site.form() == first
    assert "ada" in site.people()
    assert ada.log_in().status_code == 302
    assert alive(kernel)
    assert [line for line in site.copies() if "-wal" not in line and "-shm" not in line] == [
        "hub/jupyterhub.sqlite 600",
        "secrets/jupyterhub.sqlite.before.replaced 600",
    ]
    bob = site.person("bob")
    assert bob.start()[-1].get("ready")
    bob.stop()


def test_a_release_with_another_form_of_database_takes_over(
    site: Site, first: str, ada: Person, kernel: Kernel, later: Path
) -> None:
    told = site.run("up", "--yes", timeout=1200).stdout
    assert "the test user: the notebook ran, and is saved" in told, "with a copy that was changed too"
    assert site.form() == LATER != first
    assert {"ada", "bob"} <= site.people()
    assert alive(kernel)
    assert [entry["user"] for entry in site.status()["servers"]] == ["ada"]
    ada.log_in()
    assert site.person("eve").start()[-1].get("ready")
    assert [line for line in site.copies() if "-wal" not in line and "-shm" not in line] == [
        "hub/jupyterhub.sqlite 600",
        "secrets/jupyterhub.sqlite.before.replaced 600",
    ]
    assert "nothing to change" in site.run("plan").stdout


def test_the_release_of_before_cannot_read_it_and_says_how_to_go_back(site: Site, kernel: Kernel) -> None:
    done = site.run("up", "--yes", check=False, timeout=1200)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == ApplyError.exit_code, said
    assert f"in a form ({LATER}) that this one cannot read" in said
    assert "hubfleet rollback --list" in said
    assert site.form() == LATER
    assert alive(kernel)


def test_it_is_taken_back_with_its_database(site: Site, first: str, ada: Person, kernel: Kernel) -> None:
    said = site.run("rollback", "1", "--yes", timeout=600).stdout
    assert "1 server started after that will be stopped: eve" in said
    assert site.form() == first
    assert {"ada", "bob"} <= site.people()
    assert "eve" not in site.people()
    assert ada.log_in().status_code == 302
    assert alive(kernel)
    assert site.status()["state"] == "running"

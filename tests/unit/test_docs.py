"""What the documentation says is checked where a program can check it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import hubfleet
from hubfleet.config import Config, default_config, load
from hubfleet.config.document import read_document
from hubfleet.config.login import Login
from hubfleet.config.machines import MachineSettings
from hubfleet.config.storage import Storage
from hubfleet.engines import engine
from hubfleet.engines.base import TOKENS, Site
from hubfleet.layout import Layout
from hubfleet.link import Link
from hubfleet.projects import DEFAULT
from hubfleet.projects.load import load_project, named
from hubfleet.resources import Directory, File, Resource

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted([REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *(REPOSITORY / "docs").rglob("*.md")])


def _name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"(?<!!)\[[^\]]*\]\(([^)]+)\)", page.read_text()):
        assert "://" not in link, "an address outside the project cannot be checked"
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_configurations_are_valid(page: Path, tmp_path: Path) -> None:
    for number, text in enumerate(re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)):
        file = tmp_path / f"{number}.yaml"
        (tmp_path / "people.txt").write_text("ada\n")
        file.write_text(text)
        if named(read_document(file)) != DEFAULT:
            _write_builds(tmp_path, read_document(file).data)
            load_project(file)
            continue
        for hub in read_document(file).data.get("hubs") or [None]:
            load(file, hub)


def _write_builds(folder: Path, data: dict[str, Any]) -> None:
    """What the images of services are built of."""
    for place in (one["build"] for one in data["services"].values() if "build" in one):
        (folder / place).mkdir(exist_ok=True)
        (folder / place / "Dockerfile").touch()


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [REPOSITORY / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        links = re.findall(r"(?<!!)\[[^\]]*\]\(([^)#]+)[^)]*\)", page.read_text())
        waiting += [(page.parent / link).resolve() for link in links]
    assert [_name(page) for page in PAGES if page not in reached] == []


@pytest.mark.parametrize(
    ("name", "heading"), [("local", "## What `up` makes\n"), ("docker", "## What `up` makes with engine docker\n")]
)
def test_the_page_of_files_says_what_is_made(name: str, heading: str) -> None:
    assert _told(heading) == _made(engine(name).desired(*_given(name)))


def test_the_page_of_files_says_what_an_edge_of_its_own_has() -> None:
    config, site = _given("docker")
    roles: tuple[tuple[str, list[str]], ...] = (("hub1", ["hub"]), ("front", ["edge"]))
    machines = {name: MachineSettings.model_validate({"ssh": name, "roles": found}) for name, found in roles}
    apart, alone = config.model_copy(update={"machines": machines}), _made(engine("docker").desired(config, site))
    here = _made(engine("docker").desired(apart, site))
    (front,) = engine("docker").desired_elsewhere(apart, site).values()
    more = {path: how for path, how in here.items() if path not in alone}
    assert _told("## With the edge on a machine of its own\n") == {**more, **_made(front)}
    assert {Path(path).parts[5] for path in alone if path not in here} == {"edge", "run"}


Access = tuple[str, str, int]


def _made(resources: tuple[Resource, ...]) -> dict[str, Access]:
    return {item.path: (item.owner, item.group, item.mode) for item in resources if isinstance(item, (Directory, File))}


def _told(heading: str) -> dict[str, Access]:
    """What the page of files says below a heading, by path."""
    text = (REPOSITORY / "docs/reference/files.md").read_text()
    table = text.partition(heading)[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(/[^`]*)` \| (\S+):(\S+) \| (\d+) \|", table, re.MULTILINE)
    accounts = {name: f"hub{name}-physics101" for name in ("proxy", "edge")}
    accounts |= {"hub": "hubfleet-physics101", "root": "root"}
    return {path: (accounts[owner], accounts[group], int(mode, 8)) for path, owner, group, mode in rows}


def _given(name: str) -> tuple[Config, Site]:
    # With all that there can be.
    asked = {"path": "/corral", "service": "https://projects.example.edu"}
    storage = Storage.model_validate({"owner": {"command": "/root/owner-of.py"}, "projects": asked})
    login = Login.model_validate({"github": {"client_id": "a"}, "allow": {"everybody": True}})
    config = default_config("physics101").model_copy(update={"storage": storage, "login": login})
    if name == "docker":
        config = config.model_copy(update={"engine": name, "https": "self-signed"})
    site = Site(
        layout=Layout("physics101", Path("/var/lib/hubfleet"), privileged=True),
        account="root",
        python="/usr/bin/python3",
        python_version="3.11",
        interpreter=Path("/usr"),
        package=Path(hubfleet.__file__).parent,
        package_digest="",
        singleuser_digest="",
        supervision="systemd",
        limits_problem=None,
        tokens=dict.fromkeys(TOKENS, ""),
        passwords={},
        requirements="",
        link=Link("", "", "", ""),
        hub_address="10.0.0.10",
        service_secrets={"projects_token": ""},
    )
    return config, site

"""The projects that somebody belongs to: names for them, groups, and a service over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubfleet.config import Config, Mount
from hubfleet.launcher.projects import Found, Membership, Projects, named
from services import Memberships, running

FOLDER = "/home/ada/projects"
IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,6}", fullmatch=True)
TITLES = (
    st.text(max_size=8)
    | st.sampled_from(["Waves", "waves", "Waves (PRJ-1)", "..", "", "a/b", "a:b", "ä" * 200, "\U0001d49c" * 90])
    | IDS
)


@pytest.fixture
def service() -> Iterator[Memberships]:
    with running(made := Memberships()):
        yield made


def config(service: Memberships | None = None, **groups: Any) -> Config:
    asked = {"service": f"{service.url}/{{username}}"} if service else {}
    return Config.model_validate({"hub": "h", "storage": {"projects": {"path": "/corral", **asked}}, "groups": groups})


async def of(config: Config, user: str = "ada", token: str = "canary-projects", limit: float = 5.0) -> Found:
    projects = Projects(config, token, limit)
    try:
        return await projects.of(user, FOLDER)
    finally:
        await projects.close()


@given(st.lists(st.builds(Membership, IDS, TITLES, st.sampled_from(["ro", "rw"])), max_size=6))
def test_each_project_has_a_name_of_its_own(members: list[Membership]) -> None:
    found = named(members)
    assert {one.id for one in found.values()} == {one.id for one in members}
    assert len(found) == len({one.id for one in members})
    for name in found:
        assert name == name.strip() != ""
        assert not name.startswith(".")
        assert not set(name) & set("/:{}\\\0\n")
        assert len(name.encode()) <= 255


def test_names_that_people_can_read() -> None:
    members = [
        Membership("PRJ-1", "Shake table / 2026", "rw"),
        Membership("PRJ-2", "Waves", "ro"),
        Membership("PRJ-3", "waves", "ro"),
        Membership("PRJ-4", "", "ro"),
        Membership("PRJ-5", "PRJ-4", "ro"),
        Membership("PRJ-6", "Brücke & Öl", "ro"),
        Membership("PRJ-2", "Waves", "rw"),
    ]
    long = named([Membership("a" * 128, "ä" * 200, "ro"), Membership("b" * 128, "ä" * 201, "ro")])
    assert max(len(name.encode()) for name in long) <= 255
    assert {name: (one.id, one.mode) for name, one in named(members).items()} == {
        "Shake table 2026": ("PRJ-1", "rw"),
        "Waves (PRJ-2)": ("PRJ-2", "rw"),
        "waves (PRJ-3)": ("PRJ-3", "ro"),
        "PRJ-4 (PRJ-4)": ("PRJ-4", "ro"),
        "PRJ-4 (PRJ-5)": ("PRJ-5", "ro"),
        "Brücke & Öl": ("PRJ-6", "ro"),
    }


async def test_projects_of_groups() -> None:
    groups = {
        "waves": {"members": ["ada"], "project": {"title": "Deep waves"}},
        "quakes": {"members": ["ada"], "project": {"id": "PRJ-7", "mode": "ro"}},
        "others": {"members": ["ben"], "project": {}},
        "staff": {"members": ["ada"]},
    }
    assert (await of(config(**groups))).mounts == (
        Mount("/corral/waves", f"{FOLDER}/Deep waves", "rw"),
        Mount("/corral/PRJ-7", f"{FOLDER}/PRJ-7", "ro"),
    )


async def test_projects_of_a_service(service: Memberships) -> None:
    service.members["ada"] = [{"id": "PRJ-1", "title": "Waves", "mode": "rw"}, {"id": "PRJ-2"}]
    groups = {"quakes": {"members": ["ada"], "project": {}}}
    found = await of(config(service, **groups))
    assert found == Found(
        (
            Mount("/corral/quakes", f"{FOLDER}/quakes", "rw"),
            Mount("/corral/PRJ-1", f"{FOLDER}/Waves", "rw"),
            Mount("/corral/PRJ-2", f"{FOLDER}/PRJ-2", "ro"),
        )
    )
    assert await of(config(service), "eve") == Found(())
    await of(config(service), "../ada")
    assert service.asked[-1] == "/api/members/..%2Fada"


@pytest.mark.parametrize(
    "instead",
    [
        (500, {}, b"{}"),
        (200, {}, b"<html>"),
        (200, {}, b'{"projects": null}'),
        (200, {}, b'{"projects": ["PRJ-1"]}'),
        (200, {}, b'[{"id": "../x", "mode": "rw"}]'),
        (200, {}, b'[{"id": "."}]'),
        (200, {}, b'[{"id": 5}]'),
        (200, {}, b"[" + b",".join([b'{"id": "a"}'] * 201) + b"]"),
        (302, {"Location": "/"}, b""),
    ],
)
async def test_without_an_answer_the_start_goes_on(
    service: Memberships, instead: tuple[int, dict[str, str], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    service.instead = instead
    groups = {"quakes": {"members": ["ada"], "project": {}}}
    found = await of(config(service, **groups))
    assert [mount.host for mount in found.mounts] == ["/corral/quakes"]
    assert "the project service cannot be asked now" in found.problem
    assert "ada: projects are left out" in caplog.text


async def test_a_service_that_is_away_or_slow(service: Memberships) -> None:
    service.hold.clear()
    assert "cannot be asked now" in (await of(config(service), limit=0.3)).problem
    service.stop()
    assert "cannot be asked now" in (await of(config(service))).problem


async def test_a_wrong_token_is_told_in_the_log_only(service: Memberships, caplog: pytest.LogCaptureFixture) -> None:
    found = await of(config(service), token="canary-wrong")
    assert "projects_token" not in found.problem
    assert "does not accept the token (projects_token)" in caplog.text
    assert "canary" not in caplog.text

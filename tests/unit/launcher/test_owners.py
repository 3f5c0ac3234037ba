"""Who owns a user's files, asked of an accounting service over real HTTP."""

from __future__ import annotations

import json
import logging
import stat
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from hubfleet.config.owner import Owner, OwnerOptions
from hubfleet.launcher.base import StartFailed
from hubfleet.launcher.ownercommand import CommandSource
from hubfleet.launcher.owners import Owners
from hubfleet.launcher.tas import TasSource
from services import Tas, running

DAY_S = 24 * 3600


@pytest.fixture
def tas() -> Iterator[Tas]:
    service = Tas()
    service.add("ada", 810_001, 810_500, "01234/ada")
    with running(service):
        yield service


class Site:
    """The launcher's side. ``notes``: what it remembers."""

    def __init__(self, tas: Tas, notes: Path) -> None:
        self.tas, self.notes = tas, notes
        self._made: list[Owners] = []

    def owners(self, password: str = "canary-tas", limit: float = 10.0, **options: Any) -> Owners:
        """As a launcher that was just started has them."""
        given = OwnerOptions.model_validate({"tas": {"url": self.tas.url, "account": "hub-role"}, **options})
        assert given.tas is not None
        made = Owners(given, TasSource(given.tas.url, given.tas.account, password, limit), self.notes)
        self._made.append(made)
        return made

    def age(self, seconds: float) -> None:
        """Have what is known be older."""
        told = json.loads(self.notes.read_text())
        for known in told.values():
            known["seen"] -= seconds
        self.notes.write_text(json.dumps(told))

    async def close(self) -> None:
        for made in self._made:
            await made.close()


@pytest_asyncio.fixture
async def site(tas: Tas, tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tas, tmp_path / "owners.json")
    yield made
    await made.close()


async def refused(owners: Owners, user: str) -> str:
    with pytest.raises(StartFailed) as told:
        await owners.of(user)
    return str(told.value)


async def test_what_the_service_says(site: Site) -> None:
    assert await site.owners().of("ada") == Owner(810_001, 810_500, "01234/ada")
    assert site.tas.asked == ["/api/v1/users/username/ada"]


async def test_numbers_may_be_text_and_the_group_may_be_missing(site: Site) -> None:
    site.tas.add("ben", "810002")
    assert await site.owners().of("ben") == Owner(810_002, 810_002, "01234/ben")


async def test_one_group_for_all(site: Site) -> None:
    assert await site.owners(gid=5000).of("ada") == Owner(810_001, 5000, "01234/ada")


async def test_a_name_cannot_lead_to_another_address(site: Site) -> None:
    await refused(site.owners(), "../ada?x=1#")
    assert site.tas.asked == ["/api/v1/users/username/..%2Fada%3Fx%3D1%23"]


async def test_nobody_without_an_account(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    said = await refused(site.owners(), "eve")
    assert said == "the accounting service has no account for eve; an administrator has to look at it"
    assert "No user found for username eve" in caplog.text


async def test_an_account_that_was_closed_is_not_remembered(site: Site) -> None:
    owners = site.owners()
    await owners.of("ada")
    del site.tas.users["ada"]
    assert "has no account" in await refused(owners, "ada")


@pytest.mark.parametrize("uid", [0, 1, 999, -1, "0", 65_534, 2**31, 2**40])
async def test_ids_that_no_user_may_have(site: Site, uid: Any) -> None:
    site.tas.add("ada", uid, 5000)
    assert "an administrator has to look at it" in await refused(site.owners(), "ada")
    site.tas.add("ada", 5000, uid)
    assert "group id" in await refused(site.owners(), "ada")
    assert not site.notes.exists()


@pytest.mark.parametrize("uid", [None, "", "root", "81e3", 1.5, True, [5000], {"uid": 5000}, "٣٤٥٦"])
async def test_what_is_no_id(site: Site, uid: Any) -> None:
    site.tas.add("ada", uid, 5000)
    assert "has no user id for ada" in await refused(site.owners(), "ada")


async def test_the_minimum_is_the_sites(site: Site) -> None:
    site.tas.add("ada", 700, 700)
    assert "user id 700, which no user may have" in await refused(site.owners(), "ada")
    assert await site.owners(minimum=500).of("ada") == Owner(700, 700, "01234/ada")


async def test_a_known_users_id_does_not_change(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    await site.owners().of("ada")
    site.tas.add("ada", 810_777, 810_500)
    said = await refused(site.owners(), "ada")
    assert said.startswith("the accounting service says that your user id is 810777, and your files belong to 810001;")
    assert f"take them out of {site.notes}" in caplog.text
    site.tas.add("ada", 810_001, 810_600)  # a group may
    assert await site.owners().of("ada") == Owner(810_001, 810_600, "01234/ada")


async def test_nobody_gets_the_id_of_somebody_else(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    await site.owners().of("ada")
    site.tas.add("eve", 810_001)
    assert "the user id of somebody else" in await refused(site.owners(), "eve")
    assert "which is ada's" in caplog.text


async def test_while_the_service_is_away_what_is_known_holds(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    await site.owners().of("ada")
    site.tas.stop()
    site.age(3 * DAY_S)
    caplog.set_level(logging.WARNING)
    assert await site.owners().of("ada") == Owner(810_001, 810_500, "01234/ada")
    assert "ada: user id 810001 is used, as known for 3d" in caplog.text
    assert "not reached" in caplog.text
    said = await refused(site.owners(), "ben")
    assert said == "the accounting service cannot be asked now who you are; please try again in a few minutes"
    site.tas.start()
    site.tas.add("ben", 810_002)
    assert (await site.owners().of("ben")) == Owner(810_002, 810_002, "01234/ben")


async def test_what_is_known_gets_too_old(site: Site) -> None:
    await site.owners().of("ada")
    site.tas.stop()
    site.age(8 * DAY_S)
    assert "has been away for too long" in await refused(site.owners(), "ada")
    assert (await site.owners(remember="30d").of("ada")) is not None


async def test_a_minimum_that_was_raised_counts_for_what_is_known(site: Site) -> None:
    await site.owners().of("ada")
    site.tas.stop()
    assert "which no user may have" in await refused(site.owners(minimum=900_000), "ada")


@pytest.mark.parametrize(
    "instead",
    [
        (500, {}, b'{"status": "error", "message": "oops", "result": null}'),
        (503, {}, b"<html>maintenance</html>"),
        (200, {"Content-Type": "text/html"}, b"<html>maintenance</html>"),
        (200, {}, b""),
        (200, {}, b"[]"),
        (200, {}, b'{"uid": 5000, "gid": 5000}'),
        (200, {}, b'{"status": "success", "message": null, "result": null}'),
        (200, {}, b'{"status": "success", "message": null, "result": [{"uid": 5000}]}'),
        (200, {}, b'{"status": "success", "result": {"username": "ben", "uid": 5000, "gid": 5000}}'),
        (200, {}, b"[" * 100_000),
        (200, {}, b'{"status": "success", "result": {"uid": 5000, "gid": 5000}}' + b" " * (2 << 20)),
        (200, {"Content-Length": "100"}, b"{"),
        (302, {"Location": "/api/v1/users/username/ada"}, b""),
    ],
)
async def test_an_answer_that_is_none(site: Site, instead: tuple[int, dict[str, str], bytes]) -> None:
    site.tas.instead = instead
    assert "cannot be asked now who you are" in await refused(site.owners(limit=2), "ada")
    site.tas.instead = None
    await site.owners().of("ada")
    site.tas.instead = instead
    assert await site.owners(limit=2).of("ada") == Owner(810_001, 810_500, "01234/ada")


async def test_a_redirection_is_not_followed(site: Site) -> None:
    with running(other := Tas()):
        site.tas.instead = (302, {"Location": f"{other.url}/users/username/ada"}, b"")
        await refused(site.owners(), "ada")
        assert other.asked == []


async def test_a_wrong_password(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    said = await refused(site.owners("canary-wrong"), "ada")
    assert said == "the accounting service cannot be asked now who you are; an administrator has to look at it"
    assert "does not accept the role account" in caplog.text
    await site.owners().of("ada")
    assert await site.owners("canary-wrong").of("ada") is not None, "who is known may go on"
    assert "canary" not in caplog.text


async def test_a_slow_service_is_not_waited_for_again_and_again(site: Site) -> None:
    await site.owners().of("ada")
    site.tas.hold.clear()
    owners = site.owners(limit=0.5)
    begun = time.monotonic()
    assert await owners.of("ada") == Owner(810_001, 810_500, "01234/ada")
    assert 0.4 < time.monotonic() - begun < 5
    count = len(site.tas.asked)
    assert await owners.of("ada") == Owner(810_001, 810_500, "01234/ada")
    assert len(site.tas.asked) == count
    assert "please try again" in await refused(owners, "ben")
    assert len(site.tas.asked) == count + 1, "who is not known has to be asked for"


async def test_what_is_known_is_for_root_only(site: Site) -> None:
    await site.owners().of("ada")
    assert stat.S_IMODE(site.notes.stat().st_mode) == 0o600
    assert "canary" not in site.notes.read_text()


async def test_what_is_known_is_not_written_at_each_start(site: Site) -> None:
    owners = site.owners()
    await owners.of("ada")
    written = site.notes.stat().st_ino
    await owners.of("ada")
    assert site.notes.stat().st_ino == written


async def test_a_damaged_memory_is_told(site: Site) -> None:
    site.notes.write_text('{"ada": {"uid": 5}}')
    with pytest.raises(ValueError, match=r"owners\.json is damaged"):
        site.owners()


@pytest.mark.parametrize("home", ["", "/", ".", "..", "a/../b", "a//b", "a:b", "{hub}", "a\nb", 5, None, ["a"]])
async def test_a_home_that_is_none(site: Site, home: Any) -> None:
    site.tas.users["ada"]["homeDirectory"] = home
    assert await site.owners().of("ada") == Owner(810_001, 810_500, None)


async def test_without_a_service_nobody_is_asked(tmp_path: Path) -> None:
    notes = tmp_path / "owners.json"
    assert await Owners(OwnerOptions(uid=1000, gid=2000), None, notes).of("ada") == Owner(1000, 2000)
    assert await Owners(OwnerOptions(uid=1000), None, notes).of("ada") == Owner(1000, 1000)
    assert await Owners(OwnerOptions(), None, notes).of("ada") is None


PROGRAM = """#!/bin/sh
read -r secret
case $1 in
ada) echo 810001 810500 01234/ada;;
ben) echo 810002;;
slow) sleep 60 & wait;;
odd) echo 1 2 3 4;;
broken) exit 2;;
secret) [ "$secret" = canary-command ] && echo 810003;;
*) exit 1;;
esac
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "owner-command"
    file.write_text(PROGRAM)
    file.chmod(0o755)
    return file


async def test_a_program_knows(program: Path, tmp_path: Path) -> None:
    options = OwnerOptions(command=program)
    owners = Owners(options, CommandSource(program, "canary-command\n", 1.0), tmp_path / "owners.json")
    assert await owners.of("ada") == Owner(810_001, 810_500, "01234/ada")
    assert await owners.of("ben") == Owner(810_002, 810_002)
    assert await owners.of("secret") == Owner(810_003, 810_003)
    assert "has no account for eve" in await refused(owners, "eve")
    assert "has no account" in await refused(owners, "-rf")
    begun = time.monotonic()
    assert "cannot be asked now who you are" in await refused(owners, "slow")
    assert time.monotonic() - begun < 10
    for user in ("odd", "broken"):
        assert "cannot be asked now who you are" in await refused(owners, user)


async def test_a_program_that_does_not_start(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    owners = Owners(OwnerOptions(command=missing), CommandSource(missing, ""), tmp_path / "owners.json")
    assert "an administrator has to look at it" in await refused(owners, "ada")

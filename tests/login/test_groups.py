"""What people get for the groups they are in: by the file, by their provider, and by the hub's admins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import RunningHub, await_that
from places import Place
from visitors import Visitor, callback

import needs
from providers import OpenId, running

pytestmark = needs.root()

PARTS = """\
  allow: {everybody: true}
  admins: [profx]
  recheck: 1s
storage: {mounts: []}
servers:
  environment: {COURSE: all}
  profiles:
    usual: {title: Usual, default: true}
    large: {title: Large memory, groups: [physics]}
groups:
  physics: {members: [ta1], provider: [Physics 101], servers: {stop_after_idle: 20m, environment: {COURSE: physics}}}
  lab: {hub: true, servers: {environment: {LAB: "yes"}}, storage: {mounts: ["SHARED:/srv/shared:ro"]}}
  quiet: {members: [], servers: {environment: {COURSE: quiet}}}
"""


@pytest.fixture(scope="module")
def grouped(one_hub: RunningHub, base: Path) -> Iterator[Place]:
    shared = base / "shared"
    shared.mkdir()
    (shared / "data.txt").write_text("of the lab")
    with running(OpenId()) as provider:
        hub = one_hub
        client, secret = provider.register(callback(hub))
        place = Place(hub, provider, client, secret)
        place.set(PARTS.replace("SHARED", str(shared)))
        hub.up()
        yield place


@pytest.fixture
def place(grouped: Place, hub_logs: list[Path]) -> Place:
    hub_logs.append(grouped.hub.logs)
    grouped.hub.await_answer()
    return grouped


def entered(place: Place, name: str, *groups: str) -> Visitor:
    place.provider.add(f"s-{name}", preferred_username=name, groups=list(groups))
    somebody = place.visitor(name)
    assert somebody.enter(place.provider, f"s-{name}").status_code == 302
    return somebody


def seen(person: Visitor, profile: str = "usual") -> str:
    """What a server of this person's shows of the groups."""
    assert person.start({"profile": profile})[-1].get("ready")
    kernel = person.kernel()
    shown = kernel.run(
        "import os; print(os.environ['COURSE'], os.environ.get('LAB'), os.path.exists('/srv/shared/data.txt'))"
    )
    kernel.close()
    person.stop()
    return shown.strip()


def offered(place: Place, person: Visitor) -> str:
    return person.session.get(f"{place.hub.url}/hub/spawn", timeout=30).text


def explained(place: Place, name: str) -> dict[str, tuple[str, str]]:
    rows = json.loads(place.hub.run("explain", name, "--json").stdout)["settings"]
    return {row["setting"]: (row["value"], row["source"]) for row in rows}


def test_a_group_of_the_provider_counts_where_the_file_says_so(place: Place) -> None:
    una, uwe = entered(place, "una", "physics 101", "quiet", "lab"), entered(place, "uwe", "physics")
    assert "Large memory" in offered(place, una)
    assert "Large memory" not in offered(place, uwe)
    assert seen(una, "large") == "physics None False"
    assert seen(uwe) == "all None False"
    refused = uwe.api("POST", "/users/uwe/server", json={"profile": "large"})
    assert refused.status_code == 400, refused.text
    found = explained(place, "una")
    assert found["in groups.physics"] == ("yes, by the provider", "hubfleet.yaml:15")
    assert found["servers.stop_after_idle"] == ("20m", "hubfleet.yaml:15 (groups.physics)")
    assert "in groups.physics" not in explained(place, "uwe")
    assert explained(place, "ta1")["in groups.physics"][0] == "yes"

    place.provider.add("s-una", preferred_username="una", groups=[])
    await_that("she has left it", lambda: una.inside and "in groups.physics" not in explained(place, "una"))
    assert seen(una) == "all None False"


def test_a_group_of_the_hub_is_kept_by_its_admins(place: Place) -> None:
    ulf, profx = entered(place, "ulf"), entered(place, "profx")
    assert seen(ulf) == "all None False"
    for group in ("lab", "physics", "quiet"):
        made = profx.api("POST", f"/groups/{group}", json={"roles": ["operator", "admin"]})
        assert (made.status_code, made.json()["roles"]) == (201, [])
        profx.api("POST", f"/groups/{group}/users", json={"users": ["ulf"]}).raise_for_status()
    # Of these the file listens to one.
    assert seen(ulf) == "all yes True"
    assert explained(place, "ulf")["in groups.lab"] == ("yes, by the hub's admins", "hubfleet.yaml:16")
    assert ulf.api("POST", "/groups/mine").status_code == 403
    assert ulf.api("POST", "/groups/lab/users", json={"users": ["ulf"]}).status_code == 403
    answer = profx.api("DELETE", "/groups/lab/users", json={"users": ["ulf"]})
    answer.raise_for_status()
    assert seen(ulf) == "all None False"

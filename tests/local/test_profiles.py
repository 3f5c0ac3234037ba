"""Groups, users, profiles and named servers: what the configuration says is what a server gets."""

from __future__ import annotations

import json
from typing import Any

from harness import Person, RunningHub

import needs

pytestmark = needs.root()  # the limits need control groups


def start(person: Person, profile: str | None = None) -> dict[str, Any]:
    """Start a server; what its kernel finds in its environment and limits, and where it was sent."""
    assert person.start({"profile": profile} if profile else {})[-1]["ready"]
    kernel = person.kernel()
    found: dict[str, Any] = json.loads(
        kernel.run(
            "import json, os, glob\n"
            "line = [line for line in open('/proc/self/cgroup') if ':memory:' in line or line.startswith('0::')][0]\n"
            "group = line.strip().split(':')[2]\n"
            "files = [f'/sys/fs/cgroup/memory{group}/memory.limit_in_bytes', f'/sys/fs/cgroup{group}/memory.max']\n"
            "limit = [open(file).read().strip() for file in files if os.path.exists(file)][0]\n"
            "print(json.dumps({'memory': int(limit), 'environment': dict(os.environ)}))"
        )
    )
    kernel.close()
    landing = person.jupyter("GET", "/", allow_redirects=False).headers["Location"]
    return {**found, "page": landing.removeprefix(f"/user/{person.name}").partition("?")[0]}


def explained(hub: RunningHub, user: str, profile: str | None = None) -> dict[str, str]:
    """What `hubfleet explain` says of a user: setting -> value."""
    choice = ["--profile", profile] if profile else []
    rows = json.loads(hub.run("explain", user, "--json", *choice).stdout)["settings"]
    return {row["setting"]: row["value"] for row in rows}


def test_a_server_gets_what_explain_says(profiles_hub: RunningHub) -> None:
    for name, profile, course, size, memory, page in (
        ("paul", None, "all", "usual", 2, "/lab"),  # the default profile
        ("ugo", "small", "own", None, 1, "/tree"),  # the user's own settings
        ("tina", "big", "staff", None, 4, "/tree"),  # a group's settings, and a profile for that group
    ):
        person = profiles_hub.person(name)
        found = start(person, profile)
        assert found["environment"]["COURSE"] == course
        assert found["environment"].get("SIZE") == size
        assert found["memory"] == memory * 1024**3
        assert found["page"] == page
        said = explained(profiles_hub, name, profile or "usual")
        assert said["servers.environment.COURSE"] == course
        assert said["servers.memory.limit"] == f"{memory}G"
        assert said["servers.default_url"] == page
        person.stop()


def test_a_profile_for_others_is_refused_in_words_and_starts_nothing(profiles_hub: RunningHub) -> None:
    pia = profiles_hub.person("pia")
    for wanted in ("big", "no-such"):
        answer = pia.api("POST", "/users/pia/server", json={"profile": wanted})
        assert answer.status_code == 400
        assert answer.json()["message"] == f"Your server was not started: there is no profile '{wanted}' for 'pia'."
        assert pia.servers() == {}
    assert "pia" not in [server["user"] for server in profiles_hub.status()["servers"]]
    # JupyterHub starts the next server with the choice of the one before; a refused one must not stick.
    assert pia.start()[-1]["ready"]
    assert [server["profile"] for server in profiles_hub.status()["servers"] if server["user"] == "pia"] == ["usual"]
    pia.stop()


def test_the_hub_cannot_be_talked_into_more_than_a_profile(profiles_hub: RunningHub) -> None:
    pit = profiles_hub.person("pit")
    wanted = {"profile": "small", "cmd": ["/bin/sh"], "environment": {"COURSE": "mine"}, "mem_limit": "64G"}
    found = start(pit)
    assert found["environment"]["COURSE"] == "all"
    pit.stop()
    assert pit.start(wanted)[-1]["ready"]
    assert pit.kernel().run("import os; print(os.environ['COURSE'])") == "all\n"
    pit.stop()


def test_named_servers_are_apart_and_limited(profiles_hub: RunningHub) -> None:
    nan = profiles_hub.person("nan")
    assert nan.start()[-1]["ready"]
    for name, expected in (("one", (201, 202)), ("two", (201, 202)), ("three", (400,))):
        answer = nan.api("POST", f"/users/nan/servers/{name}", json={"profile": "small"})
        assert answer.status_code in expected, answer.text
    assert nan.progress("one")[-1]["ready"]
    assert nan.progress("two")[-1]["ready"]
    assert {name: server["ready"] for name, server in nan.servers().items()} == {"": True, "one": True, "two": True}
    listed = [
        (server["server"], server["profile"]) for server in profiles_hub.status()["servers"] if server["user"] == "nan"
    ]
    assert sorted(listed) == [("", "usual"), ("one", "small"), ("two", "small")]

    # Each is a server of its own: they share the home, not the kernels.
    assert nan.jupyter("GET", "/one/api/kernels").json() == []
    kernel = nan.kernel()
    assert kernel.run("open('shared.txt', 'w').write('from the usual one')") == "18"
    assert nan.jupyter("GET", "/one/api/kernels").json() == []
    assert nan.jupyter("GET", "/two/api/contents/shared.txt").json()["content"] == "from the usual one"

    assert nan.api("DELETE", "/users/nan/servers/one").status_code in (202, 204)
    nan.stop("one")
    assert kernel.run("1 + 1") == "2"
    assert nan.servers()[""]["ready"]
    nan.stop("two")
    nan.stop()


def test_named_servers_are_off_unless_asked_for(hub: RunningHub) -> None:
    nora = hub.person("nora")
    answer = nora.api("POST", "/users/nora/servers/one", json={})
    assert answer.status_code == 400
    assert "Named servers are not enabled" in answer.json()["message"]
    assert not nora.servers()

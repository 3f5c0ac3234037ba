"""A forked server is like one that was started plainly: the same probes in both, compared."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from compare import Difference, differences, flat, machines
from forked import (
    give,
    home,
    is_forked,
    launcher_log,
    log,
    own_extension,
    own_packages,
    probed,
    start,
    the_parent,
    why_not_prepared,
)
from harness import Person, RunningHub, await_that

import needs

pytestmark = needs.root()


def _more(fast: Any, plain: Any) -> bool:
    """Everything that the plain one has, and more."""
    return {json.dumps(one) for one in plain} <= {json.dumps(one) for one in fast}


def _only_ready(fast: list[str], plain: list[str]) -> bool:
    """Variables differ that are gone when the server is up: which descriptors lead to the launcher and the starter."""
    return all(line.startswith(("HUBFLEET_READY=", "HUBFLEET_KERNELS=")) for line in set(fast) ^ set(plain))


def _ready_descriptor(fast: list[int], plain: list[int]) -> bool:
    return fast[:3] == plain[:3] == [0, 1, 2] and len(fast) == len(plain)


def _one_more_socket(fast: list[str], plain: list[str]) -> bool:
    return sorted(fast) == sorted([*plain, "socket"])


def _same_kinds(fast: list[str], plain: list[str]) -> bool:
    return set(fast) == set(plain)


def _no_accounts(fast: Any, plain: Any) -> bool:
    """The kernel takes a mount away where the file that it is on is replaced, in all namespaces."""
    accounts = ("/etc/passwd", "/etc/group")
    one, other = ({tuple(mount) for mount in mounts if mount[0] not in accounts} for mounts in (fast, plain))
    return one == other


def _silent(fast: Any, plain: Any) -> bool:
    """A logger that a library makes when it is imported, and that does nothing."""
    return plain is None and fast[0] == "NOTSET" and [one[0] for one in fast[3]] == ["NullHandler"]


ALLOWED: dict[str, tuple[str, Difference]] = {
    # what was imported beforehand
    r"/modules": ("a fork has more modules loaded", _more),
    r"/process/maps": ("a fork has more libraries loaded", _more),
    r"/interpreter/warning_filters": ("libraries add theirs when they are imported", _more),
    r"/logs/loggers/.*": ("libraries add theirs when they are imported", _silent),
    r"/application/flags": ("JupyterLab adds options to Jupyter Server's when it is imported; ours are given", _more),
    r"/application/compiled_before": ("patterns", lambda fast, plain: plain == 0 and fast > 60),
    r"/application/class_defaults/.*": ("a fork has more modules loaded", lambda fast, plain: plain is None),
    r"/application/extension_configs/[^/]+/[^/]+": (
        "an empty section",
        lambda fast, plain: (fast, plain) == ({}, None),
    ),
    r"/application/notebook_schemas": ("they are made beforehand", _more),
    r"/application/known/.*": ("it is found out beforehand", lambda fast, plain: fast > plain),
    r"/process/mounts": ("an account that was made meanwhile takes them away", _no_accounts),
    # how a server says that it is up, and reaches its starter of kernels
    r"/process/environ": ("numbers of descriptors", _only_ready),
    r"/process/os_environ/HUBFLEET_READY": ("the number of a descriptor", lambda fast, plain: fast == "3"),
    r"early/process/os_environ/HUBFLEET_KERNELS": (
        "the number of a descriptor",
        lambda fast, plain: (fast, plain) == ("4", None),
    ),
    r"early/process/descriptors": ("one to the starter", _one_more_socket),
    r"late/process/descriptors": ("a server has pipes to programs that it asks something", _same_kinds),
    r"(early|without packages)/process/inheritable": ("the number of a descriptor", _ready_descriptor),
}
"""Where a fork may differ, and how. Besides: all forks of one parent share the seed of `hash()`, which cannot be
changed in a running interpreter; whoever needs one of their own switches `fast_start` off."""

_DIFFERS_EACH_TIME = (
    (re.compile(r" at 0x[0-9a-f]+"), ""),
    (re.compile(r"jpserver-(file-to-run-)?\d+"), "jpserver"),
    (re.compile(r"(jupyter_events\.logger)\.\d+"), r"\1"),
    (re.compile(r"JUPYTERHUB_API_TOKEN=\w+"), ""),
)


def normal(found: dict[str, Any], token: str) -> dict[str, Any]:
    """Without what differs between any two starts."""
    text = json.dumps(found).replace(token, "TOKEN")
    for pattern, instead in _DIFFERS_EACH_TIME:
        text = pattern.sub(instead, text)
    known: dict[str, Any] = json.loads(text)
    known.pop("random")
    process = known["process"]
    process["own_namespaces"] = sorted(
        kind for kind, link in process["own_namespaces"].items() if link != machines(kind)
    )
    if "application" in known:
        known["application"].pop("cookie_secret")
    return known


Probes = dict[str, dict[str, Any]]


@pytest.fixture(scope="module", params=["running_fork_hub", "running_importing_hub"], ids=["prepared", "imported"])
def ada(request: pytest.FixtureRequest) -> Person:
    hub: RunningHub = request.getfixturevalue(request.param)
    hub.await_answer()
    the_parent(hub)
    assert (why_not_prepared(hub) == "") == (request.param == "running_fork_hub")
    return hub.person("ada")


@pytest.fixture(scope="module")
def probes(ada: Person) -> Probes:
    """What the probes tell in a forked and in a plain server."""
    parent = the_parent(ada.hub)
    found: Probes = {}
    for kind in ("fast", "plain"):
        assert is_forked(start(ada, kind), parent) == (kind == "fast")
        found[f"{kind} early"] = json.loads((home(ada) / "early.json").read_text())
        found[f"{kind} late"] = probed(ada)
        ada.stop()
    return found


@pytest.mark.parametrize("when", ["early", "late"])
def test_a_forked_server_is_like_a_plain_one(probes: Probes, when: str) -> None:
    known = {}
    for kind in ("fast", "plain"):
        found = probes[f"{kind} {when}"]
        known[kind] = normal(found, found["process"]["os_environ"]["JUPYTERHUB_API_TOKEN"])
        assert len(dict(flat(known[kind]))) > 150
    found = differences(known["fast"], known["plain"], when, ALLOWED)
    assert not found, "\n".join(found)


def test_a_server_is_what_it_says_it_is(probes: Probes) -> None:
    """What both could get wrong in the same way."""
    found = probes["fast late"]
    process, interpreter, application = found["process"], found["interpreter"], found["application"]
    assert process["cmdline"][1].endswith("/bin/jupyterhub-singleuser")
    assert process["status"]["CapEff"] == process["status"]["CapPrm"] == "0" * 16
    assert process["status"]["NoNewPrivs"] == "1"
    assert len(set(process["ids"][0] + process["ids"][1])) == 1
    assert process["leader"] == [True, True]
    assert process["processes_of_others"] == []
    assert [kind for kind, link in process["own_namespaces"].items() if link != machines(kind)] == ["ipc", "mnt"]
    assert interpreter["of_the_parent"] == []
    assert interpreter["time"][0] == ["EST", "EDT"]
    assert found["random"]["tempfile"].startswith("/var/tmp/")
    assert probes["fast early"]["interpreter"]["threads"] == ["MainThread"]
    assert probes["fast early"]["process"]["status"]["Threads"] == "1"
    lab = application["extension_traits"]["lab"]
    assert lab["user_settings_dir"] == "'/home/ada/.jupyter/lab/user-settings'"
    # Cookies belong to this path: with any other, a browser would send them to other people's servers too.
    assert application["hub_auth"]["base_url"] == "'/user/ada/'"
    assert len(application["class_defaults"]) > 300


def test_notebooks_schemas_are_there_when_a_server_starts(hub: RunningHub) -> None:
    for kind in ("fast", "plain"):
        ned = hub.person(f"ned{kind}")
        start(ned, kind)
        made = probed(ned)["application"]["notebook_schemas"]
        assert ("('fastjsonschema', 4, 5, False)" in made) == (kind == "fast")
        ned.stop()


OWN_SCHEMA = ".local/share/jupyter/labextensions/own/schemas/own/plugin.json"


def test_settings_are_as_in_a_plain_server(hub: RunningHub) -> None:
    """JupyterLab's and its extensions' schemas are checked beforehand; the user's own when they are asked for."""
    answers, refusals = [], []
    for kind in ("fast", "plain"):
        ola = hub.person("ola")
        start(ola, kind)
        answers.append(ola.jupyter("GET", "/lab/api/settings").json())
        give(ola, home(ola) / OWN_SCHEMA, '{"title": "Own", "type": "thing"}')
        refusals.append(ola.jupyter("GET", "/lab/api/settings/own:plugin"))
        assert [one.status_code for one in refusals] == [500] * len(refusals)
        (home(ola) / OWN_SCHEMA).unlink()
        ola.stop()
    assert len(answers[0]["settings"]) > 50
    assert answers[0] == answers[1]
    fast, plain = (one.json()["message"] for one in refusals)
    assert "Failed validating schema (own:plugin): 'thing' is not valid" in fast
    assert fast == plain


def test_what_ones_own_packages_offer_is_found(hub: RunningHub) -> None:
    """All packages' offers are read beforehand, but not where there are more packages than then."""
    pat = hub.person("pat")
    start(pat)
    assert probed(pat)["application"]["known"]["offers"] is True
    pat.stop()
    about = own_packages(pat) / "own_thing-1.0.dist-info"
    give(pat, about / "METADATA", "Metadata-Version: 2.1\nName: own-thing\nVersion: 1.0\n")
    give(pat, about / "entry_points.txt", "[own.things]\nown = own_thing:it\n")
    assert is_forked(start(pat), the_parent(hub))
    offers = probed(pat)["application"]["offers"]
    assert ["own.things", "own", "own_thing:it"] in offers
    assert len(offers) > 50
    pat.stop()


def test_an_extension_of_ones_own_is_loaded(ada: Person) -> None:
    """It is named in a file that a prepared server would have had to read before."""
    prepared = not why_not_prepared(ada.hub)
    ann = ada.hub.person("ann")
    start(ann)
    ann.stop()
    own_extension(ann)
    assert is_forked(start(ann), the_parent(ann.hub)) == (not prepared)
    assert ("/home/ann/.jupyter/jupyter_server_config.d/own.json configures it" in log(ann)) == prepared
    found = probed(ann, "/own/probe")
    assert "own_extension" in found["application"]["extensions"]
    assert found["interpreter"]["user_site"][0] is True
    ann.stop()


@pytest.mark.parametrize("kind", ["fast", "plain"])
def test_language_servers_are_looked_for_when_a_page_asks(hub: RunningHub, kind: str) -> None:
    lee = hub.person("lee")
    start(lee, kind)
    assert probed(lee)["application"]["looked_for_language_servers"] is False
    answer = lee.jupyter("GET", "/lsp/status")
    assert answer.status_code == 200, answer.text
    assert answer.json()["version"] == 2
    assert len(answer.json()["specs"]) > 5, "what it knows of, installed or not"
    assert probed(lee)["application"]["looked_for_language_servers"] is True
    lee.stop()


def test_two_forks_share_no_secret_and_no_random_number(ada: Person, probes: Probes) -> None:
    hub = ada.hub
    bob = hub.person("bob")
    assert is_forked(start(bob), the_parent(hub))
    theirs, hers = probed(bob), probes["fast late"]
    assert len(hers["random"]) > 8
    same = [name for name, value in theirs["random"].items() if value == hers["random"][name]]
    assert not same
    for secret in ("cookie_secret", "notary_secret"):
        assert theirs["application"][secret] != hers["application"][secret]
    for place in theirs["application"]["notary"][:3]:
        assert place.startswith("/home/bob/.local/share/jupyter")
    files = home(bob) / ".local/share/jupyter"
    assert {(files / name).stat().st_uid for name in ("nbsignatures.db", "notebook_secret")} == {
        home(bob).stat().st_uid
    }
    bob.stop()


def test_how_a_forked_server_ends_is_known(hub: RunningHub) -> None:
    eve = hub.person("eve")
    for end, told in (
        ("/probe?code=7", "eve: it exited with code 7"),
        ("SIGKILL", "eve: it was ended by signal SIGKILL"),
        ("SIGTERM", "eve: it stopped by itself"),
    ):
        before = launcher_log(hub)
        assert is_forked(start(eve), the_parent(hub))
        if end.startswith("SIG"):
            kernel = eve.kernel()
            kernel.send(f"import os, signal; os.kill(int(os.environ['JPY_PARENT_PID']), signal.{end})")
        else:
            eve.jupyter("POST", end)
        await_that(told, lambda before=before, told=told: told in launcher_log(hub)[len(before) :])  # type: ignore[misc]
        await_that("the hub knows it too", lambda: not eve.servers(), 60)


def test_a_kernel_starts_processes(hub: RunningHub) -> None:
    kit = hub.person("kit")
    assert is_forked(start(kit), the_parent(hub))
    kernel = kit.kernel()
    code = (
        "import multiprocessing, subprocess, signal\n"
        "with multiprocessing.get_context('fork').Pool(2) as pool: print(pool.map(abs, [-1, -2]))\n"
        "with multiprocessing.get_context('spawn').Pool(1) as pool: print(pool.map(abs, [-3]))\n"
        "print(subprocess.run(['sh', '-c', 'ulimit -c; umask; kill -PIPE $$'], capture_output=True, text=True))\n"
        "print(signal.getsignal(signal.SIGINT) is not None)"
    )
    said = kernel.run(code)
    assert said.startswith("[1, 2]\n[3]\n"), said
    assert "returncode=-13" in said
    kernel.close()
    kit.stop()

"""From a server that is reached over SSH to a cell that runs in a browser, and what everybody keeps in an upgrade."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from deployed import PARTS, DistantCell, Server
from dockerd import BASE
from harness import PASSWORD
from machines import LABEL
from playwright.sync_api import Browser, expect, sync_playwright
from windows import CHROMIUM, FLAGS, SLOW_MS, Window, run_cell

import hubfleet
import needs

pytestmark = [*needs.machines(1500), needs.command("chromium"), needs.command("certutil", package="libnss3-tools")]


@pytest.fixture(scope="module")
def browser(deployed: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """With a network of its own beside the server, and trust in the hub's own authority beside the usual ones.

    Chromium gives up what it loads when an interface of its machine comes or goes, as those of containers here do.
    """
    home = tmp_path_factory.mktemp("browser")
    for place in (".pki/nssdb", ".local/share/pki/nssdb"):  # where Chromium has looked, and where it looks now
        known = f"sql:{home / place}"
        (home / place).mkdir(parents=True)
        subprocess.run(["certutil", "-d", known, "-N", "--empty-password"], check=True)
        added = ["-A", "-t", "C,,", "-n", "the hub's own", "-i", str(deployed.root)]
        subprocess.run(["certutil", "-d", known, *added], check=True)
    lab = deployed.machine.lab
    label, rest = f"{LABEL}={lab.owner}", ("sleep", "infinity")
    options = ["--detach", "--rm", "--init", "--label", label, "--network", lab.network]
    place = lab.engine.docker("run", *options, BASE, *rest)
    network = f"/proc/{lab.engine.inspect(place)['State']['Pid']}/ns/net"
    program = home / "chromium"
    program.write_text(f'#!/bin/sh\nHOME={home} exec nsenter --net={network} {CHROMIUM} "$@"\n')
    program.chmod(0o755)
    expect.set_options(timeout=30_000)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=FLAGS.split())
            yield browser
            browser.close()
    finally:
        lab.engine.docker("kill", place)


@pytest.fixture
def window(browser: Browser, server: Server) -> Iterator[Window]:
    """A window that takes no certificate but one that somebody it trusts has signed."""
    made = Window(browser, server)
    yield made
    made.context.close()
    assert made.faults == []


# -- deployed ----------------------------------------------------------------------------------------------------------


def test_check_finds_nothing_wrong_and_says_what_it_looked_at(server: Server) -> None:
    said = server.run("check").stdout
    assert "PROBLEM" not in said
    for words in (
        "is reached as root, with Python 3.",
        "live-restore is on",
        "port 443 is this hub's",
    ):
        assert words in said


def test_a_second_up_changes_nothing(server: Server) -> None:
    assert f"Hub {server.name} is ready: {server.url}" in server.told
    before = [server.process(part) for part in PARTS]
    assert server.changes() == []
    assert "nothing to change" in server.plan() + server.up()
    assert [server.process(part) for part in PARTS] == before


def test_https_is_the_hubs_own_and_http_leads_there(server: Server) -> None:
    for _ in range(40):  # new connections: every one has the certificate for this address
        assert requests.get(f"{server.url}/hub/login", timeout=10).status_code == 200
    led = requests.get(f"http://{server.machine.address}/hub/login", timeout=10, allow_redirects=False)
    assert (led.status_code, led.headers["Location"]) == (308, f"{server.url}/hub/login")
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(server.url, timeout=10, verify="/etc/ssl/certs/ca-certificates.crt")


@pytest.mark.browser
def test_from_sign_up_to_a_file_that_is_kept(server: Server, window: Window) -> None:
    name = server.new_name("maria")
    page = window.open("/hub/signup")
    page.get_by_label("Choose a user name").fill(name)
    page.get_by_label("Choose a password of your own").fill(PASSWORD)
    page.get_by_label("The same password again").fill(PASSWORD)
    page.get_by_label("Class password (from whoever runs the class)").fill(server.password("class_password"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("You are signed up. Now log in.")
    window.open("/hub/login")
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/user/{name}/lab**")
    page.locator(".jp-LauncherCard[data-category=Notebook]").first.click()
    expect(page.locator(".jp-Notebook .jp-CodeCell")).to_have_count(1, timeout=SLOW_MS)
    run_cell(page, "open('kept.txt', 'w').write('words'); print('the answer is', 6 * 7)")
    expect(page.locator(".jp-OutputArea-output").first).to_have_text("the answer is 42\n", timeout=SLOW_MS)

    machine, home = server.machine, server.homes / name
    uid = machine.docker("exec", server.users_container(name), "id", "-u")
    assert int(uid) >= 1000
    assert machine.run("cat", home / "kept.txt") == "words"
    assert machine.run("stat", "--format", "%u:%g %a", home).split()[0] == f"{uid}:{uid}"
    assert machine.run("stat", "--format", "%u:%g", home / "kept.txt") == f"{uid}:{uid}"
    maria = server.known(name)
    maria.stop()
    assert maria.start()[-1]["ready"]
    assert maria.jupyter("GET", "/api/contents/kept.txt").json()["content"] == "words"
    maria.stop()


# -- upgrades ----------------------------------------------------------------------------------------------------------

GOES_ON = "running servers go on"


def test_another_memory_limit_is_for_the_next_server(server: Server) -> None:
    ulla = server.person(server.new_name("ulla"))
    assert ulla.start()[-1]["ready"]
    cell = DistantCell(ulla, server)
    container = server.users_container(ulla.name)
    server.write("servers: {memory: {limit: 700M}}\n")
    plan = server.plan()
    assert "servers.memory.limit: " in plan
    impacts = re.findall("impact: (.*)", plan)
    assert impacts
    assert all(impact.endswith(GOES_ON) for impact in impacts), plan
    assert re.findall("> restart (.*)", plan) == [f"container {server.container('launcher')}"]
    server.up()
    assert server.changes() == []
    cell.finish()
    assert cell.reconnects == 0, "the launcher alone was replaced"
    assert server.inspect(container)[0]["HostConfig"]["Memory"] == 0
    ulla.stop()
    assert ulla.start()[-1]["ready"]
    assert server.inspect(server.users_container(ulla.name))[0]["HostConfig"]["Memory"] == 700 << 20
    server.write("")
    server.up()
    ulla.stop()


@pytest.mark.browser
def test_another_release_is_noticed_by_nobody(
    server: Server, window: Window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Another code of hub and users' servers, so other images, and other containers of the hub but for the edge."""
    request.addfinalizer(server.up)  # with the code that the other tests plan with
    vera = server.person(server.new_name("vera"))
    window.open("/hub/login")
    page = window.log_in(vera.name)
    page.wait_for_url(f"**/user/{vera.name}/lab**")
    page.locator(".jp-LauncherCard[data-category=Notebook]").first.click()
    expect(page.locator(".jp-Notebook .jp-CodeCell")).to_have_count(1, timeout=SLOW_MS)
    run_cell(page, "import os; kept = 6 * 7; print(kept, os.getpid())")
    first = page.locator(".jp-OutputArea-output").first
    expect(first).to_contain_text("42", timeout=SLOW_MS)
    cell = DistantCell(vera, server)
    container, old, edge = server.users_container(vera.name), server.images(), server.process("edge")

    shutil.copytree(Path(hubfleet.__file__).parent, tmp_path / "hubfleet")
    for name in ("hub/app.py", "singleuser/enter.py"):
        with (tmp_path / "hubfleet" / name).open("a") as code:
            code.write("# another release\n")
    with monkeypatch.context() as other:
        other.setenv("PYTHONPATH", str(tmp_path))
        plan = server.plan()
        assert len(re.findall(r"\+ create .*image", plan)) == 2
        impacts = re.findall("impact: (.*)", plan)
        assert len(impacts) >= len(PARTS) - 1
        assert all(impact.endswith(GOES_ON) for impact in impacts), plan
        server.up()
        assert server.changes() == []
        assert set(server.images()) & set(old) == {image for image in old if image.startswith("hubfleet/edge:")}
        assert server.process("edge") == edge
        assert cell.reconnects > 0, "the proxy was replaced"
        cell.finish()
        run_cell(page, "print('still', kept, os.getpid())")
        last = page.locator(".jp-OutputArea-output").last
        expect(last).to_contain_text("still 42", timeout=SLOW_MS)
        assert (last.inner_text()).split()[-1] == first.inner_text().split()[-1], "it is another kernel"
        assert server.users_container(vera.name) == container
        left = server.machine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
        assert set(old) <= set(left), "an image that a rollback needs is gone"
        assert server.inspect(container)[0]["Config"]["Image"] in left, "the image of a running server is kept"
        vera.stop()
        assert vera.start()[-1]["ready"]
        vera.stop()
    server.up()
    assert server.images() == old

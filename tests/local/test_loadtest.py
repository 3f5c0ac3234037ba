"""A class played against a real hub, and one against a stock JupyterHub; and that nothing is left of either."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from harness import PASSWORD, CommandLines, Person, RunningHub, await_that, free_port
from playwright.sync_api import Browser

from command import hear_ctrl_c
from hubfleet.loadtest.assets import chunks, page_assets
from hubfleet.unixhttp import Refused, request

# Only ada may sign up here: the people of a load test are let in past the list.
ONLY_ADA = "login: {password: file, admins: [admin], allow: {users: [ada]}}\n"
PEOPLE = 3


@pytest.fixture(scope="module")
def running_class_hub(new_hub: Callable[[str], RunningHub]) -> RunningHub:
    hub = new_hub(ONLY_ADA)
    hub.up()
    return hub


@pytest.fixture
def class_hub(running_class_hub: RunningHub, hub_logs: list[Path]) -> RunningHub:
    hub_logs.append(running_class_hub.logs)
    running_class_hub.await_answer()
    return running_class_hub


def ask(hub: RunningHub, method: str, target: str, body: Any = None) -> Any:
    """The hub's API as the operator."""
    return request(hub.state / "run/hub/hub.sock", method, f"/hub/api{target}", body, hub.operator_token())


def left(hub: RunningHub) -> dict[str, Any]:
    """All that a load test could leave behind."""
    return {
        "users": [user["name"] for user in ask(hub, "GET", "/users") if user["name"].startswith("loadtest-")],
        "accounts": [
            entry["name"]
            for entry in ask(hub, "GET", "/hubfleet/people")["people"]
            if entry["name"].startswith("loadtest-")
        ],
        "note": ask(hub, "GET", "/hubfleet/loadtest")["names"],
        "homes": [path.name for path in (hub.state / "homes").glob("loadtest-*")],
        "servers": [path.name for path in (hub.state / "launcher" / "servers").glob("loadtest-*")],
    }


NOTHING: dict[str, Any] = {"users": [], "accounts": [], "note": [], "homes": [], "servers": []}


@pytest.fixture(scope="module")
def played(running_class_hub: RunningHub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One load test from the command line: what it printed and wrote, and all command lines meanwhile."""
    path = tmp_path_factory.mktemp("played") / "class"
    with CommandLines() as watch:
        done = running_class_hub.run("loadtest", "--people", str(PEOPLE), "--idle", "1s", "--output", str(path))
    data = json.loads(path.with_suffix(".json").read_text())
    return {"out": done.stdout + done.stderr, "seen": watch.seen, "data": data, "page": path.with_suffix(".html")}


def test_everybody_gets_through_and_is_timed(played: dict[str, Any]) -> None:
    data = played["data"]
    assert data["failed"] == 0
    assert data["broken_off"] is None
    assert len(data["people"]) == PEOPLE
    for person in data["people"]:
        steps = person["steps"]
        assert list(steps) == ["login", "start", "page", "assets", "kernel", "output", "done", "save", "stop"]
        assert all(begin <= end for begin, end in steps.values())
        assert steps["login"][1] <= steps["start"][0] <= steps["start"][1] <= steps["page"][0]
        assert person["requests"] > 50, "JupyterLab has that many files and first questions"
        assert person["bytes_received"] > 1_000_000
        assert person["not_there"] == 0
    assert data["times"]["first_output"]["p95"] >= data["times"]["ready"]["p50"] > 0
    assert "first output 3" in played["out"]


def test_the_sentence_is_worked_out_of_what_was_measured(played: dict[str, Any]) -> None:
    data, found = played["data"], played["data"]["verdict"]
    what = "(memory|the processor|the hub's own process)"
    assert re.fullmatch(rf"This hub holds about \d+ people like these 3.*; {what} gives out first\.", found["sentence"])
    assert found["sentence"] in played["out"]
    assert found["assumption"].startswith("Assumed: everybody does what these 3 did")
    machine = data["machine"]
    assert set(machine["people"]) == {person["name"] for person in data["people"]}
    for footprint in machine["people"].values():
        assert 10e6 < footprint["pss"] < 1e9
        assert footprint["cpu_s"] > 0.01
        assert footprint["processes"] >= 2, "a server and a kernel"
    assert set(machine["parts_pss"]) == {"hub", "proxy", "launcher"}
    assert 0 < machine["hub_loop_cpu_s"] <= machine["parts_cpu_s"]["hub"] + 0.05
    assert machine["not_measured"] == []


def test_nothing_is_left_of_it(class_hub: RunningHub, played: dict[str, Any]) -> None:
    assert left(class_hub) == NOTHING


def test_no_secret_is_shown_or_written(class_hub: RunningHub, played: dict[str, Any]) -> None:
    token = class_hub.operator_token()
    assert not [line for line in played["seen"] if token in line]
    # Tokens of JupyterHub and the shared password are long runs of letters and digits; nothing else here is.
    written = played["out"] + json.dumps(played["data"]) + played["page"].read_text()
    assert not re.findall(r"[0-9A-Za-z_-]{28,}", written.replace(str(played["page"].parent), ""))
    logs = "".join(path.read_text(errors="replace") for path in class_hub.logs.rglob("*.log"))
    assert "loadtest-0001" in logs
    assert token not in logs
    assert not re.findall(r"token[ =:]+[0-9a-f]{32}", logs)


def test_the_page_opens_in_a_browser_and_asks_nobody(browser: Browser, played: dict[str, Any]) -> None:
    complaints: list[str] = []
    asked: list[str] = []
    view = browser.new_page()
    view.on("console", lambda message: complaints.append(message.text))
    view.on("pageerror", lambda error: complaints.append(str(error)))
    view.on("request", lambda made: asked.append(made.url))
    view.goto(played["page"].as_uri())
    assert view.locator(".verdict").first.inner_text() == played["data"]["verdict"]["sentence"]
    assert view.locator("svg").count() == 3
    for number in range(3):
        box = view.locator("svg").nth(number).bounding_box()
        assert box is not None
        assert box["width"] > 400
        assert box["height"] > 100
    assert view.locator("td", has_text="Start to first output").count() == 1
    assert asked == [played["page"].as_uri()]
    assert complaints == []
    view.close()


# -- whatever happens, it cleans up -----------------------------------------------------------------------------------


def start(hub: RunningHub, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        hub.command("loadtest", *arguments),
        cwd=hub.folder,
        env=hub.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        preexec_fn=hear_ctrl_c,
    )


def somebody_starts(hub: RunningHub) -> bool:
    return any(user["servers"] for user in ask(hub, "GET", "/users") if user["name"].startswith("loadtest-"))


def test_ctrl_c_in_the_middle_leaves_nothing(class_hub: RunningHub) -> None:
    process = start(class_hub, "--people", "2", "--idle", "60s")
    await_that("somebody starts", lambda: somebody_starts(class_hub), 60)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130, out
    assert "cleaning up" in out
    assert left(class_hub) == NOTHING


def test_a_notebook_that_fails_is_told_and_leaves_nothing(class_hub: RunningHub, tmp_path: Path) -> None:
    cells = ["print('before')", "1 / 0", "print('never')"]
    notebook = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {},
        "cells": [
            {"id": f"c{number}", "cell_type": "code", "source": text, "metadata": {}, "outputs": []}
            | {"execution_count": None}
            for number, text in enumerate(cells)
        ],
    }
    (tmp_path / "bad.ipynb").write_text(json.dumps(notebook))
    arguments = ["--people", "2", "--idle", "0", "--notebook", str(tmp_path / "bad.ipynb")]
    done = class_hub.run("loadtest", *arguments, "--output", str(tmp_path / "bad"), check=False)
    assert done.returncode == 4
    assert "2 of 2 people failed" in done.stderr
    reason = "cell 2: ZeroDivisionError: division by zero"
    assert f"This hub did not hold 2 people: 2 of 2 failed, all at the step done ({reason})" in done.stdout
    data = json.loads((tmp_path / "bad.json").read_text())
    assert data["failures"] == [{"step": "done", "reason": reason, "people": 2}]
    assert all("output" in person["steps"] and "stop" in person["steps"] for person in data["people"])
    assert left(class_hub) == NOTHING


def test_the_whole_time_is_limited(class_hub: RunningHub, tmp_path: Path) -> None:
    arguments = ["--people", "1", "--limit", "0.5s", "--output", str(tmp_path / "short")]
    done = class_hub.run("loadtest", *arguments, check=False)
    assert done.returncode == 4
    assert "The load test was broken off (after 0.5 s)" in done.stdout
    data = json.loads((tmp_path / "short.json").read_text())
    assert data["failures"][0]["reason"] == "not done when the whole time of 0.5 s was over"
    assert left(class_hub) == NOTHING


def test_what_a_killed_one_left_is_found_and_removed(class_hub: RunningHub) -> None:
    process = start(class_hub, "--people", "2", "--idle", "60s")
    await_that("somebody starts", lambda: somebody_starts(class_hub), 60)
    process.kill()
    process.communicate()
    refused = class_hub.run("loadtest", "--people", "1", check=False)
    assert refused.returncode == 3
    assert "another load test runs on this hub, or was broken off (2 people)" in refused.stderr
    assert class_hub.run("loadtest", "--clean-up").stdout == "Removed 2 people of a load test.\n"
    assert left(class_hub) == NOTHING


# -- it refuses, and touches nobody -----------------------------------------------------------------------------------


def test_it_refuses_while_somebody_is_on_and_touches_nobody(class_hub: RunningHub, tmp_path: Path) -> None:
    ada = class_hub.person("ada")
    assert ada.start()[-1]["ready"]
    kernel = ada.kernel()
    assert kernel.run("mine = 41; open('mine.txt', 'w').write('kept')") == "4"
    refused = class_hub.run("loadtest", "--people", "1", check=False)
    assert refused.returncode == 3
    assert "people are on this hub (1: ada)" in refused.stderr
    assert left(class_hub) == NOTHING
    class_hub.run(
        "loadtest", "--people", "1", "--idle", "0", "--disturb-people", "--output", str(tmp_path / "disturbing")
    )
    assert left(class_hub) == NOTHING
    assert kernel.run("mine + 1") == "42"
    assert (class_hub.state / "homes/ada/mine.txt").read_text() == "kept"
    ada.stop()


def test_nobody_else_can_be_a_test_person(class_hub: RunningHub) -> None:
    somebody = Person(class_hub, "loadtest-0001", PASSWORD)
    answer = somebody.sign_up(class_hub.password("class_password"))
    assert answer.status_code == 403
    assert "are kept for load tests" in answer.text
    stranger = Person(class_hub, "stranger", PASSWORD)
    assert "not on this hub&#39;s list" in stranger.sign_up(class_hub.password("class_password")).text


def test_only_the_machines_operator_can_make_test_people(class_hub: RunningHub) -> None:
    admin = class_hub.admin()
    answer = admin.api("POST", "/hubfleet/loadtest", json={"people": 1, "seconds": 60})
    assert answer.status_code == 403
    assert "not for this account" in answer.text
    assert admin.api("DELETE", "/hubfleet/loadtest").status_code == 403
    assert left(class_hub) == NOTHING


def test_a_test_persons_token_is_good_for_their_own_server_only_and_ends(class_hub: RunningHub) -> None:
    [made] = ask(class_hub, "POST", "/hubfleet/loadtest", {"people": 1, "seconds": 60})["people"]
    headers = {"Authorization": f"token {made['token']}"}
    url = f"{class_hub.url}/hub/api"
    try:
        known = requests.get(f"{url}/user", headers=headers, timeout=30).json()
        assert known["name"] == made["name"] == "loadtest-0001"
        assert "access:servers!user=loadtest-0001" in known["scopes"]
        assert not [scope for scope in known["scopes"] if not scope.endswith("=loadtest-0001")]
        assert requests.get(f"{url}/users", headers=headers, timeout=30).status_code == 403
        with pytest.raises(Refused, match="a load test runs, or was broken off"):
            ask(class_hub, "POST", "/hubfleet/loadtest", {"people": 1, "seconds": 60})
        with pytest.raises(Refused, match="1 of its people are still there, first loadtest-0001"):
            ask(class_hub, "DELETE", "/hubfleet/loadtest")
    finally:
        class_hub.run("loadtest", "--clean-up")
    assert requests.get(f"{url}/user", headers=headers, timeout=30).status_code == 403
    assert left(class_hub) == NOTHING


# -- as a browser does ------------------------------------------------------------------------------------------------


def test_it_fetches_what_a_browser_fetches(class_hub: RunningHub, browser: Browser) -> None:
    ada = class_hub.person("ada")
    assert ada.start()[-1]["ready"]
    server = f"{class_hub.url}/user/ada/"
    asked: list[str] = []
    # A browser sends this header to the server as well, and is let in without a log-in form.
    view = browser.new_context(extra_http_headers=ada.headers).new_page()
    view.on(
        "response",
        lambda answer: asked.append(answer.url) if answer.url.endswith(".js") or ".js?" in answer.url else None,
    )
    view.goto(f"{server}lab")
    view.wait_for_selector(".jp-Launcher", timeout=120_000)
    plain, scripts = page_assets(f"{server}lab", ada.jupyter("GET", "/lab").text)
    found = {*plain, *scripts}
    for link in scripts:
        found.update(chunks(link, requests.get(link, headers=ada.headers, timeout=60).text))
    real = {link for link in asked if link.startswith(server) and ".js" in link}
    ours = {link for link in found if ".js" in link}
    assert len(real) > 40
    assert len(real & ours) >= 0.9 * len(real), sorted(real - ours)
    assert len(ours - real) <= 0.1 * len(real), sorted(ours - real)
    view.context.close()
    ada.stop()


# -- any JupyterHub ---------------------------------------------------------------------------------------------------


STOCK = """
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_port = {hub_port}
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
c.ConfigurableHTTPProxy.command = {proxy!r}
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allowed_users = {{"somebody"}}
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "{folder}/homes/{{username}}"
c.Spawner.cmd = {server!r}
c.Spawner.http_timeout = 120
c.JupyterHub.services = [{{"name": "tester", "api_token": "{token}"}}]
c.JupyterHub.load_roles = [
    {{"name": "tester", "scopes": ["admin:users", "admin:servers", "tokens"], "services": ["tester"]}}
]
"""


@pytest.fixture
def stock_hub(running_class_hub: RunningHub, tmp_path: Path, hub_logs: list[Path]) -> Iterator[tuple[str, str]]:
    """JupyterHub as published, with processes of this account as servers: its address and a service's token."""
    environments = running_class_hub.state / "environments"
    [hub], [users] = environments.glob("hub-*/"), environments.glob("users-*/")
    token, port = secrets.token_hex(20), free_port()
    proxy = [
        str(hub / "proxy/node"),
        str(hub / "proxy/node_modules/configurable-http-proxy/bin/configurable-http-proxy"),
    ]
    server = [str(users / "bin/jupyterhub-singleuser"), *(["--allow-root"] if os.geteuid() == 0 else [])]
    ports = {"port": port, "hub_port": free_port(), "api_port": free_port()}
    text = STOCK.format(**ports, proxy=proxy, server=server, folder=tmp_path, token=token)
    (tmp_path / "config.py").write_text(text)
    log = tmp_path / "hub.log"
    hub_logs.append(log)
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [hub / "bin/jupyterhub", "-f", tmp_path / "config.py"], cwd=tmp_path, stdout=output, stderr=output
        )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return requests.get(f"{url}/hub/api/", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    try:
        await_that("the stock hub answers", answers, 90)
        yield url, token
    finally:
        process.terminate()
        process.wait(60)


def test_any_jupyterhub_is_measured_with_the_same_client(
    class_hub: RunningHub, stock_hub: tuple[str, str], tmp_path: Path
) -> None:
    url, token = stock_hub
    (tmp_path / "token").write_text(token)
    (tmp_path / "token").chmod(0o600)
    arguments = ["--people", "2", "--idle", "0", "--url", url, "--token-file", str(tmp_path / "token")]
    with CommandLines() as watch:
        class_hub.run("loadtest", *arguments, "--output", str(tmp_path / "stock"))
    assert not [line for line in watch.seen if token in line]
    text = (tmp_path / "stock.json").read_text()
    data = json.loads(text)
    assert token not in text
    assert data["failed"] == 0
    assert [len(person["steps"]) for person in data["people"]] == [9, 9]
    assert len(data["pss_per_person"]) == 2
    headers = {"Authorization": f"token {token}"}
    users = requests.get(f"{url}/hub/api/users", headers=headers, timeout=30).json()
    assert [user["name"] for user in users] == ["somebody"]

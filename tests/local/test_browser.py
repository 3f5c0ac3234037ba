"""What people see: a real Chromium on a real hub. HUBFLEET_SCREENSHOTS=DIRECTORY keeps a picture of every page."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psutil
import pytest
import requests
from harness import PASSWORD, WAITS, Person, RunningHub, await_that
from playwright.sync_api import Page, expect
from windows import SLOW_MS, Window, run_cell

import needs
from hubfleet.hub.line import COOKIE
from hubfleet.launcher.queue import capacity

pytestmark = [needs.command("chromium")]


def labelled(page: Page) -> None:
    """Every field that can be filled in has a name that a screen reader tells."""
    nameless = page.evaluate(
        "[...document.querySelectorAll('input:not([type=hidden]):not([type=submit]), select, textarea')]"
        ".filter(field => !field.labels?.length && !field.ariaLabel && field.offsetParent)"
        ".map(field => field.outerHTML)"
    )
    assert nameless == [], page.url


def test_the_way_from_sign_up_to_a_saved_notebook(hub: RunningHub, window: Callable[[RunningHub], Window]) -> None:
    mine = window(hub)
    page = mine.open("/")
    expect(page.get_by_text(f"Log in to {hub.name}")).to_be_visible()
    labelled(page)
    mine.no_wider_than_a_phone()
    mine.picture("login")
    page.get_by_label("User name").fill("maria")
    page.get_by_label("Password").fill("not-yet-mine")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("Invalid username or password")
    mine.picture("login-refused")

    page.get_by_role("link", name="Sign up").click()
    labelled(page)
    mine.no_wider_than_a_phone()
    mine.picture("signup")
    for class_password, message in (
        ("wrong", "That is not the class password. Ask whoever runs the class for it."),
        (hub.password("class_password"), "You are signed up. Now log in."),
    ):
        # By keyboard alone: the first field has the focus, Tab leads through the others in their order.
        page.get_by_label("Choose a user name").fill("maria")
        for text in (PASSWORD, PASSWORD, class_password):
            page.keyboard.press("Tab")
            page.keyboard.insert_text(text)
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text(message)
        mine.picture("signup-refused" if class_password == "wrong" else "signup-done")
    page.locator("#login-main").get_by_role("button", name="Log in").click()

    page.get_by_label("User name").fill("maria")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/user/maria/lab**")
    page.locator(".jp-LauncherCard[data-category=Notebook]").first.click()
    expect(page.locator(".jp-Notebook .jp-CodeCell")).to_have_count(1, timeout=SLOW_MS)
    expect(page.locator(".jp-Toast, .Toastify__toast")).to_have_count(0)

    run_cell(page, "print('the answer is', 6 * 7)")
    expect(page.locator(".jp-OutputArea-output").first).to_have_text("the answer is 42\n", timeout=SLOW_MS)
    run_cell(
        page,
        "import matplotlib.pyplot as plt, numpy as np\n"
        "t = np.linspace(0, 10, 400)\n"
        "fig, ax = plt.subplots(figsize=(6, 2.6))\n"
        "ax.plot(t, np.exp(-t / 4) * np.sin(4 * t))\n"
        "ax.set(xlabel='time / s', ylabel='amplitude', title='A damped oscillation');",
    )
    plot = page.locator(".jp-OutputArea-output img")
    expect(plot).to_be_visible(timeout=SLOW_MS)
    assert plot.evaluate("image => image.naturalWidth") > 300
    page.keyboard.press("Control+s")
    page.get_by_role("dialog").get_by_role("textbox").fill("oscillation.ipynb")
    page.get_by_role("button", name="Rename and Save").click()
    saved = hub.state / "homes" / "maria" / "oscillation.ipynb"
    await_that("the notebook is saved", lambda: saved.exists() and "image/png" in saved.read_text(), 60)
    mine.picture("lab")

    page = mine.open("/hub/home")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Your server on {hub.name}")
    mine.picture("home-running")
    page.get_by_role("button", name="Stop My Server").click()
    expect(page.get_by_role("button", name="Start My Server")).to_be_visible()
    expect(page.get_by_role("button", name="Stop My Server")).to_be_hidden()
    assert "maria" not in [server["user"] for server in hub.status()["servers"]]
    mine.picture("home")
    mine.no_wider_than_a_phone()

    # A start that takes longer than the hub lets a page wait is followed on a page of its own.
    Person(hub, "maria", PASSWORD).configure(WAITS)
    page.get_by_role("button", name="Start My Server").click()
    page.wait_for_url("**/hub/spawn-pending/maria**")
    expect(page.locator("#progress-message")).to_have_text("Starting the server")
    mine.no_wider_than_a_phone()
    mine.picture("starting")
    (hub.homes / "maria" / "go").touch()
    page.wait_for_url("**/user/maria/lab**")
    page.goto(f"{hub.url}/user/maria/lab/tree/oscillation.ipynb")
    outputs = page.locator(".jp-OutputArea-output")
    expect(outputs.first).to_have_text("the answer is 42\n", timeout=SLOW_MS)
    expect(page.locator(".jp-OutputArea-output img")).to_be_visible()
    # The way back from JupyterLab.
    page.get_by_role("menuitem", name="File", exact=True).click()
    expect(page.get_by_text("Hub Control Panel")).to_be_visible()
    page.keyboard.press("Escape")
    mine.open("/hub/home")
    page.get_by_role("button", name="Stop My Server").click()
    expect(page.get_by_role("button", name="Start My Server")).to_be_visible()


def test_each_mistake_in_a_sign_up_is_named(hub: RunningHub, window: Callable[[RunningHub], Window]) -> None:
    mine = window(hub)
    page = mine.open("/hub/signup")
    page.get_by_label("Choose a user name").fill("mo ritz")
    page.get_by_label("Choose a password").fill("password")
    page.get_by_label("The same password again").fill("another one")
    page.get_by_label("Class password").fill("wrong")
    page.get_by_role("button", name="Sign up").click()
    expect(page.get_by_role("alert").get_by_role("listitem")).to_have_text(
        [
            "That is not the class password. Ask whoever runs the class for it.",
            "Choose a user name without spaces, commas and slashes.",
            "The two passwords are not the same.",
            "Choose a password of 8 to 72 characters that is not on everybody's list.",
        ]
    )
    expect(page.get_by_label("Choose a user name")).to_have_value("mo ritz")
    mine.no_wider_than_a_phone()
    mine.picture("signup-mistakes")


def test_a_cell_goes_on_in_an_open_page_while_every_part_dies(
    hub: RunningHub, window: Callable[[RunningHub], Window]
) -> None:
    Person(hub, "otto", PASSWORD).sign_up(hub.password("class_password"))
    page = window(hub).log_in("otto")
    page.wait_for_url("**/user/otto/lab**")
    page.locator(".jp-LauncherCard[data-category=Notebook]").first.click()
    run_cell(
        page,
        "import os, time\n"
        "steps = 0\n"
        "while not os.path.exists('enough'):\n"
        "    steps += 1\n"
        "    time.sleep(0.2)\n"
        "print('all', steps > 10, 'steps')",
    )
    for part in ("hub", "launcher", "proxy"):
        dead = hub.pid(part)
        os.kill(dead, signal.SIGKILL)
        await_that(f"a new {part}", lambda part=part, dead=dead: hub.pid(part) != dead)
        hub.await_answer()
    (hub.state / "homes" / "otto" / "enough").touch()
    expect(page.locator(".jp-OutputArea-output").first).to_have_text("all True steps\n", timeout=SLOW_MS)
    page.goto(f"{hub.url}/hub/home")
    page.get_by_role("button", name="Stop My Server").click()
    expect(page.get_by_role("button", name="Start My Server")).to_be_visible()


def test_pages_for_everybody(hub: RunningHub, window: Callable[[RunningHub], Window]) -> None:
    Person(hub, "paula", PASSWORD).sign_up(hub.password("class_password"))
    hers = window(hub)
    hers.log_in("paula")
    for target, name in (("/hub/token", "token"), ("/hub/change-password", "change-password")):
        page = hers.open(target)
        labelled(page)
        hers.no_wider_than_a_phone()
        hers.picture(name)
    for target, title, name in (
        ("/hub/no-such-page", "There is no such page", "no-such-page"),
        ("/hub/people", "You may not do this", "not-for-you"),
        ("/hub/admin", "You may not do this", "not-an-admin"),
    ):
        page = hers.open(target)
        expect(page.get_by_role("heading", level=1)).to_have_text(title)
        expect(page.locator("body")).not_to_contain_text("scopes")
        hers.no_wider_than_a_phone()
        hers.picture(name)
        page.locator(".error").get_by_role("button", name="Home").click()
        page.wait_for_url("**/hub/home")


def test_a_server_that_cannot_start(hub: RunningHub, window: Callable[[RunningHub], Window]) -> None:
    Person(hub, "emil", PASSWORD).sign_up(hub.password("class_password"))
    home = hub.state / "homes" / "emil"
    home.write_text("in the way")
    his = window(hub)
    page = his.log_in("emil")
    expect(page.get_by_role("heading", level=1)).to_have_text("Your server did not start")
    expect(page.get_by_role("alert").or_(page.locator(".alert"))).to_contain_text(f"{home} is not a directory")
    his.no_wider_than_a_phone()
    his.picture("start-failed")
    home.unlink()
    page.get_by_role("button", name="Try again").click()
    page.wait_for_url("**/user/emil/lab**")
    his.open("/hub/home")
    page.get_by_role("button", name="Stop My Server").click()
    expect(page.get_by_role("button", name="Start My Server")).to_be_visible()


@dataclass(frozen=True)
class Failure:
    """Something that a person's server does not come up with. ``why``: what the page has to say of it."""

    why: str
    mend: Callable[[], object]


def at_once(person: Person) -> Failure:
    """The launcher refuses to start anything."""
    home = person.hub.homes / person.name
    kept = home.rename(home.with_name(f"{home.name}-kept"))
    home.write_text("in the way")
    why = f"{home} is not a directory; an administrator has to look at it"
    return Failure(why, lambda: home.unlink() or kept.rename(home))


def after_a_while(person: Person) -> Failure:
    """The server fails on its way up, when the browser waits on another page."""
    file = person.configure(
        "import os, sys, time\n"
        "time.sleep(3)\n"
        "print('the environment is broken', file=sys.stderr, flush=True)\n"
        "os._exit(3)\n"
    )
    return Failure("it exited with code 3. It said last: the environment is broken", file.unlink)


def somebody(hub: RunningHub, failing: Callable[[Person], Failure]) -> tuple[Person, Failure]:
    """A person who has a home, and whose next start fails in this way."""
    person = hub.person(f"fails-{failing.__name__.replace('_', '-')}")
    assert person.start()[-1]["ready"]
    person.stop()
    return person, failing(person)


FAILURES = pytest.mark.parametrize("failing", [at_once, after_a_while])


@FAILURES
def test_a_server_that_does_not_start(
    hub: RunningHub, window: Callable[[RunningHub], Window], failing: Callable[[Person], Failure]
) -> None:
    frieda, failure = somebody(hub, failing)
    hers = window(hub)
    page = hers.log_in(frieda.name)
    expect_failed_start(page, failure.why)
    hers.no_wider_than_a_phone()
    hers.picture(f"start-failed-{failing.__name__}")
    # The same is told to whoever comes back to their server's address.
    page.goto(f"{hub.url}/user/{frieda.name}/lab")
    expect_failed_start(page, failure.why)
    failure.mend()
    page.get_by_role("button", name="Try again").click()
    page.wait_for_url(f"**/user/{frieda.name}/lab**")
    hers.open("/hub/home")
    page.get_by_role("button", name="Stop My Server").click()
    expect(page.get_by_role("button", name="Start My Server")).to_be_visible()


def expect_failed_start(page: Page, why: str) -> None:
    """One page says that a start has failed, why, and what to do next: however soon it fails, however one comes."""
    expect(page.get_by_role("heading", level=1)).to_have_text("Your server did not start", timeout=SLOW_MS)
    expect(page.locator(".alert")).to_have_text(f"Your server could not be started: {why}")
    expect(page.locator("body")).to_contain_text("Your files are kept. If it fails again, tell whoever runs the hub")
    expect(page.get_by_role("button", name=re.compile("Try again|Start"))).to_have_count(1)
    assert "Error" not in page.locator(".container").last.inner_text()


def test_a_server_that_was_killed(hub: RunningHub, window: Callable[[RunningHub], Window]) -> None:
    """Its user is told why it is not there, at its address and at home, until it is started again."""
    kira = hub.person("kira")
    assert kira.start()[-1]["ready"]
    hers = window(hub)
    hers.log_in("kira").wait_for_url("**/user/kira/lab**")
    record = json.loads((hub.state / "launcher" / "servers" / "kira.json").read_text())
    os.kill(record["handle"]["pid"], signal.SIGKILL)
    await_that("the hub knows", lambda: not kira.servers())
    for target in ("/hub/home", "/user/kira/lab"):
        page = hers.open(target)
        expect(page.locator(".alert")).to_have_text(
            re.compile(r"^\s*Your server has ended: it was ended by signal SIGKILL\.\s+What was saved is kept\.\s*$")
        )
        hers.no_wider_than_a_phone()
        hers.picture(f"ended-{target.rpartition('/')[2]}")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/user/kira/lab**")
    page = hers.open("/hub/home")
    expect(page.get_by_role("button", name="Stop My Server")).to_be_visible()
    expect(page.locator(".alert")).to_have_count(0)
    kira.stop()


@FAILURES
def test_a_chosen_start_that_fails_can_be_chosen_again(
    profiles_hub: RunningHub, window: Callable[[RunningHub], Window], failing: Callable[[Person], Failure]
) -> None:
    otis, failure = somebody(profiles_hub, failing)
    his = window(profiles_hub)
    page = his.log_in(otis.name)
    page.get_by_role("button", name="Start").click()
    expect_failed_start(page, failure.why)
    labelled(page)
    his.no_wider_than_a_phone()
    his.picture(f"chosen-start-failed-{failing.__name__}")
    failure.mend()
    if failing is after_a_while:  # told by the page that followed the start; the one with the choice is left
        page.get_by_role("button", name="Try again").click()
    page.get_by_label("Small").check()
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(f"**/user/{otis.name}/lab**")
    chosen = [one["profile"] for one in profiles_hub.status()["servers"] if one["user"] == otis.name]
    assert chosen == ["small"]
    otis.stop()


def test_the_start_page_offers_what_is_mine(profiles_hub: RunningHub, window: Callable[[RunningHub], Window]) -> None:
    for name, offered in (("olga", ["Small", "Usual", "Long"]), ("tina", ["Small", "Usual", "Long", "Large memory"])):
        Person(profiles_hub, name, PASSWORD).sign_up(profiles_hub.password("class_password"))
        hers = window(profiles_hub)
        page = hers.log_in(name)
        expect(page).to_have_url(re.compile("/hub/spawn$"))
        choices = page.get_by_role("group", name="Profile").get_by_role("radio")
        titles = page.locator("fieldset label strong")
        expect(titles).to_have_text(offered)
        expect(choices).to_have_count(len(offered))
        expect(page.get_by_label("Usual")).to_be_checked()
        expect(page.locator("label", has_text="Small")).to_contain_text("For the exercises · 1G memory, 1 CPU")
        hers.no_wider_than_a_phone()
        hers.picture(f"profiles-{name}")
    # By keyboard: one up from the usual profile, and start.
    page.get_by_label("Usual").focus()
    page.keyboard.press("ArrowUp")
    expect(page.get_by_label("Small")).to_be_checked()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/user/tina/lab**")
    chosen = [server["profile"] for server in profiles_hub.status()["servers"] if server["user"] == "tina"]
    assert chosen == ["small"]

    # A second server beside it, from the hub's home.
    page = hers.open("/hub/home")
    page.get_by_label("server name").fill("second")
    hers.picture("home-named-servers")
    page.get_by_role("button", name="Add New Server").click()
    page.locator("#start-second").click()
    page.wait_for_url("**/hub/spawn/tina/second")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/user/tina/second/lab**")
    page = hers.open("/hub/home")
    page.locator("#stop-second").click()
    expect(page.locator("#start-second")).to_be_visible()
    hers.picture("home-two-servers")
    page.get_by_role("button", name="Stop My Server").click()
    expect(page.get_by_role("button", name="Start My Server")).to_be_visible()


PLACE = r"(you are next|1 person is before you|[1-9]\d* people are before you)[.]"


REMEMBER = """
new MutationObserver(() => {
  const sign = document.querySelector("[role=status]");
  if (sign?.checkVisibility()) {
    sessionStorage.told = (sessionStorage.told ?? "") + location.pathname + " " + sign.textContent + "\\n";
  }
}).observe(document, {subtree: true, childList: true, characterData: true, attributes: true});
"""
"""Chromium answers no question about a page that waits for the next one: so it has to remember what it told."""


def expect_told(page: Page, target: str, what: str) -> None:
    """Fail unless a page has told its place while its browser waited, and nothing else."""
    told = (page.evaluate("sessionStorage.told") or "").splitlines()
    assert told, "no place was shown"
    for one in told:
        assert re.fullmatch(f"{target} {what}: {PLACE}", one), one


def test_who_waits_for_a_start_sees_the_place(profiles_hub: RunningHub, window: Callable[[RunningHub], Window]) -> None:
    hub = profiles_hub
    crowd = [hub.person(f"crowd-{number}") for number in range(4)]
    lina = hub.person("lina")
    hers = window(hub)
    hers.page.add_init_script(REMEMBER)
    hers.log_in(lina.name)
    page = hers.open("/hub/home")
    last = {"Cookie": f"{COOKIE}=last"}

    def before() -> int:
        answer = requests.get(f"{hub.url}/hub/api/hubfleet/line", headers=last, timeout=10).json()
        return int(answer["before"] or 0)

    launcher = psutil.Process(hub.pid("launcher"))
    with ThreadPoolExecutor(100) as pool:
        launcher.suspend()  # each who comes asks it for the profiles, and has the hub's turn for as long as one may
        try:
            for person in crowd:
                for _ in range(20):
                    pool.submit(person.session.get, f"{hub.url}/hub/spawn", timeout=60)
            pool.submit(requests.get, f"{hub.url}/hub/spawn", headers=last, timeout=60)
            await_that("there is a line", lambda: before() > 45)
            page.get_by_role("button", name="Start My Server").click(no_wait_after=True)
            await_that("the line goes on", lambda: before() < 15)
        finally:
            launcher.resume()
    expect(page.get_by_role("heading", level=1)).to_have_text("Start your server")
    expect_told(page, "/hub/home", "Many are starting now")
    expect(page.get_by_role("status")).to_have_count(0)

    # Then there is the launcher's own queue: as many starts as it lets go on at once take their time.
    busy = crowd[: capacity() // 3 + 1]
    for person in busy:
        assert person.start()[-1]["ready"]
        person.stop()
        person.configure(WAITS)
        for server in ("server", "servers/one", "servers/two"):
            assert person.api("POST", f"/users/{person.name}/{server}", json={}).status_code == 202
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(f"**/hub/spawn-pending/{lina.name}**")
    message = page.locator("#progress-message")
    expect(message).to_have_text(re.compile(r"^Many are starting now: you are number \d+ in the queue"))
    hers.no_wider_than_a_phone()
    hers.picture("place-in-queue")
    for person in busy:
        (hub.homes / person.name / "go").touch()
    page.wait_for_url(f"**/user/{lina.name}/lab**")
    for person in busy:
        for server in ("", "one", "two"):
            person.stop(server)
    lina.stop()


def test_who_waits_to_log_in_sees_the_place(hub: RunningHub, window: Callable[[RunningHub], Window]) -> None:
    lotte = hub.person("lotte")
    hers = window(hub)
    hers.page.add_init_script(REMEMBER)
    page = hers.open("/hub/login")
    page.get_by_label("User name").fill(lotte.name)
    page.get_by_label("Password").fill(PASSWORD)
    strangers = [Person(hub, f"stranger-{number}", PASSWORD) for number in range(12 * (os.cpu_count() or 1))]
    for stranger in strangers:
        stranger.session.get(f"{hub.url}/hub/login")
    with ThreadPoolExecutor(len(strangers)) as pool:
        refused = [pool.submit(stranger.log_in) for stranger in strangers]
        page.keyboard.press("Enter")
    assert {one.result().status_code for one in refused} == {403}
    page.wait_for_url(f"**/user/{lotte.name}/lab**")
    expect_told(page, "/hub/login", "Many are coming in now")
    lotte.stop()


def test_the_admins_pages(hub: RunningHub, window: Callable[[RunningHub], Window]) -> None:
    ward = hub.person("ward")
    admins = window(hub)
    page = admins.log_in("admin", hub.password("admin_password.admin"))
    page.goto(f"{hub.url}/hub/admin")
    row = page.locator("tr", has=page.get_by_text("ward", exact=True)).first
    expect(row).to_be_visible()
    expect(page.get_by_role("button", name="Shutdown Hub")).to_be_hidden()  # the operator of the machine does that
    row.get_by_role("button", name="Start Server").click()
    await_that("the server runs", lambda: ward.servers().get("", {}).get("ready"), 90)
    page.reload()
    expect(row.get_by_role("button", name="Stop Server")).to_be_visible()
    admins.picture("admin")
    # What our admins may not do is not offered.
    for refused in ("Access Server", "Manage Groups"):
        expect(page.get_by_role("button", name=refused, include_hidden=True).first).to_be_hidden()
    page.goto(f"{hub.url}/user/ward/")
    expect(page.get_by_role("heading", level=1)).to_have_text("You may not do this")
    expect(page.locator(".error")).to_contain_text("Nobody but its owner can open it")
    admins.picture("somebody-elses-server")
    page.goto(f"{hub.url}/hub/admin")
    row.get_by_role("button", name="Stop Server").click()
    await_that("the server is stopped", lambda: not ward.servers(), 60)

    page.get_by_role("button", name="Add Users").or_(page.get_by_role("link", name="Add Users")).first.click()
    expect(page.locator("textarea")).to_be_visible()
    expect(page.locator("#admin-check")).to_be_hidden()
    admins.picture("add-users")
    page.locator("textarea").fill("added-by-hand")
    page.get_by_role("button", name="Add Users").last.click()
    expect(page.get_by_test_id("user-name-div-added-by-hand")).to_be_visible()
    assert "added-by-hand" in [user["name"] for user in hub.status()["users"]]


def test_an_admin_approves_and_blocks(approval_hub: RunningHub, window: Callable[[RunningHub], Window]) -> None:
    kept = "Files are not kept on this hub: download what you need before you stop your server."
    hers, admins = window(approval_hub), window(approval_hub)
    page = hers.open("/hub/signup")
    expect(page.get_by_text("an administrator has to approve you")).to_be_visible()
    hers.picture("signup-approval")
    page.get_by_label("Choose a user name").fill("greta")
    page.get_by_label("Choose a password").fill(PASSWORD)
    page.get_by_label("The same password again").fill(PASSWORD)
    page.get_by_role("button", name="Sign up").click()
    expect(page.get_by_role("alert")).to_contain_text("An administrator has to approve you")
    hers.picture("signup-approval-done")
    page = hers.open("/hub/login")
    page.get_by_label("User name").fill("greta")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("an administrator has to approve you first")
    hers.picture("login-not-approved")

    page = admins.log_in("admin", approval_hub.password("admin_password.admin"))
    admins.open("/hub/home")
    page.get_by_role("link", name="People").click()
    admins.no_wider_than_a_phone()
    admins.picture("people-waiting")
    page.get_by_role("button", name="Approve greta").click()
    expect(page.get_by_role("button", name="Block greta")).to_be_visible()
    admins.picture("people")

    # That nothing is kept stands on every page, before and after the login.
    for target in ("/hub/login", "/hub/signup"):
        expect(hers.open(target).get_by_text(kept)).to_be_visible()
    page = hers.log_in("greta")
    page.wait_for_url("**/user/greta/lab**")
    for target in ("/hub/home", "/hub/token", "/hub/change-password", "/hub/no-such-page"):
        expect(hers.open(target).get_by_text(kept)).to_be_visible()
    hers.open("/hub/home")
    hers.picture("home-not-kept")
    for target in ("/hub/admin", "/hub/people"):
        expect(admins.open(target).get_by_text(kept)).to_be_visible()

    admins.page.get_by_role("button", name="Block greta").click()
    expect(admins.page.get_by_role("button", name="Approve greta")).to_be_visible()
    assert "greta" not in [server["user"] for server in approval_hub.status()["servers"]]
    hers.open("/hub/home")
    expect(hers.page).to_have_url(re.compile("/hub/login"))


def test_the_page_while_the_hub_is_away(approval_hub: RunningHub, window: Callable[[RunningHub], Window]) -> None:
    hub = approval_hub
    his = window(hub)
    supervisor = psutil.Process(hub.pid("hub")).parent()
    assert supervisor is not None
    supervisor.suspend()  # or the hub would be back before anybody saw the page
    try:
        os.kill(hub.pid("hub"), signal.SIGKILL)
        await_that("the hub is away", lambda: not hub.answers())
        page = his.open("/hub/home")
        expect(page.get_by_role("heading", level=1)).to_have_text("One moment")
        expect(page.locator("body")).to_contain_text("servers that run go on running meanwhile")
        his.no_wider_than_a_phone()
        his.picture("hub-away")
    finally:
        supervisor.resume()
    # The page asks again by itself.
    expect(page.get_by_label("User name")).to_be_visible(timeout=SLOW_MS)

"""What people see who log in at a provider: a real Chromium, a real hub, the provider's own page."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from harness import RunningHub
from places import BUTTON, RULES, Place
from playwright.sync_api import expect
from visitors import tampered
from windows import Window

import needs

pytestmark = [needs.command("chromium")]


def test_from_the_button_to_the_server(place: Place, mine: Window) -> None:
    place.provider.add("s-bea", preferred_username="bea", groups=["physics"])
    page = mine.open("/")
    button = page.get_by_role("button", name=BUTTON)
    expect(button).to_be_visible()
    mine.no_wider_than_a_phone()
    mine.picture("login-provider")
    page.keyboard.press("Tab")
    button.focus()
    page.keyboard.press("Enter")
    page.get_by_placeholder("sub").fill("s-bea")
    page.get_by_role("button", name="Authorize", exact=True).click()
    page.wait_for_url("**/user/bea/lab**")
    page = mine.open("/hub/home")
    expect(page.get_by_text("bea", exact=True).first).to_be_visible()
    mine.picture("home-provider")
    page.get_by_role("button", name="Logout").or_(page.get_by_role("link", name="Logout")).click()
    expect(page.get_by_role("button", name=BUTTON)).to_be_visible()


def test_who_may_not_enter_reads_why(place: Place, mine: Window) -> None:
    page = place.come_in(mine, "nora")
    expect(page.get_by_role("heading", name="You may not do this")).to_be_visible()
    expect(page.get_by_text("You may not enter: nora is not on this hub's list")).to_be_visible()
    mine.no_wider_than_a_phone()
    mine.picture("refused-provider")


def test_who_says_no_at_the_provider_reads_so(place: Place, mine: Window) -> None:
    page = mine.open("/")
    page.get_by_role("button", name=BUTTON).click()
    page.get_by_role("button", name="Deny").click()
    expect(page.get_by_role("heading", name="That did not work")).to_be_visible()
    mine.picture("denied-provider")


def test_whoever_is_taken_off_the_list_is_out_at_the_next_click(place: Place, mine: Window) -> None:
    page = place.come_in(mine, "ben", "/hub/home")
    page.wait_for_url("**/hub/home")
    place.set(RULES.replace("ben, ", ""))
    place.hub.up()
    mine.open("/hub/home")
    expect(page.get_by_role("button", name=BUTTON)).to_be_visible()
    mine.picture("taken-off-provider")
    place.come_in(mine, "ben", "/hub/home")
    expect(page.get_by_text("You may not enter: ben is not on this hub's list")).to_be_visible()


def test_a_name_that_another_account_has_is_refused_in_words(place: Place, mine: Window) -> None:
    page = place.come_in(mine, "cem", "/hub/home")
    page.wait_for_url("**/hub/home")
    mine.context.clear_cookies()
    place.come_in(mine, "alike", "/hub/home", preferred_username="CEM")
    expect(page.get_by_text("The name cem belongs to another account of Example University here")).to_be_visible()
    mine.no_wider_than_a_phone()
    mine.picture("alike-provider")


def test_a_state_that_was_tampered_with_is_refused_in_words(place: Place, mine: Window) -> None:
    place.provider.add("s-ada", preferred_username="ada")
    page = mine.open("/hub/home")
    page.get_by_role("button", name=BUTTON).click()
    page.get_by_placeholder("sub").wait_for()
    page.goto(tampered(page.url, state="e30="))
    page.get_by_placeholder("sub").fill("s-ada")
    page.get_by_role("button", name="Authorize", exact=True).click()
    expect(page.get_by_text("This log-in was not begun in this browser, or too long ago.")).to_be_visible()
    mine.picture("tampered-provider")
    mine.open("/hub/home")
    expect(page.get_by_role("button", name=BUTTON)).to_be_visible()


def test_nobody_is_sent_elsewhere_after_the_log_in(place: Place, mine: Window) -> None:
    elsewhere = "//evil.example/x"
    page = place.come_in(mine, "ada", f"/hub/login?next={quote(elsewhere, safe='')}")
    page.wait_for_url(lambda url: url.startswith(f"{place.hub.url}/"))
    mine.picture("elsewhere-provider")
    mine.open("/hub/home")
    expect(page.get_by_text("ada", exact=True).first).to_be_visible()


def test_while_the_provider_is_away_who_is_logged_in_works_on(
    place: Place, mine: Window, window: Callable[[RunningHub], Window]
) -> None:
    page = place.come_in(mine, "ada", "/hub/home")
    page.wait_for_url("**/hub/home")
    place.provider.stop()
    try:
        place.hub.run("down", "--yes")
        place.hub.up()
        mine.open("/hub/home")
        expect(page.get_by_text("ada", exact=True).first).to_be_visible()
        other = window(place.hub)
        newcomer = other.open("/")
        newcomer.get_by_role("button", name=BUTTON).click()
        said = "Example University does not answer at the moment, so nobody can log in."
        expect(newcomer.get_by_text(said)).to_be_visible()
        other.no_wider_than_a_phone()
        other.picture("away-provider")
    finally:
        place.provider.start()

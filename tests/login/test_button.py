"""What people see who log in at a provider: a real Chromium, a real hub, the provider's own page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from places import Place
from playwright.sync_api import Browser, expect, sync_playwright
from windows import CHROMIUM, FLAGS, Window

import needs

pytestmark = [needs.command("chromium")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def mine(browser: Browser, place: Place) -> Iterator[Window]:
    """A window; none of the hub's pages may leave an error in the console."""
    window = Window(browser, place.hub)
    yield window
    window.context.close()
    assert window.faults == []


def test_from_the_button_to_the_server(place: Place, mine: Window) -> None:
    place.provider.add("s-bea", preferred_username="bea", groups=["physics"])
    page = mine.open("/")
    button = page.get_by_role("button", name="Log in with Example University")
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
    expect(page.get_by_role("button", name="Log in with Example University")).to_be_visible()


def test_who_may_not_enter_reads_why(place: Place, mine: Window) -> None:
    place.provider.add("s-nora", preferred_username="nora")
    page = mine.open("/")
    page.get_by_role("button", name="Log in with Example University").click()
    page.get_by_placeholder("sub").fill("s-nora")
    page.get_by_role("button", name="Authorize", exact=True).click()
    expect(page.get_by_role("heading", name="You may not do this")).to_be_visible()
    expect(page.get_by_text("You may not enter: nora is not on this hub's list")).to_be_visible()
    mine.no_wider_than_a_phone()
    mine.picture("refused-provider")


def test_who_says_no_at_the_provider_reads_so(place: Place, mine: Window) -> None:
    page = mine.open("/")
    page.get_by_role("button", name="Log in with Example University").click()
    page.get_by_role("button", name="Deny").click()
    expect(page.get_by_role("heading", name="That did not work")).to_be_visible()
    mine.picture("denied-provider")

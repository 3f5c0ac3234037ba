"""Browser windows on a hub. HUBFLEET_SCREENSHOTS=DIRECTORY keeps a picture of every page."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Protocol

from harness import PASSWORD
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync "
    "--disable-quic --no-first-run"
)
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
SLOW_MS = 90_000  # the most that a server's start or JupyterLab's first picture may take on a busy machine


class Hub(Protocol):
    """Wherever it runs. ``url``: of its entrance, as a browser on this machine reaches it."""

    url: str


class Window:
    """One person's browser window on a hub."""

    def __init__(self, browser: Browser, hub: Hub, **options: Any) -> None:
        self.hub = hub
        self.context = browser.new_context(viewport=DESKTOP, **options)
        self.context.set_default_timeout(SLOW_MS)
        self.page: Page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self._fault(str(error)))

    def _console(self, message: ConsoleMessage) -> None:
        # An answer such as 403 is reported as a failure to load; tests that expect one look at the page itself.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self._fault(message.text)

    def _fault(self, text: str) -> None:
        if "/hub/" in self.page.url:  # what JupyterLab says of itself (as when its page is left) is not ours
            self.faults.append(f"{self.page.url}: {text}")

    def open(self, target: str) -> Page:
        self.page.goto(self.hub.url + target)
        return self.page

    def log_in(self, name: str, password: str = PASSWORD) -> Page:
        page = self.open("/hub/login")
        page.get_by_label("User name").fill(name)
        page.get_by_label("Password").fill(password)
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile(r"/hub/(home|spawn)|/user/"))
        return page

    def picture(self, name: str, page: Page | None = None) -> None:
        """Keep the page, or another one of its, as it is now, on a desktop and on a phone."""
        folder, page = os.environ.get("HUBFLEET_SCREENSHOTS"), page or self.page
        if not folder:
            return
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{folder}/{name}-desktop.png")
        page.set_viewport_size(PHONE)
        page.screenshot(path=f"{folder}/{name}-phone.png")
        page.set_viewport_size(DESKTOP)

    def no_wider_than_a_phone(self) -> None:
        """Fail when a phone would have to scroll sideways."""
        self.page.set_viewport_size(PHONE)
        assert self.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], self.page.url
        self.page.set_viewport_size(DESKTOP)


def run_cell(page: Page, code: str) -> None:
    """Type code into the notebook's last cell and run it, as soon as the kernel is there."""
    indicator = page.locator(".jp-Notebook-ExecutionIndicator").first
    expect(indicator).to_have_attribute("data-status", "idle", timeout=SLOW_MS)
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    cell = cells.nth(cells.count() - 1)  # fixed: a run adds another cell below
    text = cell.locator(".cm-content")
    text.click()
    expect(page.locator(".jp-Notebook .cm-editor.cm-focused")).to_be_visible()
    expect(page.get_by_text("Mode: Edit")).to_be_visible()  # what is typed before is lost
    page.keyboard.insert_text(code)
    expect(text).to_contain_text(code.partition("\n")[0])
    for _ in range(10):  # JupyterLab shows "idle", and runs nothing, while its kernel is still connecting
        page.keyboard.press("Shift+Enter")
        try:
            expect(cell.locator(".jp-InputArea-prompt")).not_to_have_text("[ ]:", timeout=4000)
            return
        except AssertionError:
            text.click()
    raise AssertionError(f"the cell does not run: {code}")

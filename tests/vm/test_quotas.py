"""Limits of homes on a kernel that has them: hit, changed, escaped from, and still there after a reboot.

Two boots, one script for each, many questions: the processor is emulated. Between the two a browser on this machine is
on the hub in the guest, through a forwarded port: what people see is the real thing, from the kernel to the page.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from guests import Guest, Guests, awaited
from playwright.sync_api import Page, expect, sync_playwright
from test_systemd_guest import THERE, with_checkout
from windows import CHROMIUM, FLAGS, Window

import needs

SCRIPT = Path(__file__).with_name("quota_script.py")
LIMIT_S = 1800
MIB = 1024**2
Seen = dict[str, dict[str, Any]]

PAGE_LIMIT_S = 300.0
"""For a page of an emulated machine, JupyterLab's first one included."""
HOMES = "/var/lib/hubfleet/guest/homes"
NOTEBOOK = {
    "cells": [{"cell_type": "code", "id": "one", "metadata": {}, "source": "", "outputs": [], "execution_count": None}],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}

pytestmark = needs.guests(4200)


def told(guest: Guest, half: str) -> Seen:
    said = guest.run(f"cd /root && /{THERE}/.venv/bin/python /root/script.py {half} 2>&1", check=False, limit_s=LIMIT_S)
    print(said)
    lines = [json.loads(line) for line in said.splitlines() if line.startswith('{"what": ')]
    found = {line["what"]: line for line in lines}
    assert lines, said
    assert "failed" not in found, found["failed"]
    return found


@pytest.fixture(scope="module")
def guest(guests: Guests) -> Guest:
    """A machine with this checkout."""
    made = guests.begin("quotas", with_checkout(), memory="3G", processors=4)
    made.await_up()
    made.put(SCRIPT, "/root/script.py")
    return made


@pytest.fixture(scope="module")
def before(guest: Guest) -> Seen:
    """What the script in the guest has seen of each thing. Its hub runs on, and ada's server with it."""
    return told(guest, "before")


@pytest.fixture(scope="module")
def after(guest: Guest, before: Seen) -> Seen:
    """The same after a reboot; the hub is removed then."""
    guest.reboot()
    return {**before, **told(guest, "after")}


def test_homes_that_are_there_are_not_hidden(before: Seen) -> None:
    refused = before["homes in the way"]
    assert (refused["code"], refused["mounted"]) == (3, False)
    assert "holds somebody, which would be hidden under the new file system" in refused["said"]


def test_the_disk_is_made_and_mounted(before: Seen) -> None:
    disk = before["disk"]
    assert "create disk /var/lib/hubfleet/guest/homes" in disk["text"]
    assert disk["options"].startswith("xfs ")
    assert all(option in disk["options"] for option in ("prjquota", "nosuid", "nodev"))
    assert disk["size"] == 700 * MIB
    assert disk["taken"] < 100 * MIB, "it takes the room that is in use"
    assert before["nothing more to do"]["changes"] == []


def test_each_home_is_counted_by_itself(before: Seen) -> None:
    numbers = before["projects"]["projects"]
    assert set(numbers) == {"ada", "ben"}
    assert len({0, *numbers.values()}) == 3
    limits = {name: limit for name, (_, limit) in before["projects"]["used"].items()}
    assert limits == {"ada": 24 * MIB, "ben": 60 * MIB}
    assert before["projects"]["page"].endswith("of 24M.")


def test_a_save_beyond_the_limit_fails_in_words(before: Seen) -> None:
    full = before["ada is full"]
    assert (full["first"]["status"], full["count"]) == (201, 5)
    assert full["said"]["status"] == 507
    assert "Your home has too little room left (20.0 MB of 24.0 MB are in use). part5.txt" in full["said"]["message"]
    assert "open /user/ada/hubfleet/room" in full["said"]["message"]
    assert not full["left"], "a part of a file that nobody asked for takes room"
    assert full["used"]["ada"][0] <= 24 * MIB


def test_an_old_notebook_stays_whole(before: Seen) -> None:
    old = before["an old notebook"]
    assert (old["said"]["status"], old["same"]) == (507, True)
    assert old["beside"] == ["work.ipynb"]


def test_a_limit_of_the_account_is_the_same_to_an_old_file(before: Seen) -> None:
    found = before["limited by id"]
    assert found["errno"] == errno.EDQUOT
    (first, _), (second, words) = found["said"]
    assert (first, second, found["kept"]) == (0, 507, 100_000)
    assert words.startswith("You may keep no more in /srv/by-id. work.txt was not saved")


def test_somebody_elses_limit_is_another(before: Seen) -> None:
    assert before["ben is not"] == {**before["ben is not"], "count": 10, "said": {}}


def test_nobody_gets_out_of_being_counted(before: Seen) -> None:
    assert before["escape"]["said"] == ["1", "1"]


def test_a_changed_limit_counts_at_once_for_a_running_server(before: Seen) -> None:
    larger, smaller = before["a larger limit"], before["a smaller limit"]
    assert (larger["code"], larger["more"], larger["server"]) == (0, 4, True)
    assert larger["used"]["ada"][1] == 40 * MIB
    assert smaller["code"] == 0
    assert smaller["said"]["status"] == 507
    assert smaller["used"]["ada"][0] > smaller["used"]["ada"][1] == 16 * MIB, "nothing is lost by it"


def test_nearly_full_is_said(before: Seen) -> None:
    assert before["nearly full"]["page"].startswith("Your home is nearly full (36.")
    assert any(line.startswith("1 home nearly full: ada (36.") for line in before["nearly full"]["warnings"])


def test_a_full_home_starts_and_has_a_way_out(before: Seen) -> None:
    assert before["to the last byte"]["said"].startswith("28")
    assert before["to the last byte"]["page"].startswith("Your home is full (40M of 40M)")
    started = before["started full"]
    assert started["kernel"].startswith("42")
    assert started["said"]["message"].startswith("Your home is full (40.0 MB of 40.0 MB are in use). new.txt was not")
    assert "Empty the trash (4.0 MB)" in started["room"]
    assert before["deleted at once"]["status"] == 204
    assert before["deleted at once"]["used"][0] < 37 * MIB
    assert "Done: 4.0 MB more are free." in before["trash emptied"]["room"]
    assert before["trash emptied"]["used"][0] < 33 * MIB
    assert (before["saved again"]["said"]["status"], before["saved again"]["content"]) == (200, True)


def test_the_disk_grows_and_never_shrinks(before: Seen) -> None:
    larger, smaller = before["a larger disk"], before["a smaller disk"]
    assert (larger["code"], larger["server"]) == (0, True)
    assert larger["size"] > 750 * MIB
    assert smaller["code"] == 3
    assert "has 900M, and is never made smaller" in smaller["said"]


@dataclass(frozen=True)
class There:
    """The hub in the guest, as a browser here reaches it."""

    url: str


@pytest.fixture
def window(guest: Guest, before: Seen) -> Iterator[Window]:
    """A window on this machine on the hub in the guest."""
    expect.set_options(timeout=PAGE_LIMIT_S * 1000)
    port = int(json.loads(guest.run("cat /root/kept.json"))["port"])
    with guest.reached(port) as here, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        made = Window(browser, There(f"http://127.0.0.1:{here}"))
        made.context.set_default_timeout(PAGE_LIMIT_S * 1000)
        yield made
        browser.close()
    assert made.faults == []


class Home:
    """Of ben, on its real disk with its real limit. There was room in it when his server was started."""

    def __init__(self, guest: Guest) -> None:
        self._guest, self.place = guest, f"{HOMES}/ben"
        owner = guest.run("stat", "-c", "%u:%g", self.place).split(":")
        self._as_ben = ["setpriv", f"--reuid={owner[0]}", f"--regid={owner[1]}", "--clear-groups", "sh", "-c"]

    def run(self, line: str, text: str = "") -> str:
        """What a line for the shell prints, in the home and as its owner."""
        return self._guest.run(*self._as_ben, f"cd {self.place} && {line}", text=text)

    def fill(self) -> None:
        """With a part in the trash and the rest in one file, to the last block."""
        trash = ".local/share/Trash/files"
        self.run(f"mkdir -p {trash} && head -c 3000000 /dev/zero >{trash}/old.csv")
        self.run("cat /dev/zero >data.csv 2>/dev/null; dd if=/dev/zero bs=4k 2>/dev/null >>data.csv; true")


def edit(page: Page, text: str) -> None:
    """Add to the notebook's first cell."""
    page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
    expect(page.locator(".jp-Notebook .cm-editor.cm-focused")).to_be_visible()
    expect(page.get_by_text("Mode: Edit")).to_be_visible()  # what is typed before is lost
    page.keyboard.press("Control+End")
    page.keyboard.insert_text(text)


@needs.command("chromium")
def test_a_save_in_a_full_home_says_why_in_the_browser_and_goes_through_once_there_is_room(
    guest: Guest, window: Window
) -> None:
    home = Home(guest)
    home.run("cat >thesis.ipynb", json.dumps(NOTEBOOK))
    page = window.log_in("ben")
    page.goto(f"{window.hub.url}/user/ben/lab/tree/thesis.ipynb")
    expect(page.locator(".jp-Notebook .jp-CodeCell")).to_have_count(1)
    expect(page.locator(".jp-Notebook-ExecutionIndicator").first).to_have_attribute("data-status", "idle")
    edit(page, "first = 'chapter'")
    page.keyboard.press("Control+s")
    awaited(guest, f"cat {home.place}/thesis.ipynb", "chapter")

    home.fill()
    kept = home.run("sha256sum thesis.ipynb")
    edit(page, "\nsecond = 'results'")
    page.keyboard.press("Control+s")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("File Save Error for thesis.ipynb")
    expect(dialog).to_contain_text("Your home is full (60.0 MB of 60.0 MB are in use)")
    expect(dialog).to_contain_text("thesis.ipynb was not saved; on the disk it is as it was before")
    expect(dialog).to_contain_text("To make room, open /user/ben/hubfleet/room in your browser, then try again")
    window.picture("save-in-a-full-home")
    assert home.run("sha256sum thesis.ipynb") == kept
    assert home.run("ls -A | grep thesis") == "thesis.ipynb"
    close = dialog.get_by_role("button", name="Close")
    close.click()
    expect(dialog).to_have_count(0)
    page.add_locator_handler(dialog, lambda: close.click())  # JupyterLab saves by itself too, and would say it again
    unsaved = page.locator(".lm-TabBar-tab.jp-mod-dirty")
    expect(unsaved).to_have_count(1)

    room = window.context.new_page()
    room.goto(f"{window.hub.url}/user/ben/hubfleet/room")
    expect(room.get_by_role("heading", level=1)).to_have_text("Room in your home")
    expect(room.get_by_text("60.0 MB of 60.0 MB are in use")).to_be_visible()
    window.picture("room-in-a-full-home", room)
    room.get_by_role("button", name="Empty the trash").click()
    expect(room.get_by_role("status")).to_have_text("Done: 2.9 MB more are free.")
    page.bring_to_front()
    expect(dialog).to_have_count(0)
    page.keyboard.press("Control+s")
    expect(unsaved).to_have_count(0)
    window.picture("saved-after-the-trash")
    (cell,) = json.loads(home.run("cat thesis.ipynb"))["cells"]
    assert "".join(cell["source"]) == "first = 'chapter'\nsecond = 'results'"

    room.bring_to_front()
    room.get_by_label("data.csv").check()
    room.get_by_role("button", name="Delete the chosen for good").click()
    expect(room.get_by_role("status")).to_contain_text("more are free")
    window.picture("room-made", room)
    left = home.run("ls -A data.csv .local/share/Trash/files 2>/dev/null || true")
    assert left in ("", ".local/share/Trash/files:")


def test_all_of_it_outlives_a_reboot(after: Seen) -> None:
    there = after["after a reboot"]
    assert there["mounted"]
    assert there["projects"] == there["before"]
    assert there["changes"] == []
    assert after["still limited"]["said"]["status"] == 507
    assert after["still limited"]["used"][1] == 40 * MIB


def test_no_number_is_given_out_twice(after: Seen) -> None:
    numbers = after["a new number"]["projects"]
    assert numbers["carl"] > max(numbers["ada"], numbers["ben"])
    lost = after["a lost table"]
    assert lost["code"] == 0
    assert min(lost["projects"].values()) > max(numbers.values())
    assert lost["used"]["ada"][1] == 48 * MIB
    assert lost["used"]["ada"][0] > 20 * MIB


def test_a_group_of_the_hub_has_another_limit(after: Seen) -> None:
    found = after["a group of the hub"]
    assert found["codes"] == [201, 200]
    assert found["used"][1] == 70 * MIB
    assert after["a lost table"]["used"]["carl"][1] == 70 * MIB, "it is known when nobody starts a server"


def test_it_goes_with_the_hub(after: Seen) -> None:
    removed = after["removed"]
    assert (removed["code"], removed["state"], removed["units"]) == (0, False, []), removed["said"]

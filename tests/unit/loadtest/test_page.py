"""The page and its plots."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from hubfleet.loadtest import page
from hubfleet.loadtest.plots import Series, cumulative, plot, ticks
from unit.loadtest.results import record, result, watched


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        (4, [0, 1, 2, 3, 4]),
        (220, [0, 50, 100, 150, 200, 250]),
        (0.03, [0, 0.01, 0.02, 0.03]),
        (7, [0, 2, 4, 6, 8]),
        (0, [0, 1]),
    ],
)
def test_axes_have_round_numbers(top: float, expected: list[float]) -> None:
    assert ticks(top) == expected


def test_a_line_of_numbers_of_people() -> None:
    assert cumulative([3.0, 1.0]) == [(0.0, 0.0), (1.0, 1.0), (3.0, 2.0)]


def test_a_plot_puts_points_where_they_belong() -> None:
    picture = plot("Title", "seconds", "people", [Series("ready", [(0, 0), (10, 4)])], top=4)
    tree = ElementTree.fromstring(picture)
    [line] = [entry for entry in tree.iter() if entry.tag.endswith("polyline") and entry.get("class") == "line"]
    assert line.get("points") == "56.0,220.0 570.0,14.0"
    assert "ready" in [entry.text for entry in tree.iter()]


def test_the_page_needs_nothing_from_anywhere() -> None:
    text = page(result([record(1), record(2)], watched(2)))
    assert not re.findall(r"""(?:src|href)=["'](?!data:,)""", text)
    assert "<script" not in text
    assert "@import" not in text
    assert text.count("<svg") == 3


def test_what_people_and_hubs_say_is_text_on_the_page() -> None:
    text = page(result([record(1, failed=("start", "<script>alert(1)</script>"))], None))
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_the_page_says_what_was_not_measured() -> None:
    machine = watched(1)
    machine.not_measured.append("memory of 3 people's servers: only root may look (try sudo)")
    assert "Not measured: memory of 3 people" in page(result([record(1)], machine))
    assert "The hub runs elsewhere" in page(result([record(1)], None))


def test_the_middle_of_each_column_is_its_own() -> None:
    machine = watched(3)
    for footprint, (pss, cpu_s) in zip(machine.people.values(), [(1, 3.0), (2, 9.0), (3, 4.0)], strict=True):
        footprint.pss, footprint.cpu_s = pss * 1024**2, cpu_s
    text = re.sub(r"<[^>]+>", " ", page(result([record(number) for number in (1, 2, 3)], machine)))
    assert re.search(r"a person, p50\s+2 MB\s+4\.00 s", text)
    assert re.search(r"a person, max\s+3 MB\s+9\.00 s", text)

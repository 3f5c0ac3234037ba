"""The reference of Deployer's files is in step with what is read."""

from __future__ import annotations

from pathlib import Path

from hubfleet.config.document import read_given
from hubfleet.deployer.hosts import KNOWN
from hubfleet.deployer.projects import JUPYTERHUB
from hubfleet.deployer.properties import PROPERTIES
from hubfleet.deployer.reference import PAGE, page

REFERENCE = Path(__file__).parents[3] / "docs/reference"


def test_the_page_is_up_to_date() -> None:
    assert (REFERENCE / PAGE).read_text() == page(), "run: make docs"


def test_it_has_all_there_is() -> None:
    text = page()
    for word in (*PROPERTIES, *KNOWN, *JUPYTERHUB.actions):
        assert f"| `{word}` |" in text, word


def test_each_example_is_read() -> None:
    for name, known in PROPERTIES.items():
        given = read_given(Path(), "x", known.example).data["x"] if known.example[0] in "[{" else known.example
        if given != "|":
            assert known.read(given) not in (None, ""), name

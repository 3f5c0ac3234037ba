"""What is found out beforehand is not asked again, and nothing else is taken for it."""

from __future__ import annotations

import importlib.metadata
import sys
from typing import Any

import jsonschema
import pytest

from hubfleet.forkserver import known


class Counted:
    """A validator's class that notes what it has checked."""

    def __init__(self) -> None:
        self.checked: list[Any] = []

    def __call__(self, schema: Any) -> Any:
        return jsonschema.Draft7Validator(schema)

    def check_schema(self, schema: Any, *more: Any, **options: Any) -> None:
        self.checked.append(schema)
        jsonschema.Draft7Validator.check_schema(schema, *more, **options)


def test_a_schema_that_is_right_is_checked_once() -> None:
    counted = Counted()
    validator = known.Checked(counted)
    right, other = {"type": "object", "title": "One"}, {"title": "One", "type": "string"}
    for schema in (right, dict(right), other, right):
        validator.check_schema(schema)
    assert counted.checked == [right, other]
    validator.check_schema(right, format_checker=None)
    assert len(counted.checked) == 3, "asked for more, it is checked again"
    validator.check_schema({"default": {1, 2}})
    validator.check_schema({"default": {1, 2}})
    assert len(counted.checked) == 5, "it is no JSON"
    assert validator({"type": "integer"}).is_valid(7)


def test_a_schema_that_is_wrong_is_wrong_each_time() -> None:
    validator = known.Checked(Counted())
    for _ in range(2):
        with pytest.raises(jsonschema.SchemaError, match="'thing' is not valid"):
            validator.check_schema({"type": "thing"})


@pytest.fixture
def offers(monkeypatch: pytest.MonkeyPatch) -> known.Offers:
    read = importlib.metadata.entry_points
    monkeypatch.setattr(importlib.metadata, "entry_points", read)  # to be as it was afterwards
    return known.Offers()


def shown(found: Any) -> list[str]:
    return sorted(f"{one.group} {one.name} {one.value}" for one in found)


def test_offers_are_those_that_are_read(offers: known.Offers) -> None:
    expected = shown(offers._read(group="console_scripts"))
    assert importlib.metadata.entry_points == offers.entry_points
    assert shown(offers.entry_points(group="console_scripts")) == expected
    offers.learn()
    assert shown(offers.entry_points(group="console_scripts")) == expected
    assert len(expected) > 5
    assert shown(offers.entry_points(group="console_scripts", name="hubfleet")) == [
        one for one in expected if " hubfleet " in one
    ]


def test_offers_are_read_again_in_another_place(
    offers: known.Offers, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    offers.learn()
    about = tmp_path / "own_thing-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: own-thing\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[own.things]\nown = own_thing:it\n")
    assert shown(offers.entry_points(group="own.things")) == []
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert shown(offers.entry_points(group="own.things")) == ["own.things own own_thing:it"]

"""Who of those that a provider vouches for may enter."""

from __future__ import annotations

import pytest

from hubfleet.admission import BLOCKED, NOT_LISTED, Person, Rules


@pytest.mark.parametrize(
    ("rules", "person", "why_not"),
    [
        (Rules(), Person("ada"), NOT_LISTED),
        (Rules(names=frozenset({"ada"})), Person("ada"), None),
        (Rules(names=frozenset({"ada"})), Person("adam"), NOT_LISTED),
        (Rules(admins=frozenset({"profx"})), Person("profx"), None),
        (Rules(everybody=True), Person("ada"), None),
        (Rules(everybody=True, block=frozenset({"ada"})), Person("ada"), BLOCKED),
        (Rules(groups=frozenset({"edu/physics"})), Person("ada", groups=frozenset({"Edu/Physics"})), None),
        (Rules(groups=frozenset({"edu/physics"})), Person("ada", groups=frozenset({"edu/physics-2"})), NOT_LISTED),
        (Rules(organizations=frozenset({"edu"})), Person("ada", organizations=frozenset({"edu"})), None),
        (Rules(organizations=frozenset({"edu"})), Person("edu", groups=frozenset({"edu"})), NOT_LISTED),
        (Rules(domains=frozenset({"example.edu"})), Person("ada", domains=frozenset({"example.edu"})), None),
        (Rules(domains=frozenset({"example.edu"})), Person("a@example.edu"), NOT_LISTED),
    ],
)
def test_who_may_enter(rules: Rules, person: Person, why_not: str | None) -> None:
    assert rules.why_not(person) == why_not


def test_the_file_has_the_same_text_for_the_same_rules() -> None:
    rules = Rules(
        names=frozenset({"ben", "ada", "\u00e9ve"}),
        groups=frozenset({"edu/physics"}),
        block=frozenset({"x"}),
        stop=False,
    )
    assert Rules.from_text(rules.to_text()) == rules
    assert rules.to_text() == Rules.from_text(rules.to_text()).to_text()
    assert rules.asks == {"groups"}


WRONG = Rules().to_text().replace('"names": []', '"names": 1')
LOOSE = Rules().to_text().replace('"everybody": false', '"everybody": ["ada"]')


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"everybody": true}', "null", WRONG, LOOSE])
def test_another_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Rules.from_text(text)


def test_a_person_as_it_is_kept() -> None:
    person = Person("ada", "1", frozenset({"edu/x"}), frozenset({"edu"}), frozenset({"example.edu"}))
    assert Person.from_json(person.to_json()) == person

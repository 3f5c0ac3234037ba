"""Names that are made of addresses."""

from __future__ import annotations


def stripped(name: str, domain: str | None) -> str:
    """What is before the `@` for people of this domain; all of it for others."""
    before, at, after = name.rpartition("@")
    return before if at and domain and after.lower() == domain else name


def domain_of(name: str) -> frozenset[str]:
    """The domain of an address; none for a name without one."""
    _, at, after = name.rpartition("@")
    return frozenset([after.lower()] if at else [])

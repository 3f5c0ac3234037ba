"""Resources of the Docker engine, brought about by the agent on the engine of the tests."""

from __future__ import annotations

import os
import uuid

from hubfleet.agent import converge as agent
from hubfleet.resources import Change, Observed, Resource


def own(word: str) -> str:
    """A name that no other test has."""
    return f"hf-{word}-{os.getpid()}-{uuid.uuid4().hex[:6]}"


def look(resource: Resource) -> Observed | None:
    return agent.observe([resource])[resource.id]


def converge(resource: Resource, said: list[str] | None = None) -> Change | None:
    """Applies what is needed; the change. What is told meanwhile goes into ``said``."""
    change = resource.diff(look(resource))
    if change:
        agent.apply(change, (said if said is not None else []).append)
    assert resource.diff(look(resource)) is None
    return change


def remove(resource: Resource) -> None:
    change = resource.removal(look(resource))
    assert change
    assert agent.apply(change, lambda line: None)
    assert look(resource) is None
    assert not agent.apply(change, lambda line: None)

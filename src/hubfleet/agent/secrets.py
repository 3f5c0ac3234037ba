"""What one machine tells so that another can be changed: right before that step, and for it alone."""

from __future__ import annotations

from collections.abc import Callable

from hubfleet.agent.swarm import worker_token
from hubfleet.errors import ApplyError
from hubfleet.resources.swarmmember import WORKER_TOKEN

SECRETS: dict[str, Callable[[], str]] = {WORKER_TOKEN: worker_token}
"""All that can be asked for, see `Resource.needs`."""


def secret(what: str) -> str:
    """Raises ApplyError if this machine has none, or knows of none such."""
    if what not in SECRETS:
        raise ApplyError(f"no secret of that name: {what}")
    return SECRETS[what]()

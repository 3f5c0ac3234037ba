"""Lets other machines in through the firewalls of this one, and closes what was opened."""

from __future__ import annotations

import os

from hubfleet.agent import firewalld, netfilter, ufw
from hubfleet.agent.base import Progress
from hubfleet.errors import ApplyError
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.opening import Opening


def firewalls() -> list[str]:
    """Those that are active and let in only what is named, by the names that `Opening` knows them by; none where
    only root could see them."""
    if os.geteuid() != 0:
        return []
    try:
        seen = observe(Opening(""))["firewalls"]
    except ApplyError as error:
        return [f"one that does not say what it lets in ({error.what})"]
    return [name for name, one in seen.items() if one["active"]]


def observe(opening: Opening) -> Observed:
    """Never None: a machine's firewalls are there without us, and its having none is what there is to know."""
    policies, unsaved = firewalld.observe(opening)
    kept = {**ufw.observe(opening), **policies}
    rest = netfilter.observe(opening, iptables=not any(one["active"] for one in kept.values()))
    return {"firewalls": {**kept, **rest}, "unsaved": unsaved}


def apply(opening: Opening, change: Change, progress: Progress) -> None:
    """Raises ApplyError with the firewall's words."""
    if change.action == "remove":
        opening = Opening(opening.name)
    programs = {**ufw.observe(opening), **firewalld.observe(opening)[0]}
    if ufw.NAME in programs:
        progress("telling ufw")
        ufw.apply(opening)
    if firewalld.NAME in programs:
        progress("telling firewalld")
        firewalld.apply(opening)
    netfilter.apply(opening, iptables=not any(one["active"] for one in programs.values()))

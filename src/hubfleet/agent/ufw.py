"""The openings in ufw: rules of its own kind, with a comment that names the hubs they are for.

ufw has each rule once. So where two hubs want the same, the comment names both, and the rule goes with the last of
them. A rule of somebody else's that says the same is left alone, and is all that is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hubfleet.agent.docker import PLACES, tool
from hubfleet.agent.programs import call
from hubfleet.errors import ApplyError
from hubfleet.resources.base import Observed
from hubfleet.resources.opening import Opening, Way

NAME = "ufw"
RULES = Path("/etc/ufw/user.rules")
SETTINGS = Path("/etc/ufw/ufw.conf")
_TUPLE = "### tuple ### "
_WORD = "hubfleet"
_FIELDS = 7
"""Of a tuple: action, protocol, port, destination, source's port, source, direction; a comment may follow."""


@dataclass(frozen=True)
class _Rule:
    """One that is about a way. hubs: those it is for; None: it is somebody else's."""

    action: str
    way: Way
    hubs: tuple[str, ...] | None


def active() -> bool:
    """Whether it is there and in force."""
    if tool("ufw") is None or not SETTINGS.exists() or "ENABLED=yes" not in SETTINGS.read_text(encoding="utf-8"):
        return False
    return _run("status").startswith("Status: active")


def observe(opening: Opening) -> dict[str, Observed]:
    """As `Opening` has firewalls observed. What it keeps is what is in force while it is active."""
    if tool("ufw") is None:
        return {}
    there = list(_rules())
    ours = [rule.way for rule in there if rule.hubs and opening.name in rule.hubs]
    given = [rule.way for rule in there if rule.hubs is None and rule.action == "allow" and rule.way in opening.ways]
    is_active = active()
    if not is_active and not ours:
        return {}
    return {NAME: {"active": is_active, "passes": False, "now": sorted(ours), "kept": sorted(ours), "given": given}}


def apply(opening: Opening) -> None:
    """Have its rules for this hub be the wanted ones. Raises ApplyError with its words, or for a rule in the way."""
    there = {rule.way: rule for rule in _rules()}
    wanted = set(opening.ways) if active() else set()
    for way in sorted({*wanted, *there}):
        rule = there.get(way)
        if rule and rule.hubs is None:
            if way in wanted and rule.action != "allow":  # to allow it would change that rule
                words = " ".join([rule.action, *_words(way)])
                raise ApplyError(f"ufw has a rule of yours in the way: {words}", remedy=f"ufw delete {words}, there")
            continue
        hubs = set(rule.hubs or ()) if rule else set()
        meant = hubs | {opening.name} if way in wanted else hubs - {opening.name}
        if meant == hubs:
            continue
        if meant:
            _run("allow", *_words(way), "comment", " ".join([_WORD, *sorted(meant)]))
        else:
            _run("--force", "delete", "allow", *_words(way))


def _words(way: Way) -> list[str]:
    source, what = way
    protocol, _, port = what.partition("/")
    return ["proto", protocol, "from", source, "to", "any", *(["port", port] if port else [])]


def _rules() -> Iterator[_Rule]:
    """Those about what one address may reach at one port, from where ufw keeps them."""
    lines = RULES.read_text(encoding="utf-8").splitlines() if RULES.exists() else []
    for line in lines:
        words = line[len(_TUPLE) :].split() if line.startswith(_TUPLE) else []
        if len(words) < _FIELDS or (words[3], words[4], words[6]) != ("0.0.0.0/0", "any", "in"):
            continue
        said = next((word.partition("=")[2] for word in words[_FIELDS:] if word.startswith("comment=")), "")
        comment = bytes.fromhex(said).decode(errors="replace").split()
        what = words[1] if words[2] == "any" else f"{words[1]}/{words[2]}"
        hubs = tuple(comment[1:]) if comment[:1] == [_WORD] else None
        yield _Rule(words[0], (words[5], what), hubs)


def _run(*words: str) -> str:
    return call("ufw", *words, environ={"LC_ALL": "C", "PATH": PLACES})

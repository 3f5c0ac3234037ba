"""The openings in firewalld: a policy for each hub, from anywhere to the machine, with a rule for each way.

A policy has a name and a description, and is looked at before the zones. It is a file, which firewalld takes up when it
loads its settings anew. That would undo what somebody has changed until then, so it is looked for first; a policy that
is taken up already is changed without.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from hubfleet.agent import file
from hubfleet.agent.docker import PLACES, tool
from hubfleet.agent.programs import call
from hubfleet.errors import ApplyError
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.file import File
from hubfleet.resources.opening import Opening, Way

NAME = "firewalld"
POLICIES = Path("/etc/firewalld/policies")
_PREFIX = "hf-"
_ENVIRON = {"LC_ALL": "C", "PATH": PLACES}
_RULE = re.compile(
    r'rule family="ipv4" source address="(?P<source>[0-9.]+)" '
    r'(port port="(?P<port>\d+)" protocol="(?P<protocol>[a-z]+)"|protocol value="(?P<bare>[a-z]+)") accept'
)
_POLICY = """\
<?xml version="1.0" encoding="utf-8"?>
<policy target="CONTINUE">
  <short>{mark}</short>
  <description>What other machines of hub {hub} may reach. Written by hubfleet, which replaces it.</description>
  <ingress-zone name="ANY"/>
  <egress-zone name="HOST"/>
{rules}
</policy>
"""
_OF_THE_MOMENT = "  interfaces:"
"""What a zone in force has and its settings have not, though nobody has changed it."""


def policy(opening: Opening) -> str:
    """Its name: such a name may have 17 characters."""
    return f"{_PREFIX}{hashlib.sha256(opening.name.encode()).hexdigest()[:10]}"


def observe(opening: Opening) -> tuple[dict[str, Observed], str]:
    """As `Opening` has firewalls observed, and what would be lost."""
    kept = sorted(_in_file(_file(opening)))
    runs, now = _in_force(opening)
    seen = {"active": runs, "passes": False, "now": sorted(now or ()), "kept": kept, "given": []}
    return ({NAME: seen} if runs or kept else {}), (_unsaved() if runs and now is None and opening.ways else "")


def apply(opening: Opening) -> None:
    """Have the policy's rules be the wanted ones. Raises ApplyError with firewalld's words."""
    path = _file(opening)
    runs, now = _in_force(opening)
    wanted = set(opening.ways) if runs else set()
    if wanted:
        text = _POLICY.format(mark=opening.mark, hub=opening.name, rules="\n".join(map(_element, sorted(wanted))))
        whole = File(str(path), text, mode=0o644)
        file.apply(whole, Change(whole, "update"), lambda line: None)
    else:
        path.unlink(missing_ok=True)  # what is left of it in force has no rules, and goes when it is loaded anew
    if now is not None:
        for words in (
            [f"--remove-rich-rule={_rule(way)}" for way in sorted(now - wanted)],
            [f"--add-rich-rule={_rule(way)}" for way in sorted(wanted - now)],
        ):
            if words:
                _run(f"--policy={policy(opening)}", *words)
    elif wanted:
        _run("--reload")


def _in_force(opening: Opening) -> tuple[bool, set[Way] | None]:
    """Whether firewalld runs, and what it lets in by the policy; None without one."""
    if tool("firewall-cmd") is None:
        return False, None
    done = _done(f"--policy={policy(opening)}", "--list-rich-rules")
    if done.returncode == 0:
        found = [_RULE.fullmatch(line.strip()) for line in done.stdout.splitlines()]
        return True, {(one["source"], one["bare"] or f"{one['protocol']}/{one['port']}") for one in found if one}
    if "INVALID_POLICY" in done.stderr:
        return True, None
    if "not running" in done.stderr + done.stdout:
        return False, None
    raise ApplyError(
        f"firewalld: {done.stderr.strip()}", remedy="firewalld 0.9 or newer, which has policies; or another firewall"
    )


def _element(way: Way) -> str:
    source, what = way
    protocol, _, port = what.partition("/")
    matched = f'<port port="{port}" protocol="{protocol}"/>' if port else f'<protocol value="{protocol}"/>'
    return f'  <rule family="ipv4"><source address="{source}"/>{matched}<accept/></rule>'


def _rule(way: Way) -> str:
    source, what = way
    protocol, _, port = what.partition("/")
    matched = f'port port="{port}" protocol="{protocol}"' if port else f'protocol value="{protocol}"'
    return f'rule family="ipv4" source address="{source}" {matched} accept'


def _unsaved() -> str:
    """The zones and policies in force that are other ones after they have been loaded anew, in a sentence."""
    found = []
    for kind, one in (("zones", "zone"), ("policies", "policy")):
        now, kept = (_listed(*where, f"--list-all-{kind}") for where in ((), ("--permanent",)))
        changed = [name for name in now if now[name] != kept.get(name) and not name.startswith(_PREFIX)]
        found += [f"{one} {name}" for name in changed]
    return f"firewalld has changes that are not kept ({', '.join(found)})" if found else ""


def _listed(*words: str) -> dict[str, list[str]]:
    """By name, what it says of each."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in _run(*words).splitlines():
        if line and not line.startswith((" ", "\t")):
            name = line.partition(" (")[0]  # "(active)"
            found[name] = []
        elif line.strip() and not line.startswith(_OF_THE_MOMENT):
            found[name].append(line.rstrip())
    return {name: sorted(lines) for name, lines in found.items()}


def _in_file(path: Path) -> Iterator[Way]:
    """What a policy lets in, by its file."""
    if not path.exists():
        return
    for rule in ElementTree.parse(path).getroot().iter("rule"):  # noqa: S314 - root wrote it
        source, port, protocol = (rule.find(name) for name in ("source", "port", "protocol"))
        if source is not None and port is not None:
            yield source.attrib["address"], f"{port.attrib['protocol']}/{port.attrib['port']}"
        elif source is not None and protocol is not None:
            yield source.attrib["address"], protocol.attrib["value"]


def _file(opening: Opening) -> Path:
    return POLICIES / f"{policy(opening)}.xml"


def _run(*words: str) -> str:
    return call("firewall-cmd", *words, environ=_ENVIRON)


def _done(*words: str) -> subprocess.CompletedProcess[str]:
    command = [tool("firewall-cmd") or "firewall-cmd", *words]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=_ENVIRON)

"""The openings in rules that no program keeps: chains of nftables and iptables that let in only what is named.

Our rules are put before theirs, each with a comment that names the hub, by a script that is run again whenever the
machine starts, or the distribution's service loads its own rules anew.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubfleet.agent import atboot
from hubfleet.agent.docker import tool
from hubfleet.agent.programs import call
from hubfleet.resources.base import Observed
from hubfleet.resources.opening import ANYBODY, Opening, Way

FOLDER = Path("/etc/hubfleet/openings")
IPTABLES = "iptables INPUT"
_SERVICES = "nftables.service netfilter-persistent.service iptables.service"
_UNIT = f"""\
# Written by hubfleet, which replaces it.
[Unit]
Description=hubfleet: what other machines of {{hub}} may reach
DefaultDependencies=no
After=local-fs.target {_SERVICES}
Before=docker.service shutdown.target
Conflicts=shutdown.target
# these forget all rules, ours too, when they are restarted or reloaded
PartOf={_SERVICES}
ReloadPropagatedFrom={_SERVICES}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {{script}}
ExecReload=/bin/sh {{script}}

[Install]
WantedBy=multi-user.target {_SERVICES}
"""
_SCRIPT = """\
#!/bin/sh
# Written by hubfleet, which replaces it. Lets in other machines of {hub}, whose rules have a comment that says so.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
"""
_CHAIN = """\
if nft list chain {chain} >/dev/null 2>&1; then
    before=$(nft -a list chain {chain} | sed -n 's/.* comment "{mark}" # handle \\([0-9]*\\)$/\\1/p')
    nft -f - <<'END'
{rules}
END
    for handle in $before; do nft delete rule {chain} handle "$handle"; done
fi
"""
_IPTABLES = """\
iptables -w -S INPUT | sed -n 's/^-A \\(.*--comment "{mark}" .*\\)$/\\1/p' | while read -r rule; do
    eval "iptables -w -D $rule"
done
{rules}
"""
_CATCHES = {"counter", "log", "drop", "reject", "jump", "goto"}
"""What a rule is made of that is about all there is."""


@dataclass(frozen=True)
class _Held:
    """The ways in one chain. passes: it is about what is passed on."""

    passes: bool
    ways: list[Way]


def observe(opening: Opening, *, iptables: bool) -> dict[str, Observed]:
    """As `Opening` has firewalls observed. iptables: its chain INPUT is nobody else's."""
    kept, found = _kept(opening), dict(_chains(opening.mark))
    there, drops = _iptables(opening.mark)
    if iptables and (drops or there):
        found[IPTABLES] = _Held(False, there)
    seen = {}
    for name in dict.fromkeys([*found, *kept]):
        now, then = (of.get(name, _Held(False, [])) for of in (found, kept))
        ways = {"now": sorted(now.ways), "kept": sorted(then.ways), "given": []}
        seen[name] = {"active": name in found, "passes": now.passes or then.passes, **ways}
    return seen


def apply(opening: Opening, *, iptables: bool) -> None:
    """Have the rules be the wanted ones, now and whenever these firewalls are loaded. Raises ApplyError."""
    script, record, unit = _files(opening)
    wanted = {}
    for name, seen in observe(opening, iptables=iptables).items():
        if seen["active"] and (ways := opening.wanted(seen["passes"])):
            wanted[name] = _Held(seen["passes"], sorted(ways))
        elif seen["now"]:  # a script that puts in none takes them out
            call("sh", "-c", _text(opening, {name: _Held(seen["passes"], [])}), told="sh -c")
    if not wanted:
        _forget(opening)
        return
    atboot.write(script, _text(opening, wanted), 0o700)
    atboot.write(record, json.dumps({name: [held.passes, held.ways] for name, held in wanted.items()}) + "\n", 0o600)
    call("sh", str(script))
    atboot.keep(unit, _unit(opening), "start")


def _forget(opening: Opening) -> None:
    script, record, unit = _files(opening)
    atboot.end(unit)
    atboot.forget(record, script)


def _files(opening: Opening) -> tuple[Path, Path, str]:
    """The script, what it opens, and the unit that runs it."""
    name = opening.name
    return FOLDER / f"{name}.sh", FOLDER / f"{name}.json", f"hubfleet-opening-{name}.service"


def _kept(opening: Opening) -> dict[str, _Held]:
    """By firewall, what the script opens; nothing if it is not as it was written, or would not be run."""
    script, record, unit = _files(opening)
    try:
        noted = json.loads(record.read_text(encoding="utf-8"))
        held = {name: _Held(passes, [(way[0], way[1]) for way in ways]) for name, (passes, ways) in noted.items()}
        as_written = script.read_text(encoding="utf-8") == _text(opening, held)
    except (FileNotFoundError, ValueError):
        return {}
    return held if as_written and atboot.kept(unit, _unit(opening)) else {}


def _unit(opening: Opening) -> str:
    return _UNIT.format(hub=opening.name, script=_files(opening)[0])


# -- what is written ---------------------------------------------------------------------------------------------------


def _text(opening: Opening, wanted: dict[str, _Held]) -> str:
    """The script. A firewall with no ways: what was opened in it is closed."""
    mark, parts = opening.mark, [_SCRIPT.format(hub=opening.name)]
    for name, held in wanted.items():
        if name == IPTABLES:
            rules = "\n".join(f"iptables -w -I INPUT 1 {_old(way, mark)}" for way in reversed(held.ways))
            parts.append(_IPTABLES.format(mark=mark, rules=rules))
        else:
            chain, made = name.partition(" ")[2], _passed_on if held.passes else _let_in
            rules = "\n".join(f'insert rule {chain} {made(way)} comment "{mark}"' for way in reversed(held.ways))
            parts.append(_CHAIN.format(chain=chain, mark=mark, rules=rules))
    return "".join(parts)


def _old(way: Way, mark: str) -> str:
    """A rule as iptables takes it."""
    source, what = way
    protocol, _, port = what.partition("/")
    return f"-s {source} -p {protocol}{f' --dport {port}' if port else ''} -m comment --comment '{mark}' -j ACCEPT"


def _let_in(way: Way) -> str:
    """A rule as nft takes it."""
    source, what = way
    protocol, _, port = what.partition("/")
    return f"ip saddr {source} {f'{protocol} dport {port}' if port else f'meta l4proto {protocol}'} accept"


def _passed_on(way: Way) -> str:
    """What is passed on has the container's port by then. So this asks for the port that the connection was made to,
    and is about its answers too."""
    source, what = way
    protocol, _, port = what.partition("/")
    whom = "" if source == ANYBODY else f"ct original ip saddr {source} "
    return f"meta l4proto {protocol} ct status dnat {whom}ct original proto-dst {port} accept"


# -- what is there -----------------------------------------------------------------------------------------------------


def _chains(mark: str) -> Iterator[tuple[str, _Held]]:
    """Those of nftables that let in, or pass on, only what is named, but for what other programs keep; and our ways in
    each."""
    nft = tool("nft")
    done = nft and subprocess.run([nft, "-j", "list", "ruleset"], stdin=subprocess.DEVNULL, capture_output=True)
    if not done or done.returncode != 0:
        return
    listed = json.loads(done.stdout)["nftables"]
    rules: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for rule in (one["rule"] for one in listed if "rule" in one):
        rules.setdefault((rule["family"], rule["table"], rule["chain"]), []).append(rule)
    for chain in (one["chain"] for one in listed if "chain" in one):
        key = (chain["family"], chain["table"], chain["name"])
        if chain.get("hook") not in ("input", "forward") or not _somebodys(*key):
            continue
        ours = [rule["expr"] for rule in rules.get(key, []) if rule.get("comment") == mark]
        if chain.get("policy") == "drop" or _stops(key, rules, set()) or ours:
            yield f"nftables {' '.join(key)}", _Held(chain["hook"] == "forward", [_way(one) for one in ours])


def _somebodys(family: str, table: str, chain: str) -> bool:
    """Whether a chain was written by hand: not by iptables, firewalld or us."""
    by_iptables = family in ("ip", "ip6") and chain.isupper()
    return family in ("ip", "inet") and table != "firewalld" and not table.startswith("hubfleet_") and not by_iptables


def _stops(
    key: tuple[str, str, str], rules: dict[tuple[str, str, str], list[dict[str, Any]]], seen: set[tuple[str, str, str]]
) -> bool:
    """Whether a chain ends in nothing for what no rule has named."""
    if key in seen:
        return False
    seen.add(key)
    for rule in rules.get(key, []):
        words = {name: value for expression in rule["expr"] for name, value in expression.items()}
        if set(words) <= _CATCHES:
            further = words.get("jump") or words.get("goto")
            if {"drop", "reject"} & set(words) or (further and _stops((*key[:2], further["target"]), rules, seen)):
                return True
    return False


def _way(expressions: Iterable[dict[str, Any]]) -> Way:
    """What one of our rules lets in."""
    source, protocol, port = ANYBODY, "", ""
    for match in (one["match"] for one in expressions if "match" in one):
        left, right = match["left"], match["right"]
        payload, tracked = left.get("payload", {}), left.get("ct", {})
        if payload.get("field") == "saddr" or tracked.get("key") == "ip saddr":
            source = str(right)
        elif payload.get("field") == "dport":
            protocol, port = payload["protocol"], f"/{right}"
        elif tracked.get("key") == "proto-dst":
            port = f"/{right}"
        elif left.get("meta", {}).get("key") == "l4proto":
            protocol = {6: "tcp", 17: "udp", 50: "esp"}.get(right, str(right))
    return source, f"{protocol}{port}"


def _iptables(mark: str) -> tuple[list[Way], bool]:
    """Our ways in the chain INPUT, and whether it lets in only what is named."""
    program = tool("iptables")
    command = [program or "iptables", "-w", "-S", "INPUT"]
    done = program and subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if not done or done.returncode != 0:
        return [], False
    ways, drops = [], False
    for line in done.stdout.splitlines():
        words = shlex.split(line)
        given = dict(zip(words, words[1:]))
        if given.get("--comment") == mark:
            port = f"/{given['--dport']}" if "--dport" in given else ""
            ways.append((given["-s"].partition("/")[0], f"{given['-p']}{port}"))
        drops |= words[:3] in (["-P", "INPUT", "DROP"], ["-P", "INPUT", "REJECT"])
        drops |= words[:3] == ["-A", "INPUT", "-j"] and words[3] in ("DROP", "REJECT")
    return ways, drops

"""Loads rules for the traffic of containers into the kernel, and has them loaded whenever the machine starts."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from ipaddress import ip_address
from pathlib import Path

from hubfleet.agent import atboot, dockerengine
from hubfleet.agent.base import Progress
from hubfleet.agent.docker import tool
from hubfleet.agent.programs import call
from hubfleet.errors import ApplyError, CheckError
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.firewall import Firewall

RULES = Path("/etc/hubfleet/firewall")
_FOLDER = 0o700
RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
"""The machine's resolvers, and where they are if the first names nothing but systemd's own."""
_UNIT = """\
# Written by hubfleet, which replaces it.
[Unit]
Description=hubfleet: what containers of {name} may reach
DefaultDependencies=no
Wants=network-pre.target
After=local-fs.target nftables.service
Before=network-pre.target docker.service
Conflicts=shutdown.target
Before=shutdown.target
# the distribution's service forgets all rules, ours too, when it is restarted or reloaded
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={nft} -f {rules}
ExecReload={nft} -f {rules}

[Install]
WantedBy=multi-user.target docker.service nftables.service
"""


def observe(firewall: Firewall) -> Observed | None:
    """What is in force is compared with what the kernel listed right after it was loaded: a digest in the table
    itself would still be there after somebody has taken a rule out."""
    listing = _listing(firewall)
    rules, record, unit = _files(firewall)
    if listing is None and not any(os.path.lexists(path) for path in (rules, record, atboot.UNITS / unit)):
        return None
    return {
        "loaded": _loaded(firewall, listing),
        "kept": atboot.kept(unit, _unit_text(firewall)),
        "resolvers": _resolvers(),
    }


def apply(firewall: Firewall, change: Change, progress: Progress) -> None:
    """The rules are exchanged in one step: there is no moment without any. Raises ApplyError with what nft said."""
    if tool("nft") is None:
        raise ApplyError("nft is not installed", remedy="apt-get install nftables, then hubfleet up again")
    if change.action == "remove":
        _remove(firewall)
        return
    rules, record, unit = _files(firewall)
    text = firewall.rules(_resolvers())
    atboot.write(rules, text, 0o600, _FOLDER)
    call("nft", "-f", str(rules))
    atboot.keep(unit, _unit_text(firewall), "restart")
    listing = _listing(firewall)
    noted = {"rules": _digest(text), "listing": _digest(listing or "")}
    atboot.write(record, json.dumps(noted) + "\n", 0o600, _FOLDER)


def _remove(firewall: Firewall) -> None:
    rules, record, unit = _files(firewall)
    atboot.end(unit)
    if _listing(firewall) is not None:
        call("nft", "delete", "table", "inet", firewall.table)
    atboot.forget(record, rules)


def _files(firewall: Firewall) -> tuple[Path, Path, str]:
    """The rules, the record of what the kernel made of them, and the unit that loads them."""
    name = firewall.name
    return RULES / f"{name}.nft", RULES / f"{name}.loaded", f"hubfleet-firewall-{name}.service"


def _loaded(firewall: Firewall, listing: str | None) -> str:
    rules, record, _ = _files(firewall)
    try:
        text = rules.read_text(encoding="utf-8")
        recorded = json.loads(record.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return ""
    if listing is None or recorded != {"rules": _digest(text), "listing": _digest(listing)}:
        return ""
    return _digest(text)


def _unit_text(firewall: Firewall) -> str:
    return _UNIT.format(name=firewall.name, nft=tool("nft") or "/usr/sbin/nft", rules=_files(firewall)[0])


def _listing(firewall: Firewall) -> str | None:
    """The rules in force as the kernel has them; None without any."""
    nft = tool("nft")
    if nft is None:
        return None
    command = [nft, "list", "table", "inet", firewall.table]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode == 0:
        return done.stdout
    if "No such file or directory" in done.stderr:
        return None
    raise CheckError(f"the firewall cannot be read: {_said(done)}", remedy="run the same command with sudo")


def _resolvers() -> list[str]:
    """Addresses of the resolvers that containers ask through Docker; it asks those on the machine's own loopback
    itself."""
    found: list[str] = []
    for path in RESOLVERS:
        if not any(map(_asked, found)) and path.exists():
            lines = [line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
            found += [words[1] for words in lines if words[:1] == ["nameserver"] and len(words) > 1]
    try:
        settings = json.loads(dockerengine.SETTINGS.read_text(encoding="utf-8"))
        found += map(str, settings.get("dns") or [])
    except (OSError, ValueError, AttributeError):
        pass
    return sorted({address for address in found if _asked(address)})


def _asked(text: str) -> bool:
    try:
        return not ip_address(text).is_loopback
    except ValueError:  # such as one with an interface's name, which no container could reach
        return False


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.strip() or f"it ended with {done.returncode}"

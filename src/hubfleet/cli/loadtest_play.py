"""What `hubfleet loadtest` does: whom it plays against, and what it says afterwards."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from hubfleet.cli.begin import open_deployment
from hubfleet.cli.console import say, say_json
from hubfleet.cli.deployment import Deployment
from hubfleet.cli.loadtest import TOKEN_VARIABLE
from hubfleet.cli.loadtest_fleet import FleetMeter
from hubfleet.cli.loadtest_progress import Follow
from hubfleet.cli.reading import Options
from hubfleet.cli.talk import ask_launcher, running
from hubfleet.errors import ApplyError, CheckError, ConfigError, HubfleetError, NotRunningError
from hubfleet.loadtest import (
    HubfleetRoster,
    Result,
    Scenario,
    Target,
    one_cell,
    page,
    read_notebook,
    remove_leftovers,
    run,
    verdict,
)
from hubfleet.loadtest.machine import Here
from hubfleet.loadtest.watch import Meter
from hubfleet.loadtest.way import Way
from hubfleet.names import TEST_PREFIX, system_name
from hubfleet.units import Secret


@dataclass(frozen=True)
class Wanted:
    """The command's options, see there."""

    people: int
    arrive_s: float
    idle_s: float
    notebook: Path | None
    step_limit_s: float
    limit_s: float
    profile: str | None
    output: Path | None
    as_json: bool
    url: str | None
    token_file: Path | None
    hub_pid: int | None
    mine: bool
    disturb_people: bool
    clean_up: bool


def carry_out(options: Options, wanted: Wanted) -> None:
    """Play it, or clean up after one."""
    scenario = Scenario(
        wanted.people,
        arrive_s=wanted.arrive_s,
        idle_s=wanted.idle_s,
        notebook=read_notebook(wanted.notebook) if wanted.notebook else one_cell(),
        step_limit_s=wanted.step_limit_s,
        limit_s=wanted.limit_s,
        options={"profile": wanted.profile} if wanted.profile else {},
    )
    if wanted.clean_up:
        _clean_up(options, wanted.url)
        return
    if wanted.url is None:
        target = _own(open_deployment(options), wanted.disturb_people)
    else:
        target = _any(wanted.url, wanted.token_file, wanted.hub_pid, wanted.mine, wanted.disturb_people)
    with Follow(scenario, quiet=wanted.as_json) as follow:
        result = run(target, scenario, follow)
    _tell(result, _write(result, wanted.output), wanted.as_json)


def _own(deployment: Deployment, disturb_people: bool) -> Target:
    """The hub of the configuration file. Its secrets say that it is ours: others cannot read them."""
    return Target(
        deployment.url,
        Secret(deployment.site.tokens["operator_token"]),
        HubfleetRoster(),
        way=_way(deployment),
        meter=_meter(deployment),
        sweep=lambda names: _remove_homes(deployment, names),
        disturb_people=disturb_people,
    )


def _meter(deployment: Deployment) -> Meter:
    """What measures its machines."""
    if deployment.engine.containers(deployment.config):
        return FleetMeter(deployment)

    def servers() -> dict[str, int]:
        records = ask_launcher(deployment, "/v1/servers")["servers"]
        return {record["user"]: record["handle"]["pid"] for record in records if "pid" in record["handle"]}

    return Here({name: part.pid for name, part in running(deployment).items() if part.pid}, servers)


def _way(deployment: Deployment) -> Way:
    """A hub under a name that is not known here, or with a certificate that is, is reached all the same: what it shows
    is asked for by the way that its machine is known by."""
    try:
        shown = deployment.shown_certificate()
    except OSError as error:
        raise NotRunningError(
            f"no certificate is shown at {deployment.url} ({error})", remedy="hubfleet logs edge"
        ) from error
    if not shown:
        return Way()
    try:
        socket.getaddrinfo(urlsplit(deployment.url).hostname, None)
    except OSError:
        return Way(host=deployment.door_machine.address or "127.0.0.1", certificate=shown)
    return Way(certificate=shown)


def _remove_homes(deployment: Deployment, names: list[str]) -> list[str]:
    """Remove the homes of a load test's people, who are deleted; of nobody else, whatever the hub says."""
    problems = []
    for name in names:
        if deployment.homes is None or not re.fullmatch(rf"{TEST_PREFIX}\d+", name):
            continue
        home = str(deployment.homes / system_name(name))
        try:
            deployment.homes_machine.store.erase(home)
        except (HubfleetError, OSError) as error:
            why = error.what if isinstance(error, HubfleetError) else error.strerror
            problems.append(f"{home} was not removed ({why})")
    return problems


def _any(url: str, token_file: Path | None, hub_pid: int | None, mine: bool, disturb_people: bool) -> Target:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{url} is not the address of a hub", remedy="--url http://127.0.0.1:8000")
    here = _is_here(parts.hostname)
    if not here and not mine:
        raise CheckError(
            f"{parts.hostname} is not this machine; a load test of a hub that is not yours is an attack",
            state="Nothing was changed",
            remedy="if it is yours: hubfleet loadtest --it-is-mine ...",
        )
    address = re.sub(r"/hub/?$", "", url.rstrip("/"))
    return Target(
        address,
        _token(token_file),
        meter=Here({"hub": hub_pid} if hub_pid else {}) if here else None,
        disturb_people=disturb_people,
    )


def _is_here(host: str) -> bool:
    """Whether a name or address is one of this machine's own."""
    own = {entry.address.partition("%")[0] for entries in psutil.net_if_addrs().values() for entry in entries}
    try:
        found = {str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise CheckError(f"{host} is not known ({error})", state="Nothing was changed") from error
    return all(address in own or ipaddress.ip_address(address).is_loopback for address in found)


def _token(path: Path | None) -> Secret:
    """From a file of ours or the environment; never from the command line, which everybody can read with `ps`."""
    text = os.environ.get(TOKEN_VARIABLE, "")
    if path is not None:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise ConfigError("can be read by others", where=str(path), remedy=f"chmod 600 {path}")
        text = path.read_text(encoding="utf-8")
    if not text.strip():
        raise ConfigError("--url needs the token of an admin", remedy=f"--token-file FILE, or set {TOKEN_VARIABLE}")
    return Secret(text.strip())


def _clean_up(options: Options, url: str | None) -> None:
    if url is not None:
        raise ConfigError(
            "what a load test left on another hub is not noted there",
            remedy=f"delete the users whose names begin with {TEST_PREFIX} on its admin page",
        )
    names, problems = remove_leftovers(_own(open_deployment(options), disturb_people=True))
    if problems:
        raise ApplyError("\n".join(problems), remedy="hubfleet loadtest --clean-up")
    say(f"Removed {len(names)} people of a load test." if names else "No load test has left anything.")


def _write(result: Result, output: Path | None) -> tuple[Path, Path]:
    beside = output or Path(f"loadtest-{time.strftime('%Y%m%d-%H%M%S')}")
    web, data = beside.with_name(f"{beside.name}.html"), beside.with_name(f"{beside.name}.json")
    web.write_text(page(result), encoding="utf-8")
    data.write_text(json.dumps(_document(result), indent=1) + "\n", encoding="utf-8")
    return web, data


def _document(result: Result) -> dict[str, Any]:
    found = verdict(result)
    summary = {
        "sentence": found.sentence,
        "holds": found.holds,
        "first": found.first,
        "bounds": [vars(bound) for bound in found.bounds],
        "assumption": found.assumption,
    }
    return {"verdict": summary, **result.to_json()}


def _tell(result: Result, written: tuple[Path, Path], as_json: bool) -> None:
    """What was found; then, as an error, whatever did not go as it should."""
    if as_json:
        say_json(_document(result))
    else:
        _summary(result, written)
    if result.cleanup:
        raise ApplyError("\n".join(result.cleanup), remedy="hubfleet loadtest --clean-up")
    if result.broken_off or result.failed:
        failures = f"{len(result.failed)} of {len(result.people)} people failed"
        raise ApplyError(f"{failures}; see {written[0]}", state="All that the load test made was removed")


def _summary(result: Result, written: tuple[Path, Path]) -> None:
    found = verdict(result)
    say()
    say(found.sentence, "bold")
    for bound in found.bounds:
        say(f"  {bound.name}: {bound.reckoning}", "dim")
    say(f"  {found.assumption}", "dim")
    for text in result.watched.not_measured if result.watched else ["processor and memory: it runs elsewhere"]:
        say(f"  Not measured: {text}", "dim")
    if saturated := result.client_saturated():
        say(f"Times are too long to be true: {saturated}.", "yellow")
    if others := result.others_busy():
        say(f"Times are longer than they would be: {others}.", "yellow")
    say(f"Plots: {written[0]}   Numbers: {written[1]}")

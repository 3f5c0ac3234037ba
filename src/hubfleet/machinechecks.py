"""What could make a deployment on a machine with containers fail, looked at before anything is changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hubfleet import fleetchecks, homeschecks, networkchecks, sharechecks
from hubfleet.agent.outside import probe
from hubfleet.checks import Finding, failures, limited_homes, places, shown_places
from hubfleet.config import Config
from hubfleet.engines.base import Engine, Site
from hubfleet.engines.disks import disks
from hubfleet.factchecks import ALL, judged
from hubfleet.machines import Machine
from hubfleet.resources import Directory, Image, ImageGiven, ImageTaken, Resource, SharedDirectory
from hubfleet.resources.dockerengine import SOCKET, known
from hubfleet.unixhttp import Refused

if TYPE_CHECKING:
    from hubfleet.certificates import Certificate


def run_machine_checks(
    config: Config,
    site: Site,
    machine: Machine,
    others: Mapping[str, Machine],
    engine: Engine,
    wanted: Mapping[str, Sequence[Resource]],
    shown: Callable[[], Certificate | None],
) -> list[Finding]:
    """All checks for a hub whose parts are containers, on ``machine`` and others. ``shown``: see
    `networkchecks.certificate`.

    ``wanted``: what is to be on each. Raises UnreachableError where there is no way to one of them.
    """
    asked = [(machine, _roles(config, engine, config.hub_machine))]
    asked += [(there, roles) for name, there in others.items() if (roles := _roles(config, engine, name))]
    apart, port = len(asked) > 1, engine.link_port(config)
    link = (site.hub_address, port) if port else None
    share = sharechecks.target(config, site) if any(sharechecks.SERVER in roles for _, roles in asked) else None
    with ThreadPoolExecutor() as beside:
        looks = [
            beside.submit(_look, config, engine, there, roles, link, share, wanted.get(there.name, ()))
            for there, roles in asked
        ]
        found = [look.result() for look in looks]
    findings = [
        Finding("ok", f"configuration of hub {config.hub}"),
        *_engine(config, site, engine),
        *networkchecks.certificate(config, shown=shown, secrets=site.service_secrets),
        *(Finding("note", text) for text in networkchecks.encryption(config)),
    ]
    for (there, _), (facts, seen) in zip(asked, found, strict=True):
        findings += [replace(one, text=f"{there.name}: {one.text}") for one in seen] if apart else seen
        if link and there is machine and not engine.spans(config):  # of a fleet each one is looked at
            findings += networkchecks.listens_at(config, machine.name, facts)
    for (there, roles), (facts, _) in zip(asked, found, strict=True):
        if not link or there is machine or "edge" not in roles:
            continue
        up = str(link[1]) in found[0][0]["listening"]
        findings.append(networkchecks.linked(there.name, machine.name, link, facts["link"], up))
    looked = [(there.name, roles, facts) for (there, roles), (facts, _) in zip(asked, found, strict=True)]
    findings += sharechecks.shared(looked, share)
    known, together = {name: facts for name, _, facts in looked}, {machine.name: machine, **others}
    if engine.spans(config) and all(facts["homes"] for facts in known.values()):
        findings += homeschecks.tried(config, together)
    return [*findings, *fleetchecks.fleet(config, site, engine, together, known)]


def _roles(config: Config, engine: Engine, name: str | None) -> frozenset[str]:
    """What a machine is for, with this engine."""
    away, hub = engine.elsewhere(config), config.hub_machine
    edge = {"edge"} if away.get("edge", hub) == name else set()
    worker = {"worker"} if engine.spans(config) and name in config.worker_machines else set()
    storage = {"storage"} if away.get("homes") == name else set()
    own = {"hub"} if name == hub else set()
    return frozenset({*own, *edge, *worker, *storage, *sharechecks.roles(config, name)})


def _look(
    config: Config,
    engine: Engine,
    machine: Machine,
    roles: Set[str],
    link: tuple[str, int] | None,
    share: tuple[str, int] | None,
    resources: Sequence[Resource],
) -> tuple[dict[str, Any], list[Finding]]:
    """Of one machine its facts and what is found; in ``facts["link"]`` why an edge there does not reach the hub's
    machine, or "", in ``facts["share"]`` the same of the machine with the homes, and in ``facts["homes"]`` whether it
    has what it is to share with others."""
    edge, name = "edge" in roles, config.domain
    with ThreadPoolExecutor() as beside:
        led = beside.submit(_leads, [one for one in (name, machine.address) if one and name and edge])
        before = time.time()
        facts = machine.facts()
        skew = facts["time"] - (before + time.time()) / 2
        lacks = _lacks(machine, facts, resources)
        bases = _bases(machine, facts, lacks)
        nowhere = [image for image, there in bases.items() if not there]
        wanted = networkchecks.targets(config, edge=edge, hub="hub" in roles) if roles & ALL else []
        # Only where something is to be built: what is asked takes its time, above all where nothing answers.
        wanted += networkchecks.for_builds(config, machine.sources()) if bases else []
        further = [link] if link and edge and "hub" not in roles else []
        homes = [share] if share and sharechecks.CLIENT in roles else []
        targets = [*((one.host, one.port) for one in wanted), *further, *homes]
        seen = machine.probe([name] if name and edge else [], targets)
        bundle = config.network.ca_bundle.read_text() if config.network.ca_bundle else ""
        said = machine.manifests(nowhere, bundle) if nowhere else {}
        gives, passed = _passed(config, resources)
        lets = machine.registry_access(passed, bundle, gives) if passed else {}
        names = led.result()
    facts["link"] = next((seen["targets"][f"{host}:{port}"] for host, port in further), "")
    facts["share"] = next((seen["targets"][f"{host}:{port}"] for host, port in homes), "")
    shared = list(_shared_homes(config, machine)) if _shares_homes(config, engine, roles) else []
    facts["homes"] = not failures(shared)
    return facts, [
        Finding("ok", f"{machine.name} is reached as {facts['user']}, with Python {facts['python']}"),
        *judged(config, engine, facts, skew, roles, len(lacks) if (facts["docker"] or {}).get("version") else 0),
        *(_places(config, machine) if "worker" in roles or ("hub" in roles and not engine.spans(config)) else ()),
        *(_limited_homes(config, engine, machine, facts) if _has_homes(config, roles) else ()),
        *shared,
        *(_domain(config, machine, facts, names, seen["names"]) if edge else ()),
        *(Finding("ok", f"image {image} is there") for image, there in bases.items() if there),
        *networkchecks.images(config, said, docker=bool(facts["docker"])),
        *networkchecks.registry(config, lets, gives=gives, docker=bool(facts["docker"])),
        *networkchecks.outside(wanted, seen["targets"]),
    ]


def _leads(names: Iterable[str]) -> dict[str, networkchecks.Names]:
    """Where names lead as seen from here."""
    found: dict[str, networkchecks.Names] = probe(names, [])["names"]
    return found


def _domain(
    config: Config,
    machine: Machine,
    facts: dict[str, Any],
    here: Mapping[str, networkchecks.Names],
    there: Mapping[str, networkchecks.Names],
) -> Iterator[Finding]:
    if config.domain:
        name = config.domain
        yield from networkchecks.domain(
            name,
            config.https_kind,
            machine.name,
            own=set(facts["addresses"]),
            reached=here.get(machine.address, ()),
            here=here[name],
            there=there[name],
        )


def _places(config: Config, machine: Machine) -> list[Finding]:
    """What servers there are to be shown of it."""
    wanted = [Directory(path) for path in shown_places(config)]
    if not wanted and not config.storage.must_be_mounted:
        return []
    seen = machine.observe(wanted)
    found = {one.path for one in wanted if (seen[one.id] or {}).get("type") == "directory"}
    table = machine.store.read("/proc/self/mountinfo") or ""
    return list(places(config, found.__contains__, table, machine.name))


def _shares_homes(config: Config, engine: Engine, roles: Set[str]) -> bool:
    """Whether homes are to be on a file system that the machine has in common with others."""
    if not engine.spans(config) or "storage" in roles:
        return False
    return "worker" in roles or ("hub" in roles and not config.homes_apart)


def _has_homes(config: Config, roles: Set[str]) -> bool:
    """Whether a machine with these roles has them."""
    return ("storage" if config.homes_apart else "hub") in roles


def _limited_homes(config: Config, engine: Engine, machine: Machine, facts: dict[str, Any]) -> list[Finding]:
    """What limits of homes need of it."""
    if not config.all_quotas() and not (config.storage.homes and config.storage.homes.disk):
        return []
    layout = engine.layout(config)
    usual = layout.homes
    place, store = config.homes(usual) or usual, machine.store
    free = next((room for at in (place, *place.parents) if (room := store.room(str(at))) is not None), 0)
    wanted = disks(config, layout)
    seen = [found for found in machine.observe(list(wanted)).values() if found] if wanted else []
    there = max((found["file"] or 0 for found in seen), default=0)
    table = store.read("/proc/self/mountinfo") or ""
    return list(limited_homes(config, usual, table, facts["quotas"], free, there))


def _shared_homes(config: Config, machine: Machine) -> Iterator[Finding]:
    """Whether what is to be shared is on a file system of its own."""
    homes = config.storage.homes
    if homes is None or homes.share != "mounted" or homes.path is None:
        return
    place = SharedDirectory(str(homes.path), "", "")
    found = machine.observe([place])[place.id]
    if found is None:
        yield Finding("problem", f"{homes.path} is missing. Try: mount there what all machines share")
    elif not found["mounted"]:
        what = f"{homes.path} is on the machine's own disk, and its files would be on no other machine"
        yield Finding("problem", f"{what}. Try: mount there what all machines share")
    else:
        yield Finding("ok", f"{homes.path} is a file system of its own ({found['source']})")


def _engine(config: Config, site: Site, engine: Engine) -> Iterator[Finding]:
    problems = engine.problems(config, site)
    yield from (Finding("problem", problem) for problem in problems)
    if not problems:
        yield Finding("ok", f"engine {config.engine} can do what the configuration asks for")


def _lacks(machine: Machine, facts: dict[str, Any], resources: Sequence[Resource]) -> list[Image | ImageTaken]:
    """The images that are to be made or fetched there; all of them while its engine cannot be asked."""
    images = [item for item in resources if isinstance(item, (Image, ImageTaken))]
    seen = machine.observe(images) if images and facts["docker"] else {}
    return [image for image in images if not known(seen.get(image.id))]


def _passed(config: Config, resources: Sequence[Resource]) -> tuple[bool, list[str]]:
    """What goes by way of a registry that the file names: whether it is given to it or taken from it, and its names."""
    if config.network.fleet.registry is None:
        return False, []
    given = [item.reference for item in resources if isinstance(item, ImageGiven)]
    return bool(given), given or [item.reference for item in resources if isinstance(item, ImageTaken)]


def _bases(machine: Machine, facts: dict[str, Any], lacks: Sequence[Image | ImageTaken]) -> dict[str, bool]:
    """What these are to be built on, and whether that is there."""
    bases = dict.fromkeys(item.base for item in lacks if isinstance(item, Image))
    return {base: bool(facts["docker"]) and _present(machine, base) for base in bases}


def _present(machine: Machine, image: str) -> bool:
    try:
        machine.request(SOCKET, "GET", f"/images/{image}/json", None, None, 30)
    except (Refused, FileNotFoundError, ConnectionRefusedError):
        return False
    return True

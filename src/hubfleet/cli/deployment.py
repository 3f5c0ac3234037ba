"""Everything a command needs to know about one hub: its configuration, this machine, and what is there already."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hubfleet import fleetchecks
from hubfleet.checks import Finding, failures, run_checks
from hubfleet.cli.carry import other_origin
from hubfleet.cli.contained import ContainedParts
from hubfleet.cli.fleetparts import FleetParts
from hubfleet.cli.gather import gathered
from hubfleet.cli.moving import find_former, still_serving
from hubfleet.cli.parts import Parts
from hubfleet.config import Config, Secrets, changed_settings
from hubfleet.engines import engine
from hubfleet.engines.base import Engine, Site, Supervision
from hubfleet.engines.logins import callback
from hubfleet.errors import CheckError, UnreachableError
from hubfleet.layout import Layout
from hubfleet.machinechecks import run_machine_checks
from hubfleet.machines import Machine
from hubfleet.networkchecks import encryption
from hubfleet.plan import Desired, Generations, Manifest, Plan, make_plan
from hubfleet.projects import DEFAULT, project
from hubfleet.resources import File, Resource
from hubfleet.sshcommand import CONFIGURATIONS

if TYPE_CHECKING:
    from hubfleet.certificates import Certificate


@dataclass(frozen=True)
class Deployment:
    """One hub, on this machine or on one that is reached over SSH.

    ``file``: the configuration file, None for the built-in default. ``new_passwords``: generated for this run and not
    yet written. ``service_secrets``: what the launcher shows to services of the site, and a certificate with its key
    that are among the secrets. ``file_port``: the file's own value, where `up --port` chose another that the
    configuration has now. ``others``: the machines of the configuration, less the hub's. ``said``: what there
    is to say of its files.
    """

    config: Config
    file: Path | None
    secrets: Secrets
    layout: Layout
    machine: Machine
    others: Mapping[str, Machine]
    passwords: Mapping[str, str]
    new_passwords: Mapping[str, str]
    service_secrets: Mapping[str, str]
    file_port: int
    supervision: Supervision
    said: tuple[str, ...] = ()

    @property
    def engine(self) -> Engine:
        return engine(self.config.engine)

    @property
    def url(self) -> str:
        """Where people go."""
        return self.engine.url(self.config)

    @property
    def homes(self) -> Path | None:
        """Where homes are kept; None when they are not."""
        return self.config.homes(self.layout.homes)

    @property
    def file_path(self) -> str:
        """The configuration file, or where it would be."""
        return str((self.file or Path(CONFIGURATIONS[0])).resolve())

    @property
    def generations(self) -> Generations:
        return Generations(self.layout.state, self.machine.store)

    @cached_property
    def former(self) -> dict[str, Machine]:
        """Machines that earlier deployments had, and this one has not, as far as a plan has found any."""
        return {}

    @property
    def machines(self) -> dict[str, Machine]:
        """All that may be changed."""
        return {self.machine.name: self.machine, **self.others, **self.former}

    def machine_of(self, part: str) -> Machine:
        """Where a part is."""
        name = self.engine.elsewhere(self.config).get(part)
        return self.others[name] if name else self.machine

    @property
    def door_machine(self) -> Machine:
        """The machine that people come in by."""
        return self.machine_of(self.engine.door)

    @property
    def homes_machine(self) -> Machine:
        """The machine that has the homes."""
        return self.others.get(str(self.config.storage_machine), self.machine) if self.config.machines else self.machine

    @property
    def remote(self) -> bool:
        """Whether the hub is on another machine than this one."""
        return bool(self.config.machines)

    @cached_property
    def parts(self) -> Parts:
        """The hub's own processes or containers."""
        containers = self.engine.containers(self.config)
        if containers:
            elsewhere = {part: self.others[name] for part, name in self.engine.elsewhere(self.config).items()}
            doors = self.engine.doors(self.config.hub)
            kind = FleetParts if self.engine.spans(self.config) else ContainedParts
            return kind(self.machine, self.layout, containers, elsewhere, doors)
        # Only here: it brings what the launcher's own code needs, which makes every other command slower.
        from hubfleet.cli.supervised import SupervisedParts

        return SupervisedParts(self.layout, self.engine, self.supervision)

    def entrance_problems(self) -> list[str]:
        """Why nobody can reach the hub at its address and port, as seen from its machine; empty when all is well."""
        address, port = self.engine.entrance(self.config)
        try:
            self.door_machine.connect({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address), port)
        except OSError as error:
            return [f"nothing answers at {self.url} ({error.strerror or error}); see: hubfleet logs {self.engine.door}"]
        if not (port := self.engine.link_port(self.config)):
            return []
        try:
            self.door_machine.connect(self.hub_address, port)
        except OSError as error:
            there = f"{self.machine.name} at {self.hub_address}, TCP port {port} ({error.strerror or error})"
            return [f"{self.door_machine.name} does not reach {there}, so nobody can come in; let it through there"]
        return []

    def fleet_problems(self) -> list[str]:
        """Which machines of a fleet do not reach which, and where."""
        found = fleetchecks.reached(self.config, self.site, self.engine, self.machines)
        return [finding.text for finding in failures(found)]

    def certificate(self) -> Certificate | None:
        """The certificate that people are shown; None without HTTPS. Raises OSError if there is none to be seen."""
        if not (shown := self.shown_certificate()):
            return None
        # Only here: what reads certificates takes its time to be imported.
        from hubfleet.certificates import read_certificate

        return read_certificate(shown.encode())

    def shown_certificate(self) -> str:
        """The same as PEM; "" without HTTPS. Raises OSError if there is none to be seen."""
        if self.config.https_kind == "off" or not self.engine.containers(self.config):
            return ""
        address, port = self.engine.entrance(self.config)
        near = {"0.0.0.0": "127.0.0.1"}.get(address, address)
        return self.door_machine.certificate(near, port, urlsplit(self.url).hostname or "")

    def check(self) -> list[Finding]:
        """What could go wrong on the hub's machine, on others, and at the provider of logins."""
        found = self._machines_checked()
        if self.config.login.provider is not None:
            # Only here: what asks by HTTP takes its time to be imported.
            from hubfleet.providerchecks import provider_checks

            secret, key = (self.passwords.get(name, "") for name in ("client_secret", "google_key"))
            url = self.engine.url(self.config)
            found = [*found, *provider_checks(self.config, secret, callback(self.config), url, key)]
        return [*found, *(Finding("note", text) for text in self.said)]

    def _machines_checked(self) -> list[Finding]:
        if self.engine.containers(self.config):
            try:
                wanted = {} if self.engine.problems(self.config, self.site) else self.resources
                return run_machine_checks(
                    self.config, self.site, self.machine, self.others, self.engine, wanted, self.certificate
                )
            except UnreachableError as error:
                raise self._still(error) from error
        statuses = self.parts.statuses() or {}
        own = frozenset(part.pid for part in statuses.values() if part.pid)
        settings = self.layout.hub_dir / "hub.json"
        own_port = json.loads(settings.read_text())["port"] if own and settings.exists() else None
        return run_checks(self.config, self.site, own=own, own_port=own_port)

    def _still(self, error: UnreachableError) -> UnreachableError:
        """The same, with what works without that machine."""
        if error.where not in self.others:
            return error
        still = f"the hub and running servers on {self.machine.name} go on; nobody new comes in without {error.where}"
        if error.where == self.homes_machine.name:
            still = f"the hub goes on; servers wait for their files until {error.where} is back, and none is started"
        elif error.where != self.door_machine.name:
            still = f"the hub and servers on other machines go on; without {error.where}: hubfleet machine remove"
        return UnreachableError(
            error.what, where=error.where, state=f"Nothing was changed: {still}", remedy=error.remedy
        )

    @cached_property
    def site(self) -> Site:
        """The facts and secrets that a desired state is made from, gathered when they are first needed."""
        return gathered(self)

    @property
    def hub_address(self) -> str:
        """Where other machines reach the hub's."""
        return self.config.machines[self.machine.name].private_ip or self.machine.address

    def drained(self) -> frozenset[str]:
        """Names of the machines on which no servers are started, until they are added again."""
        return frozenset(json.loads(self.machine.store.read(str(self.drained_note)) or "[]"))

    @property
    def drained_note(self) -> Path:
        """Where these are noted, on the hub's machine."""
        return self.layout.state / "drained.json"

    @cached_property
    def resources(self) -> dict[str, tuple[Resource, ...]]:
        """What should be on each machine, made once: to pack what images are built of takes its time. Raises CheckError
        for what this engine cannot do here."""
        hub = project(DEFAULT)
        problems = hub.problems(self.config, self.site)
        if problems:
            raise CheckError("\n".join(problems), state="Nothing was changed")
        return {machine: tuple(items) for machine, items in hub.desired(self.config, self.site).items()}

    def gather_again(self) -> None:
        """What is to be there was made of notes that are others now."""
        for made in ("site", "resources"):
            self.__dict__.pop(made, None)

    def desired(self) -> Desired:
        """What should be there, and what there is to say about it. Raises CheckError as `resources` does."""
        resources = self.resources
        notes = self.said
        if self.config.listen.port != self.file_port:
            notes += (f"port {self.config.listen.port} was chosen on the command line",)
        notes += other_origin(self.layout, self.machine, self.file_path, "hub")
        current = self.generations.current()
        if current and (again := self.generations.again(current)):
            notes += (f"this hub was rolled back to generation {again}; up makes it as the configuration says",)
        if not self.layout.privileged:
            notes += ("started without root: people on this hub are not isolated from each other",)
        if self.engine.containers(self.config):
            notes += tuple(encryption(self.config))
        from hubfleet.cli.lockout import locked_out  # it asks the hub, by way of a deployment

        notes += tuple(locked_out(self))
        file = f"file:{self.layout.launcher_dir / 'launcher.json'}"
        return Desired(self.config.hub, self.layout.state, resources, notes, self._settings_changed(file), file)

    def _settings_changed(self, file: str) -> tuple[str, ...]:
        """The settings that differ from those of the last deployment, a line each; none before the first."""
        number = self.generations.current()
        placed = self.generations.read(number).values() if number else ()
        for resource in (resource for resources in placed for resource in resources):
            if isinstance(resource, File) and resource.id == file:
                return changed_settings(json.loads(resource.content)["config"], self.config.dump())
        return ()

    def plan(self) -> Plan:
        """What would change."""
        return self.plan_for(self.desired())

    def plan_for(self, desired: Desired) -> Plan:
        """The changes that lead to `desired`. What people come in by stays until what replaces it runs."""
        known, marker = self.generations.known(), f"file:{self.layout.called}"
        left = {name: found for name, found in known.resources.items() if any(item.id != marker for item in found)}
        others = {**self.others, **self.former}
        try:
            found = find_former(self.config, self.layout, self.machine, others, self.generations, left)
            self.former.update(found.machines)
            notes, kept = self._staying(desired, known)
            wanted = replace(desired, notes=(*desired.notes, *found.notes, *notes))
            # What tells a machine from others stays there for `down --delete-data`.
            kept |= {name: kept.get(name, frozenset()) | {marker} for name in self.former}
            return make_plan(wanted, self.machines, known, kept)
        except UnreachableError as error:
            raise self._still(error) from error

    def _staying(self, desired: Desired, known: Manifest) -> tuple[tuple[str, ...], dict[str, frozenset[str]]]:
        """By machine, ids of what is not removed although it is not in `desired`; and lines about it."""
        kept, notes = self.generations.images_kept(desired), []
        found = still_serving(desired, known, self.engine.doors(self.config.hub), self.layout)
        serving = {name: ids for name, ids in found.items() if name in self.machines}
        if serving and not self._doors_run():
            for name, ids in serving.items():
                kept[name] = kept.get(name, frozenset()) | ids
                notes.append(f"what people come in by on {name} now goes on until the new way in runs, and goes then")
        return tuple(notes), kept

    def _doors_run(self) -> bool:
        """Whether all parts that people come in by run where they are wanted."""
        doors, containers = self.engine.doors(self.config.hub), self.engine.containers(self.config)
        statuses = self.parts.statuses() or {}
        wanted = [part for part, container in containers.items() if container in doors]
        return all(part in statuses and statuses[part].state == "running" for part in wanted)

"""A deployment of a project that is no hub: what its own code says, and what is known of it on its machines."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hubfleet.checks import Finding
from hubfleet.cli.carry import other_origin, secrets_of
from hubfleet.cli.containers import Containers
from hubfleet.cli.moving import reached, way
from hubfleet.cli.reading import Options, given_file, kind_of
from hubfleet.config import Secrets, changed_settings, generate_password
from hubfleet.errors import CheckError, ConfigError
from hubfleet.layout import ROOT_BASE, Layout
from hubfleet.machines import LocalMachine, Machine
from hubfleet.plan import Desired, Generations, Plan, make_plan
from hubfleet.projects import DEFAULT, Project, ProjectConfig, Site
from hubfleet.projects.base import HERE
from hubfleet.projects.load import load_project
from hubfleet.projects.registry import blamed, package_of
from hubfleet.resources import Container, Directory, File, Image, Resource
from hubfleet.sshcommand import remember


@dataclass(frozen=True)
class ProjectDeployment:
    """Implements ``carry.Deployed``.

    generated: secrets that were made up; new_passwords: those that are yet to be written; given: what people wrote.
    """

    project: Project
    config: ProjectConfig
    file: Path
    secrets: Secrets
    layout: Layout
    machine: Machine
    others: Mapping[str, Machine]
    generated: Mapping[str, str]
    new_passwords: Mapping[str, str]
    given: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def machines(self) -> dict[str, Machine]:
        return {self.machine.name: self.machine, **self.others}

    @property
    def generations(self) -> Generations:
        return Generations(self.layout.state, self.machine.store)

    @cached_property
    def site(self) -> Site:
        keys = (machine.ssh_key for machine in self.config.machines.values() if machine.ssh_key)
        private = frozenset(path.resolve() for path in (self.file, self.secrets.path, *keys))
        secrets = {**self.generated, **self.new_passwords, **self.given}
        return Site(self.layout, self.file.resolve().parent, secrets, private)

    def problems(self) -> list[str]:
        """What cannot be done as things are, or would take a hub's place."""
        with self.blamed("fails in problems()"):
            found = list(self.project.problems(self.config, self.site))
        for name in self.project.secrets(self.config):
            if name not in self.site.secrets:
                where = self.config.where(f"secrets.{name}")
                found.append(
                    f"{where}: nobody has written the secret {name}. Try: `{name}: ...` in {self.secrets.path}"
                )
        return found

    def check_places(self) -> None:
        """Raises CheckError where another hub or project has its directory: it would be taken for this one's."""
        for machine in self.machines.values():
            _check_place(machine, self.layout, self.project.name)

    def check(self) -> list[Finding]:
        """What could go wrong on its machines."""
        findings = [Finding("ok", f"configuration of {self.name}, project {self.project.name}")]
        findings += [Finding("problem", problem) for problem in self.problems()]
        for name, facts in self._facts().items():
            findings.append(Finding("ok", f"{name} is reached as {facts['user']}, with Python {facts['python']}"))
            with self.blamed("fails in checks()"):
                findings += [Finding("problem", text) for text in self.project.checks(self.config, name, facts)]
        return findings

    def _facts(self) -> dict[str, dict[str, Any]]:
        with ThreadPoolExecutor() as beside:
            asked = {name: beside.submit(machine.facts) for name, machine in self.machines.items()}
            return {name: answer.result() for name, answer in asked.items()}

    @cached_property
    def resources(self) -> dict[str, tuple[Resource, ...]]:
        """By machine. Raises CheckError for what is not possible, ConfigError for what is no desired state."""
        self.check_places()
        if problems := self.problems():
            raise CheckError("\n".join(problems), state="Nothing was changed")
        with self.blamed("fails in desired()"):
            made = {machine: tuple(items) for machine, items in self.project.desired(self.config, self.site).items()}
            own = tuple(self._own())
        for machine, items in made.items():
            with self.blamed("says what cannot be"):
                _check_items(self.machines, machine, (*own, *items))
        everything = [*own, *(item for items in made.values() for item in items)]
        self._check_secrets(everything)
        self._check_in_use(everything)
        return {name: (*own, *made.get(name, ())) for name in self.machines}

    def _check_secrets(self, wanted: Sequence[Resource]) -> None:
        """Raises ConfigError where one would be in a record or in an image, and so in what people are shown."""
        for item in wanted:
            kept = json.dumps(item.redacted().to_json())
            built = gzip.decompress(item.archive()) if isinstance(item, Image) else b""
            for name, text in self.site.telling():
                if json.dumps(text)[1:-1] in kept or text.encode() in built:
                    raise ConfigError(
                        f"the secret {name} would be in {item.id}, where others can read it",
                        state="Nothing was changed",
                        remedy="give it in a file that is secret, and in no variable, command, image or name",
                    )

    def _check_in_use(self, wanted: Sequence[Resource]) -> None:
        """Raises CheckError where one that was made up just now would take the place of one that is in use: whoever has
        it, such as a database, knows the earlier one only."""
        secret = {item.path: item.content for item in wanted if isinstance(item, File) and item.secret}
        known = self.generations.known().resources if self.new_passwords else {}
        used = {path: there for there, items in known.items() for path in secret if f"file:{path}" in _ids(items)}
        found = [
            f"{name} is in use on {used[path]}, and not in {self.secrets.path}"
            for name, text in self.new_passwords.items()
            if (path := next((one for one in used if text in secret[one]), None)) is not None
        ]
        if found:
            remedy = (
                f"the secrets file of that deployment, as {self.secrets.path}; to have another one from now on, write "
                "it there, and tell it to whatever keeps the earlier one"
            )
            raise CheckError("\n".join(found), state="Nothing was changed", remedy=remedy)

    def _own(self) -> Iterator[Resource]:
        """What each deployment has on each machine, whatever its project."""
        root = "root" if self.layout.privileged else ""
        yield Directory(str(self.layout.base), root, root, 0o755 if root else 0o700)
        yield Directory(str(self.layout.state), root, root, 0o711 if root else 0o700)
        text = json.dumps({"project": self.project.name, "config": self.config.dump()}, indent=1, sort_keys=True)
        yield File(str(self.layout.project_record), f"{text}\n", root, root, 0o644)

    def desired(self) -> Desired:
        notes = other_origin(self.layout, self.machine, self.file.resolve(), "deployment")
        current = self.generations.current()
        if current and (again := self.generations.again(current)):
            notes += (f"it was rolled back to generation {again}; up makes it as the configuration says",)
        before = self.dump_of(current)
        settings = changed_settings(before, self.config.dump()) if before else ()
        return self.wanted(self.resources, notes, settings)

    def wanted(
        self,
        machines: dict[str, tuple[Resource, ...]],
        notes: tuple[str, ...],
        settings: tuple[str, ...],
        again: int = 0,
    ) -> Desired:
        holds = f"file:{self.layout.project_record}"
        return Desired(self.name, self.layout.state, machines, notes, settings, holds, again)

    def dump_of(self, number: int) -> dict[str, Any] | None:
        """The configuration that a generation was made of; None if there is none."""
        if not number:
            return None
        # Every machine has it; what the one with the records was called then does not matter.
        for item in (item for items in self.generations.read(number).values() for item in items):
            if isinstance(item, File) and item.path == str(self.layout.project_record):
                return dict(json.loads(item.content)["config"])
        return None

    def plan(self) -> Plan:
        """What would change."""
        return self.plan_for(self.desired())

    def plan_for(self, desired: Desired) -> Plan:
        return make_plan(desired, self.machines, self.generations.known(), self.generations.images_kept(desired))

    def parts(self) -> Containers:
        """The containers that it was deployed with last, in the order of their start."""
        number = self.generations.current() or max(self.generations.numbers(), default=0)
        known = self.generations.read(number) if number else {}
        there = [(name, item) for name in self.machines for item in known.get(name, ()) if isinstance(item, Container)]
        return self._parts(there)

    def all_parts(self) -> Containers:
        """All containers that any deployment of it may have left, finished or not."""
        known = self.generations.known().resources
        there = [(name, item) for name in self.machines for item in known.get(name, ()) if isinstance(item, Container)]
        return self._parts(there)

    def _parts(self, there: list[tuple[str, Container]]) -> Containers:
        named = part_names(self.name, [(machine, item.name) for machine, item in there])
        elsewhere = {part: self.others[machine] for part, (machine, _) in named.items() if machine in self.others}
        return Containers(self.machine, {part: container for part, (_, container) in named.items()}, elsewhere)

    def blamed(self, what: str, *, begun: bool = False) -> AbstractContextManager[None]:
        """For what the project's own code does."""
        return blamed(self.project.name, package_of(self.project.name), what, begun=begun)


def opened(options: Options) -> ProjectDeployment | None:
    """The deployment of the configuration file, if its project is no hub; else None. Changes nothing."""
    file = given_file(options)
    if file is None or kind_of(file) == DEFAULT:
        return None
    project, config, secrets = load_project(file, options.hub)
    layout = Layout(config.name, ROOT_BASE, True) if config.machines else Layout.here(config.name)
    remember(file, options.hub, [way(settings) for settings in config.machines.values()])
    named: dict[str, Machine] = {name: reached(name, settings) for name, settings in config.machines.items()}
    for machine in named.values():
        machine.open()
    first = named.pop(config.places[0]) if named else LocalMachine(HERE)
    first.store.ahead(("read", str(path)) for path in (layout.state / "origin", *_taken(layout)))
    _check_place(first, layout, project.name)
    _check_first(layout, project.name, first, named.values())
    known, new, given = secrets_of(secrets, project.secrets(config), generate_password)
    return ProjectDeployment(project, config, file, secrets, layout, first, named, known, new, given)


def _check_first(layout: Layout, project: str, first: Machine, others: Iterable[Machine]) -> None:
    """Raises CheckError where another machine than the first has the records of the deployment: by the file alone, it
    would seem never to have been made."""
    if Generations(layout.state, first.store).numbers():
        return
    for machine in others:
        if Generations(layout.state, machine.store).numbers():
            _check_place(machine, layout, project)
            what = f"the records of {layout.hub} are on {machine.name}, and {first.name} is named first"
            raise CheckError(what, state="Nothing was changed", remedy=f"name {machine.name} first, under machines")


def _ids(items: Sequence[Resource]) -> set[str]:
    return {item.id for item in items}


def part_names(deployment: str, there: Sequence[tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """What commands call containers, each with its machine and its name: less what all names begin with. One that
    several machines have is called by its machine, too."""
    short = [(name.removeprefix(f"hubfleet-{deployment}_"), machine, name) for machine, name in there]
    count = Counter(part for part, _, _ in short)
    return {part if count[part] == 1 else f"{part}@{machine}": (machine, name) for part, machine, name in short}


def _check_items(machines: Mapping[str, Machine], machine: str, items: Sequence[object]) -> None:
    """Raises TypeError for what a project may not want of a machine."""
    if machine not in machines:
        raise TypeError(f"there is no machine {machine!r}")
    ids: set[str] = set()
    for item in items:
        if not isinstance(item, Resource):
            raise TypeError(f"{item!r} is no resource")
        if item.id in ids:
            raise TypeError(f"{item.title} is there twice")
        ids.add(item.id)


def _taken(layout: Layout) -> tuple[Path, ...]:
    """What tells whose a directory is: a hub's on its machine, a hub's on another one, a project's."""
    return layout.launcher_dir / "launcher.json", layout.called, layout.project_record


def _check_place(machine: Machine, layout: Layout, project: str) -> None:
    hub, apart, record = (machine.store.read(str(path)) for path in _taken(layout))
    whose = "a hub" if hub is not None or apart is not None else ""
    if record is not None and (other := json.loads(record)["project"]) != project:
        whose = f"of project {other}"
    if whose:
        what = f"{layout.hub} on {machine.name} is {whose}"
        raise CheckError(what, state="Nothing was changed", remedy="another name, or its own file")

"""What every project has: a model of its configuration, a desired state, and actions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import PrivateAttr

from hubfleet.config.checks import Finding as Finding
from hubfleet.config.fields import HubName, Key
from hubfleet.config.inherit import Provenance
from hubfleet.config.machines import SshMachine
from hubfleet.config.section import Section, setting
from hubfleet.layout import Layout
from hubfleet.machines import Machine
from hubfleet.resources import Resource

HERE = "this machine"
"""What the machine is called that hubfleet runs on, where a configuration names none."""
SHORTEST = 6
"""Characters of a secret that is looked for where it must not be."""
SecretFrom = Literal["file", "generate"]
"""Where a secret comes from: its owner writes it into the secrets file, or the first `up` makes one up."""


class ProjectMachine(SshMachine):
    """One machine of a project."""

    roles: tuple[Key, ...] = setting((), "What it is for, in the project's own words.", ["web"])


class ProjectConfig(Section):
    """The settings that every project has. A project's own model is a subclass of this one, with what it adds."""

    project: str = setting(..., "Which project this is.", "services")
    name: HubName = setting(
        ..., "What this deployment is called: its directory, accounts, networks and containers are named by it.", "shop"
    )
    machines: dict[Key, ProjectMachine] = setting(
        {},
        "Machines that are reached over SSH; the first one keeps the records. None: this machine.",
        {"web1": {"ssh": "ubuntu@203.0.113.10"}},
    )

    _provenance: Provenance = PrivateAttr(default_factory=Provenance)

    @property
    def places(self) -> tuple[str, ...]:
        """The names of all machines, the one that keeps the records first."""
        return tuple(self.machines) or (HERE,)

    def where(self, path: str) -> str | None:
        """The line of "services.api.image" or of what is around it, "hubfleet.yaml:12"; None without a file."""
        return self._provenance.where(tuple(path.split(".")))

    def dump(self) -> dict[str, Any]:
        """The configuration as JSON-able data, deterministic and without secrets."""
        return self.model_dump(mode="json")


@dataclass(frozen=True)
class Site:
    """What a desired state is made from, beside the configuration.

    layout:  where the deployment's files are, the same on each machine; `layout.state` is there before all else.
    base:    the directory of the configuration file, from which it names others.
    secrets: by name, those that `Project.secrets` asked for. They belong into a `File` with ``secret=True``, and
             nowhere else: a plan, a record and a container's variables can be read by others.
    private: files that are for the operator alone, and never sent to a machine: the configuration, its secrets, keys.
    """

    layout: Layout
    base: Path
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    private: frozenset[Path] = frozenset()

    def telling(self) -> list[tuple[str, str]]:
        """The secrets that are looked for where they must not be, with their names: a shorter one is in any text."""
        return [(name, text) for name, text in self.secrets.items() if len(text) >= SHORTEST]


@dataclass(frozen=True)
class Asked:
    """What an action is given.

    config:    the configuration, of the project's own model.
    machines:  by name, see `hubfleet.machines.Machine`.
    arguments: what was typed after the action's name.
    say:       shows one line to whoever typed it.
    """

    config: Any
    layout: Layout
    machines: Mapping[str, Machine]
    arguments: Sequence[str]
    say: Callable[[str], None]


@dataclass(frozen=True)
class Action:
    """Something that can be done with a deployment, by `hubfleet do NAME`.

    says: what it does, in one line. usage: what is typed after its name, such as "SERVICE".
    run:  does it, while nobody else changes this deployment; a `HubfleetError` says what went wrong. None: it is a
          command of hubfleet's own.
    """

    says: str
    run: Callable[[Asked], None] | None
    usage: str = ""


class Project:
    """One kind of thing to deploy; a subclass says what it is. All else is hubfleet's, and the same for all: plans,
    generations, rollback, secrets, machines over SSH, stopping and deleting.

    name:    what a configuration says after `project:`, as in the entry point.
    model:   the form of the configuration, a subclass of `ProjectConfig`.
    actions: what `hubfleet do` can do beside, by name.
    What a container is called begins with `hubfleet-<name of the deployment>_`, and commands know it by the rest.
    """

    name: str = ""
    model: type[Any] = ProjectConfig
    actions: Mapping[str, Action] = {}

    def findings(self, config: Any) -> Iterable[Finding]:
        """Mistakes that the model alone does not see: the place, what is wrong there, and what to write. Pure."""
        return ()

    def secrets(self, config: Any) -> Mapping[str, SecretFrom]:
        """The secrets that it needs, by the names they have in the secrets file: without a dot, and neither `hubs` nor
        `admin_password`, which are maps there. Pure."""
        return {}

    def problems(self, config: Any, site: Any) -> Sequence[str]:
        """What cannot be done as things are, one sentence each with what to change. Pure."""
        return ()

    def checks(self, config: Any, machine: str, facts: Mapping[str, Any]) -> Iterable[str]:
        """What would fail on a machine that says this of itself (`agent.facts.facts`), one sentence each. Pure."""
        return ()

    def desired(self, config: Any, site: Any) -> Mapping[str, Sequence[Resource]]:
        """By machine, everything that should be there, in the order in which it is made. It may read files beside the
        configuration, and looks at no machine."""
        raise NotImplementedError

"""The settings of user servers."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, model_validator

from hubfleet.config.fields import (
    BadValue,
    CoreCount,
    Count,
    Flag,
    Idle,
    Key,
    Line,
    MemoryLimit,
    PathBeside,
    ProcessCount,
    Requirement,
    Size,
    UrlPath,
    Variable,
    VariableValue,
)
from hubfleet.config.machines import Image
from hubfleet.config.section import Section, setting
from hubfleet.units import Duration


def _check_order(limit: float | None, guarantee: float | None) -> None:
    if limit and guarantee and guarantee > limit:
        raise BadValue(f"guarantee {guarantee} is above limit {limit}", f"guarantee: {limit}")


def _with_titles(profiles: dict[str, Profile]) -> dict[str, Profile]:
    chosen = [key for key, profile in profiles.items() if profile.default]
    if len(chosen) > 1:
        raise BadValue(f"several defaults: {', '.join(chosen)}", "keep `default: true` in one of them")
    return {key: item.model_copy(update={"title": item.title or key}) for key, item in profiles.items()}


class Memory(Section):
    """Memory of one server. K, M, G and T are powers of 1024."""

    limit: MemoryLimit | None = setting(None, "More than this ends the process that asks for it.", "1G")
    guarantee: Size | None = setting(None, "Kept free for the server.", "256M")

    @model_validator(mode="after")
    def _in_order(self) -> Memory:
        _check_order(self.limit, self.guarantee)
        return self


class Cpu(Section):
    """Processor cores of one server."""

    limit: CoreCount | None = setting(None, "Most cores that the server may use.", 2)
    guarantee: CoreCount | None = setting(None, "Share of cores when the machine is busy.", 0.5)

    @model_validator(mode="after")
    def _in_order(self) -> Cpu:
        _check_order(self.limit, self.guarantee)
        return self


class ServerOptions(Section):
    """What may differ per group, user and profile. None: not set here."""

    memory: Memory = setting(Memory(), "Memory of one server.", {"limit": "1G"})
    cpu: Cpu = setting(Cpu(), "Processor cores of one server.", {"limit": 2})
    processes: ProcessCount | None = setting(None, "Most processes and threads of one server.", 512)
    stop_after_idle: Idle | None = setting(
        None, "A server unused for this long is stopped; at least 10m, or `never`.", "2h", "never"
    )
    environment: dict[Variable, VariableValue] = setting(
        {}, "Environment variables of servers. No secrets: every user can read them.", {"OMP_NUM_THREADS": "2"}
    )
    default_url: UrlPath | None = setting(None, "Page that opens first.", "/lab", "/tree")
    image: Image | None = setting(
        None,
        "Image that these servers are built on (engines docker and swarm); it needs Python 3.10 or newer.",
        "quay.io/jupyter/r-notebook:2026-10-01",
    )
    fast_start: Flag | None = setting(
        None, "Make servers from a prepared one, in a fraction of the time and memory. `false`: start each anew.", False
    )


class Profile(ServerOptions):
    """A choice that users have when they start a server; its values win over all others."""

    title: Line = setting("", "Name that users see. Default: the key of the profile.", "Large memory")
    description: Line = setting("", "A line that users see below the title.", "For the final project")
    default: Flag = setting(False, "Chosen when the user chooses nothing.", True)
    groups: tuple[Key, ...] = setting((), "Groups that may use it. Empty: everybody.", ["staff"])


class Servers(ServerOptions):
    """The servers of all users."""

    stop_after_idle: Idle = setting(
        Duration(7200), "A server unused for this long is stopped; at least 10m, or `never`.", "2h", "never"
    )
    default_url: UrlPath = setting("/lab", "Page that opens first.", "/lab", "/tree")
    fast_start: Flag = setting(
        True, "Make servers from a prepared one, in a fraction of the time and memory. `false`: start each anew.", False
    )
    image: Image | None = setting(
        None,
        "Image that servers are built on (engines docker and swarm); it needs Python 3.10 or newer. Default: "
        "`base_image`.",
        "quay.io/jupyter/scipy-notebook:2026-10-01",
    )
    packages: tuple[Requirement, ...] = setting(
        (), "Python packages for everybody, as `pip install` names them.", ["pymc", "seaborn>=0.13"]
    )
    requirements: PathBeside | None = setting(
        None, "A requirements file, relative to this file, for everybody.", "requirements.txt"
    )
    named_servers: Count = setting(0, "Servers that a user may have beside the usual one.", 2)
    profiles: Annotated[dict[Key, Profile], AfterValidator(_with_titles)] = setting(
        {}, "Choices when a server starts, in the order shown.", {"large": {"title": "Large memory"}}
    )

"""The partitions of a cluster and what their nodes have, as `sinfo` tells. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hubfleet.engines.slurm.listing import PLAIN, lines, seconds, whole

_GPU = re.compile(r"gpu(?::(?P<kind>[A-Za-z_][^:(),]*))?(?::(?P<count>\d+))?(?:\(.*\))?")
_SINFO = ("%P", "%a", "%l", "%c", "%m", "%G", "%D", "%t")
_AWAY = ("down", "drain", "drng", "fail", "maint", "unk", "inval")


@dataclass(frozen=True)
class Kind:
    """Nodes that are alike: how many, and what each has. ``memory`` in MiB; ``gpus``: number by kind, "" where the
    cluster names none. ``there``: of these, those that are up."""

    count: int
    there: int
    cpus: int
    memory: int
    gpus: Mapping[str, int] = field(default_factory=dict)

    def fits(self, cpus: int, memory: int, gpus: int, gpu_kind: str = "") -> bool:
        """Whether one of these nodes, when empty, can have such a job."""
        has = self.gpus.get(gpu_kind, 0) if gpu_kind else sum(self.gpus.values())
        return cpus <= self.cpus and memory <= self.memory and gpus <= has


@dataclass(frozen=True)
class Partition:
    """A partition and its limits. ``longest``: seconds that a job may run, None for no limit."""

    name: str
    default: bool
    up: bool
    longest: float | None
    kinds: tuple[Kind, ...]

    @property
    def cpus(self) -> int:
        return max((kind.cpus for kind in self.kinds), default=0)

    @property
    def memory(self) -> int:
        return max((kind.memory for kind in self.kinds), default=0)

    @property
    def gpus(self) -> int:
        return max((sum(kind.gpus.values()) for kind in self.kinds), default=0)


def sinfo(mark: str) -> list[str]:
    """The command that tells of all partitions."""
    return [*PLAIN, "sinfo", "--noheader", "--exact", f"--format={mark}{mark.join(_SINFO)}"]


def partitions(output: str, mark: str) -> dict[str, Partition]:
    """The partitions of an answer to `sinfo`, by name."""
    found = dict[str, Partition]()
    for name, available, limit, cpus, memory, extra, count, state in lines(output, mark, len(_SINFO)):
        numbers = [whole(one) for one in (cpus, memory, count)]
        if not name or None in numbers:
            continue
        has, most, many = (number or 0 for number in numbers)
        default, plain = name.endswith("*"), name.removesuffix("*")
        there = 0 if state.endswith("*") or state.startswith(_AWAY) else many
        kind = Kind(many, there, has, most, _gpus(extra))
        before = found.get(plain)
        known = before.kinds if before else ()
        alike = [one for one in known if (one.cpus, one.memory, one.gpus) == (kind.cpus, kind.memory, kind.gpus)]
        for one in alike:
            kind = Kind(kind.count + one.count, kind.there + one.there, one.cpus, one.memory, one.gpus)
        kinds = (*(one for one in known if one not in alike), *([kind] if kind.count else []))
        found[plain] = Partition(plain, default, available == "up", seconds(limit), kinds)
    return found


def _gpus(extra: str) -> dict[str, int]:
    found = dict[str, int]()
    for one in re.split(r",(?![^()]*\))", extra):
        if match := _GPU.fullmatch(one.strip()):
            kind = match["kind"] or ""
            found[kind] = found.get(kind, 0) + int(match["count"] or 1)
    return found

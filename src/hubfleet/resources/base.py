"""What every resource shares: an identity, a pure comparison with what a machine has, and JSON.

Standard library only, and importable on Python 3.9: this package also runs on remote machines.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

Observed = dict[str, Any]
"""What a machine says about one resource; JSON only. Each kind documents its keys; absent is None."""

Action = Literal["create", "update", "remove", "restart", "start", "stop", "try out"]

SERVING = 9
"""The last stage, see `Resource.stage`: what people notice."""


@dataclass(frozen=True)
class Resource:
    """Something a machine should have. Subclasses are frozen dataclasses in a file of their own.

    kind:      the word used in ids, plans and manifests.
    keyed_by:  the field that tells this one from the others of its kind.
    removable: whether it is removed once no longer wanted; False for what may hold people's data.
    removed_first: removed before anything is made (it holds a port); others are removed at the end.
    recorded:  whether generations know it; False for a step that is done once.
    volatile:  observed keys that may change between plan and apply without making the plan stale.
    """

    kind: ClassVar[str] = ""
    keyed_by: ClassVar[str] = "path"
    removable: ClassVar[bool] = True
    removed_first: ClassVar[bool] = False
    recorded: ClassVar[bool] = True
    volatile: ClassVar[frozenset[str]] = frozenset()

    @property
    def key(self) -> str:
        """What tells this one from the others of its kind: its path or its name."""
        return str(getattr(self, self.keyed_by))

    @property
    def id(self) -> str:
        """`kind:key`, unique on a machine."""
        return f"{self.kind}:{self.key}"

    @property
    def title(self) -> str:
        """`kind key`, for people."""
        return f"{self.kind} {self.key}"

    @property
    def serves(self) -> bool:
        """Whether people's pages depend on it: it is not touched before all machines are prepared."""
        return False

    def stage(self, action: Action) -> int:
        """When it is done, where several machines depend on each other: none begins a stage before all have done what
        belongs to earlier ones. From 0 to `SERVING`."""
        return SERVING if self.serves else 0

    @property
    def follows(self) -> tuple[tuple[str, str, Action], ...]:
        """What it has to be looked at again after: a machine's name, the id of a resource there, and an action. When a
        plan has that, it has `followed` too, though all was as wanted when the plan was made."""
        return ()

    def followed(self) -> Change:
        """What is done then, unless it turns out to be as wanted."""
        raise NotImplementedError

    @property
    def needs(self) -> tuple[str, str] | None:
        """A secret of another machine's that is asked for right before the step: the machine's name, and what (a key
        of `agent.secrets.SECRETS`). None for nothing."""
        return None

    def given(self, secret: str) -> Resource:
        """This with what it `needs`, for the step alone: no plan, record or line for people has it."""
        raise NotImplementedError

    def diff(self, observed: Observed | None) -> Change | None:
        """The change that leads from `observed` to this, or None. Pure.

        Raises CheckError if no change could (a directory where a file is wanted).
        """
        raise NotImplementedError

    def absent(self, observed: Observed | None) -> bool:
        """Whether there is nothing of it. Pure."""
        return observed is None

    def removal(self, observed: Observed | None) -> Change | None:
        """The change that removes this; None if it is gone, is never removed, or is still in use. Pure."""
        if observed is None or not self.removable:
            return None
        return Change(self, "remove", ("no longer part of the configuration",))

    def steady(self, observed: Observed | None) -> Observed | None:
        """What of `observed` a plan relies on: if that changes, the plan is stale."""
        if observed is None:
            return None
        return {key: value for key, value in observed.items() if key not in self.volatile}

    def redacted(self) -> Resource:
        """This without secret contents, good enough to remove it later. Written into manifests."""
        return self

    def to_json(self) -> dict[str, Any]:
        """All fields and the kind; `registry.from_json` reads it back."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class Change:
    """One step of a plan.

    detail: lines for people (a diff); never a secret.
    impact: what users notice; empty if nothing.
    seen:   `fingerprint` of what the plan saw; the agent refuses to act on anything else. Empty: not checked.
    """

    resource: Resource
    action: Action
    detail: tuple[str, ...] = ()
    impact: str = ""
    seen: str = ""


def fingerprint(resource: Resource, observed: Observed | None) -> str:
    """A short digest of what a plan relies on in `observed`."""
    steady = resource.steady(observed)
    if steady is None:
        return "absent"
    return hashlib.sha256(json.dumps(steady, sort_keys=True).encode()).hexdigest()[:16]


def access_changes(observed: Observed, owner: str, group: str, mode: int) -> tuple[str, ...]:
    """Lines such as `owner root -> hub`; an empty owner or group means any."""
    lines = []
    if owner and observed["owner"] != owner:
        lines.append(f"owner {observed['owner']} -> {owner}")
    if group and observed["group"] != group:
        lines.append(f"group {observed['group']} -> {group}")
    if observed["mode"] != mode:
        lines.append(f"mode {observed['mode']:04o} -> {mode:04o}")
    return tuple(lines)


def access(owner: str, group: str, mode: int) -> str:
    """One line for something new, such as `owner root, group hub, mode 0640`."""
    words = [f"owner {owner}"] if owner else []
    words += [f"group {group}"] if group else []
    return ", ".join([*words, f"mode {mode:04o}"])

"""A plan as lines of text; the command line adds colour by each line's role."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Literal, NamedTuple

from hubfleet.plan.model import Plan
from hubfleet.resources import Change

Role = Literal[
    "heading", "setting", "create", "update", "remove", "run", "added", "removed", "detail", "impact", "note"
]

ROLES: dict[str, Role] = {"create": "create", "update": "update", "remove": "remove"}
MARKS = {"create": "+", "update": "~", "remove": "-"}
DETAIL_LINES = 40
NEW_LINES = 8  # of something new there is no change to look for


class Line(NamedTuple):
    """A line, and what it is (for colour)."""

    text: str
    role: Role


def plan_lines(plan: Plan, *, full: bool = False) -> list[Line]:
    """The plan, line by line. full: long diffs as well, which otherwise end after 40 lines, new files after 8."""
    lines = [Line(f"{plan.hub}: {summary(plan)}", "heading")]
    lines += [Line(f"  {setting}", "setting") for setting in plan.desired.settings]
    several = len({*plan.desired.machines, *(name for name, _ in plan.changes)}) > 1
    machine = ""
    for name, change in plan.changes:
        if several and name != machine:
            machine = name
            lines.append(Line(f"{name}:", "heading"))
        if plan.desired.settings and change.resource.id == plan.desired.holds and not full:
            change = replace(change, detail=("the settings above; --full shows the lines of the file",))
        lines += _change_lines(change, full)
    return [*lines, *(Line(f"note: {note}", "note") for note in plan.notes)]


def plan_text(plan: Plan, *, full: bool = False) -> str:
    """The plan as one text, for logs and for the generation's summary."""
    return "".join(f"{line.text}\n" for line in plan_lines(plan, full=full))


def summary(plan: Plan) -> str:
    """Such as "3 to create, 1 to restart", or "nothing to change"."""
    counts = Counter(change.action for _, change in plan.changes)
    return ", ".join(f"{count} to {action}" for action, count in counts.items()) or "nothing to change"


def _change_lines(change: Change, full: bool) -> list[Line]:
    role: Role = ROLES.get(change.action, "run")
    lines = [Line(f"  {MARKS.get(change.action, '>')} {change.action} {change.resource.title}", role)]
    shown = change.detail if full else change.detail[: NEW_LINES if change.action == "create" else DETAIL_LINES]
    lines += [Line(f"      {text}", _detail_role(text)) for text in shown]
    if len(shown) < len(change.detail):
        lines.append(Line(f"      ... and {len(change.detail) - len(shown)} more lines", "detail"))
    if change.impact:
        lines.append(Line(f"      impact: {change.impact}", "impact"))
    return lines


def _detail_role(text: str) -> Role:
    if text.startswith("+"):
        return "added"
    return "removed" if text.startswith("-") else "detail"

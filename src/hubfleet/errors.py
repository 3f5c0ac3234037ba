"""Errors that hubfleet expects: each says what is wrong, where, the state things are in, and what to type.

Standard library only, and importable on Python 3.9: this file also runs on remote machines.
"""

from __future__ import annotations

from collections.abc import Sequence

INTERNAL_EXIT_CODE = 70
"""Exit code of anything that was not foreseen (a defect in hubfleet)."""


class HubfleetError(Exception):
    """An expected failure. `str()` reads "where: what. state. Try: remedy"; absent parts are left out.

    what:   the cause, in one sentence.
    where:  file and line, or machine and resource.
    state:  the state things are in now ("nothing was changed").
    remedy: what to type, or to write.
    """

    exit_code = INTERNAL_EXIT_CODE

    def __init__(
        self, what: str, *, where: str | None = None, state: str | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.state = state
        self.remedy = remedy

    def __str__(self) -> str:
        sentences = [self.what]
        if self.state:
            sentences.append(self.state)
        if self.remedy:
            sentences.append(f"Try: {self.remedy}")
        body = " ".join(_closed(sentence) for sentence in sentences[:-1])
        text = f"{body} {sentences[-1]}" if body else sentences[-1]
        return f"{self.where}: {text}" if self.where else text


class ConfigError(HubfleetError):
    """The configuration, a secret or a name on the command line is wrong; nothing was changed."""

    exit_code = 2


class ConfigErrors(ConfigError):
    """Several mistakes found in one go; `str()` has one line each.

    problems: the mistakes, in the order of their lines.
    """

    def __init__(self, problems: Sequence[ConfigError]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class CheckError(HubfleetError):
    """The configuration is sound, but this machine cannot carry it out (a port in use, a program missing)."""

    exit_code = 3


class ApplyError(HubfleetError):
    """A change failed, or its result was not as planned; `state` says what was done and what was not."""

    exit_code = 4


class LockedError(HubfleetError):
    """Another operator is changing this hub now."""

    exit_code = 5


class NotRunningError(HubfleetError):
    """The command needs a running hub, and there is none."""

    exit_code = 6


class CancelledError_(HubfleetError):  # noqa: N801 - the underscore keeps it apart from asyncio's
    """The operator answered no; nothing was changed."""

    exit_code = 7


class BrokenOff(HubfleetError):
    """The operator broke a wait off; `state` says what stays as it is."""

    exit_code = 130


class UnreachableError(HubfleetError):
    """There is no way to work on a machine: it cannot be reached, or it lacks what that takes."""

    exit_code = 8


def _closed(sentence: str) -> str:
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."

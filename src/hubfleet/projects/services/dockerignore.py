"""A .dockerignore file: what of a directory no image is built of, by Docker's rules."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

_PIECE = re.compile(
    r"(?P<deep>\*\*+/?)|(?P<any>\*)|(?P<one>\?)|(?P<set>\[[^]]+\])|\\(?P<escaped>.)|(?P<plain>.)", re.DOTALL
)


@dataclass(frozen=True)
class Ignored:
    """lines: each the form of what is left out, or, with True, of what is taken after all; the last one counts."""

    lines: tuple[tuple[bool, re.Pattern[str]], ...] = ()

    @classmethod
    def of(cls, text: str) -> Ignored:
        """Raises ValueError with a line that means nothing."""
        return cls(tuple(_read(line.strip()) for line in text.splitlines() if _means(line)))

    @property
    def final(self) -> bool:
        """Whether all that is in a directory which is left out is left out, too."""
        return not any(back for back, _ in self.lines)

    def __call__(self, path: str) -> bool:
        """Whether this is left out: it, or a directory that it is in. path: from the directory of the file."""
        parts = path.split("/")
        ways = ["/".join(parts[:size]) for size in range(1, len(parts) + 1)]
        out = False
        for back, form in self.lines:
            if out == back and any(form.fullmatch(way) for way in ways):
                out = not back
        return out


def _means(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")


def _read(line: str) -> tuple[bool, re.Pattern[str]]:
    back = line.startswith("!")
    path = posixpath.normpath(line[back:].strip() or ".").lstrip("/")
    try:
        return back, re.compile("".join(map(_form, _pieces(path))), re.DOTALL)
    except re.error:
        raise ValueError(line) from None


def _pieces(path: str) -> list[tuple[str, str, bool]]:
    """Each with its kind, its text, and whether it is the last."""
    return [(str(one.lastgroup), one[str(one.lastgroup)], one.end() == len(path)) for one in _PIECE.finditer(path)]


def _form(piece: tuple[str, str, bool]) -> str:
    kind, text, last = piece
    if kind == "deep":
        return ".*" if last else "(.*/)?"
    return {"any": "[^/]*", "one": "[^/]", "set": text}.get(kind) or re.escape(text)

"""The plain data of a configuration as it is put together, with the line that each setting comes from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from hubfleet.config.document import leaves
from hubfleet.config.fields import BadValue, did_you_mean
from hubfleet.config.inherit import Provenance, Tree, dotted, overlay
from hubfleet.config.problems import UNSHOWN
from hubfleet.deployer.files import Files, others_may_read
from hubfleet.deployer.properties import PROPERTIES, Property
from hubfleet.deployer.stanzas import OVERRIDES, Name, Written, shown
from hubfleet.errors import ConfigError
from hubfleet.units import Secret, UnitError


class Build:
    """What has been found for one hub: data, secrets by the names that hubfleet has for them, notes, and mistakes.

    found:     the values of each property that hold for it, the most local one last.
    elsewhere: names of the secrets that the environment or hubfleet's own file has.
    """

    def __init__(
        self,
        name: Name,
        hub: str,
        files: Files,
        found: dict[str, list[Written]],
        elsewhere: frozenset[str] = frozenset(),
    ) -> None:
        self.name, self.files, self._elsewhere = name, files, elsewhere
        self.tree = Tree({"hub": hub}, Provenance(files.configs.file))
        self.secrets: dict[str, tuple[str, Secret]] = {}
        self.notes: list[str] = []
        self.problems: list[ConfigError] = []
        self.written = {key: values[-1] for key, values in found.items()}
        self._found = found
        self._values: dict[str, Any] = {}
        for key, values in found.items():
            if key not in PROPERTIES:
                self._unknown(key, values[-1])
                continue
            for written in values:
                self._look(key, PROPERTIES[key], written)
            self._values[key] = self._read(key, self.written[key])
            if PROPERTIES[key].note:
                self.note(PROPERTIES[key].note, key)

    def get(self, key: str) -> Any:
        """The value of a property; None where it is not written, or is wrong, which has been told."""
        return self._values.get(key)

    def has(self, key: str) -> bool:
        """Whether a property is written, rightly or not; or known from elsewhere."""
        return key in self.written or (key in PROPERTIES and PROPERTIES[key].secret in self._elsewhere)

    def put(self, path: str, value: Any, key: str = "", items: Sequence[int] | None = None) -> None:
        """Set a setting, because of a property ("": because of none that is written).

        items: which ones of the property's list there are in this one.
        """
        *above, last = path.split(".")
        part = self.tree.data
        for piece in above:
            part = part.setdefault(piece, {})
        part[last] = value
        if (written := self.written.get(key)) is None:
            return
        base = (*above, last)
        for place, _ in leaves(value, base):
            inner = place[len(base) :]
            there = (str(items[int(inner[0])]),) if items is not None and inner else inner
            self.tree.provenance.origins[dotted(place)] = written.origin(key, there)

    def overlay(self, key: str) -> None:
        """Lay settings of hubfleet's own, which a property holds, over what there is: those of all its levels."""
        layers = self._found.get(key, [])
        read = [*(self._read(key, written) for written in layers[:-1]), self.get(key)]
        for written, settings in zip(layers, read, strict=False):
            if settings is not None:
                overlay(self.tree, settings, partial(written.origin, ""))

    def about(self, path: str, key: str) -> None:
        """Have what is said of a whole section told where this property stands."""
        if (written := self.written.get(key)) is not None:
            self.tree.provenance.origins[path] = written.origin("")

    def secret(self, name: str, key: str) -> None:
        """Take a property as the secret of this name."""
        if (value := self.get(key)) is not None:
            self.secrets[name] = (self.written[key].where(), Secret(value))

    def note(self, text: str, key: str) -> None:
        """Something to tell of a property."""
        self.notes.append(f"{self.written[key].where()}: {key}: {text}")

    def wrong(self, key: str, what: str, remedy: str | None, *, item: int | None = None) -> None:
        """A mistake, at a property. ``item``: which one of its list."""
        written = self.written.get(key)
        where = written.where(() if item is None else (str(item),)) if written else self.files.configs.file.name
        self.problems.append(ConfigError(f"{key}: {what}", where=where, remedy=remedy))

    def require(self, key: str) -> None:
        """Say that a property is missing, unless it is there."""
        if not self.has(key):
            stanzas = ", ".join(shown(self.name[:size]) for size in range(len(self.name), 0, -1))
            example = f"{key}: {PROPERTIES[key].example}"
            where = " in a .passwords file (mode 0600)" if PROPERTIES[key].secret else ""
            self.wrong(key, f"is required, and is not in {stanzas}", f"{example}{where}")

    def _read(self, key: str, written: Written) -> Any:
        """A value of a property; None where it is wrong, which is told."""
        known = PROPERTIES[key]
        try:
            return known.read(written.text)
        except (BadValue, UnitError) as bad:
            quiet = written.hidden or known.secret
            what = f"{key}: {UNSHOWN if quiet else bad.what}"
            self.problems.append(written.problem(what, None if quiet else bad.remedy))
            return None

    def _look(self, key: str, known: Property, written: Written) -> None:
        """Secrets where somebody else may read them."""
        if not known.secret or written.hidden:
            return
        remedy = "move it to a .passwords file, with mode 0600"
        if written.document.file == OVERRIDES:
            what = f"{key}: on the command line, everybody on this machine can read a secret"
            self.problems.append(ConfigError(what, where=str(OVERRIDES), remedy=remedy))
        elif others_may_read(written.document.file):
            what = f"{key}: a secret, and others may read this file"
            self.problems.append(ConfigError(what, where=written.where(), remedy=remedy))

    def _unknown(self, key: str, written: Written) -> None:
        close = did_you_mean(key, PROPERTIES)
        if close:
            self.problems.append(
                ConfigError(f"`{key}`{close}", where=written.where(), remedy=close.split("`")[1] + ": ...")
            )
        elif written.part or written.document.file == OVERRIDES:
            remedy = "remove it, or one of " + ", ".join(PROPERTIES)
            self.problems.append(ConfigError(f"{key}: unknown property", where=written.where(), remedy=remedy))
        else:
            self.notes.append(f"{written.where()}: {key}: not a property of {self.name[0]}; left to other projects.")

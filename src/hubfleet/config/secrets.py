"""Secrets: a private file beside the configuration, the environment, or a command that prints one."""

from __future__ import annotations

import io
import os
import re
import secrets as random
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from hubfleet.config.document import Document, Place, dig, read_document
from hubfleet.config.fields import did_you_mean
from hubfleet.errors import ConfigError
from hubfleet.privatefiles import write_private
from hubfleet.units import Secret

PREFIX = "HUBFLEET_SECRET_"
NAMES = (
    *("class_password", "admin_password", "owner_password", "projects_token"),
    *("client_secret", "oauth_password", "ldap_password", "google_key", "https_certificate", "https_key"),
)
"""`admin_password` is a map: its secrets are named admin_password.<login name>."""
_MAP = "admin_password"

_COMMAND = "!command "
_HEADER = "# Secrets of hubfleet. Only the owner may read this file; keep it out of version control.\n"
_CONSONANTS, _VOWELS = "bdfghjklmnprstvz", "aiou"


class Secrets:
    """The secrets of one hub. `repr()` shows where they are kept, never what they are.

    path:    the secrets file; it need not exist.
    hub:     among several hubs, the one whose `hubs: {name: ...}` wins over the top of the file; else None.
    environ: HUBFLEET_SECRET_<NAME> wins over the file.
    timeout: seconds a `!command` may take.
    given:   secrets that another file holds, by name, each with where it stands ("x.passwords:4"); they win over this
             file, where what is generated is written to.
    names:   those that there may be.
    """

    def __init__(
        self,
        path: Path,
        hub: str | None = None,
        environ: Mapping[str, str] = os.environ,
        timeout: float = 30.0,
        given: Mapping[str, tuple[str, Secret]] = MappingProxyType({}),
        names: Sequence[str] = NAMES,
    ) -> None:
        self.path = path
        self._hub = hub
        self._environ = environ
        self._timeout = timeout
        self._given = given
        self._names = names
        self._answers: dict[str, Secret] = {}

    @classmethod
    def beside(
        cls,
        file: Path,
        hub: str | None = None,
        environ: Mapping[str, str] = os.environ,
        names: Sequence[str] = NAMES,
    ) -> Secrets:
        """The secrets of the configuration `file`: hubfleet.secrets.yaml for hubfleet.yaml."""
        return cls(file.with_name(f"{file.stem}.secrets.yaml"), hub, environ, names=names)

    def __repr__(self) -> str:
        return f"Secrets({str(self.path)!r})"

    def get(self, name: str) -> Secret | None:
        """The secret, or None when nobody set it. Raises ConfigError, as for a command that fails."""
        variable = variable_of(name)
        if self._environ.get(variable):
            return Secret(self._environ[variable])
        if name in self._given:
            where, secret = self._given[name]
            return self._answer(secret.reveal(), where)
        document = read_document(self.path, secret=True)
        for place in reversed(self._places(name)):
            text = dig(document.data, place)
            if text and isinstance(text, str):
                return self._answer(text, self._where(document, place))
        return None

    def has(self, name: str) -> bool:
        """Whether somebody set the secret. No command is run for it. Raises ConfigError for a file that is refused."""
        if self._environ.get(variable_of(name)) or name in self._given:
            return True
        data = read_document(self.path, secret=True).data
        return any(dig(data, place) for place in self._places(name))

    def ensure(self, name: str, generate: Callable[[], str]) -> tuple[Secret, bool]:
        """The secret, and whether it is new: when nobody set it, one is generated and written to the file."""
        present = self.get(name)
        if present is not None:
            return present, False
        text = generate()
        self._write(self._places(name)[-1], text)
        return Secret(text), True

    def check_put(self, name: str) -> None:
        """Raise ConfigError if what is `put` into the file would not count: to be asked before anything is changed."""
        wins, remedy = "", ""
        if variable_of(name) in self._environ:
            wins, remedy = f"the variable {variable_of(name)}", "remove the variable"
        elif name in self._given:
            wins, remedy = f"what is at {self._given[name][0]}", "remove that line"
        if wins:
            what = f"{name} is about to be written into {self.path.name}, but {wins} wins"
            raise ConfigError(what, state="Nothing was changed", remedy=remedy)

    def put(self, name: str, text: str) -> None:
        """Write a secret into the file, in place of what is there. Raises ConfigError as `check_put`."""
        self.check_put(name)
        self._write(self._places(name)[-1], text)

    def check(self) -> None:
        """Raise ConfigError if others may read the file, or it is not YAML or not a map of known secrets."""
        document = read_document(self.path, secret=True)
        hubs = document.data.get("hubs", {})
        if not isinstance(hubs, dict):
            raise ConfigError(
                "hubs: must be a map", where=self._where(document, ("hubs",)), remedy="hubs: {prod: {...}}"
            )
        parts: dict[Place, Any] = {(): {key: value for key, value in document.data.items() if key != "hubs"}}
        parts |= {("hubs", name): part for name, part in hubs.items()}
        for place, part in parts.items():
            self._check_part(document, place, part)
        for variable in self._environ:
            name = variable[len(PREFIX) :].lower()
            known = variable in map(variable_of, self._names) or (_MAP in self._names and name.startswith(f"{_MAP}_"))
            if variable.startswith(PREFIX) and (not known or name == _MAP):
                raise self._unknown(name, variable, variable_of)

    def _check_part(self, document: Document, place: Place, part: Any) -> None:
        if not isinstance(part, dict):
            raise ConfigError(
                "must hold secrets",
                where=self._where(document, place),
                remedy=f"{{{self._names[0] if self._names else 'name'}: ...}}",
            )
        for name, value in part.items():
            where = self._where(document, (*place, name))
            if name not in self._names:
                raise self._unknown(name, where, str)
            texts = value.values() if name == _MAP and isinstance(value, dict) else [value]
            if isinstance(value, dict) != (name == _MAP) or not all(isinstance(text, str) and text for text in texts):
                form = f"{name}: {{profx: ...}}" if name == _MAP else f"{name}: ..."
                raise ConfigError(f"{name}: not in the form of a secret", where=where, remedy=form)

    def _unknown(self, name: str, where: str, form: Callable[[str], str]) -> ConfigError:
        meant = did_you_mean(name, self._names, lambda known: f"`{form(known)}`")
        what = f"`{name}` is not a secret of this release{meant}"
        if self._names is not NAMES:
            what = f"`{name}` is not a secret that the configuration names{meant}"
        return ConfigError(what, where=where, remedy=" or ".join(form(known) for known in self._names) or "remove it")

    def _places(self, name: str) -> list[Place]:
        """Where a secret may stand, the most local place last."""
        place = tuple(name.split(".", 1))
        if self._hub is None:
            return [place]
        parts = self._hub.split(".")
        return [place, *(("hubs", ".".join(parts[:size]), *place) for size in range(1, len(parts) + 1))]

    def _where(self, document: Document, place: Place) -> str:
        return f"{self.path.name}:{document.line(place)}"

    def _answer(self, text: str, where: str) -> Secret:
        if not text.startswith(_COMMAND):
            return Secret(text)
        if text not in self._answers:
            self._answers[text] = _run(text[len(_COMMAND) :], where, self.path.parent, self._timeout)
        return self._answers[text]

    def _write(self, place: Place, text: str) -> None:
        read_document(self.path, secret=True)  # A file that others may read is refused before anything is put into it.
        yaml = YAML(typ="rt")
        yaml.preserve_quotes = True
        target = Path(os.path.realpath(self.path))
        old = target.read_text(encoding="utf-8") if target.exists() else _HEADER
        data = yaml.load(old)
        if data is None:
            data = CommentedMap()
        part = data
        for key in place[:-1]:
            if part.get(key) is None:
                part[key] = CommentedMap()
            part = part[key]
        part[place[-1]] = text
        stream = io.StringIO()
        yaml.dump(data, stream)
        comments = "" if "#" in stream.getvalue() or not old.startswith("#") else old.rstrip() + "\n"
        write_private(target, comments + stream.getvalue())


def is_secret_name(name: str) -> bool:
    """Whether a project's one secret can be called so: in a secrets file, some names are of maps of secrets."""
    return name not in (_MAP, "hubs") and "." not in name


def variable_of(name: str) -> str:
    """The environment variable of a secret: HUBFLEET_SECRET_ADMIN_PASSWORD_PROFX for admin_password.profx."""
    return PREFIX + re.sub(r"[^A-Z0-9]", "_", name.upper())


def generate_password(words: int = 4) -> str:
    """A password that can be read aloud, such as "lusab-babad-gutih-tugad": 16 random bits in each word.

    Raises ValueError below four words (64 bits).
    """
    if words < 4:
        raise ValueError("a password of fewer than four words could be guessed")
    alphabets = (_CONSONANTS, _VOWELS, _CONSONANTS, _VOWELS, _CONSONANTS)
    return "-".join("".join(random.choice(letters) for letters in alphabets) for _ in range(words))


def _run(command: str, where: str, folder: Path, timeout: float) -> Secret:
    """What a command prints, without the line end. Errors name only its program: arguments may be secret."""
    try:
        arguments = shlex.split(command)
        program = arguments[0]
        process = subprocess.Popen(
            arguments,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # programs repeat secrets there
            start_new_session=True,
        )
    except (ValueError, IndexError):
        raise ConfigError("!command: not a command line", where=where, remedy="!command pass show hub/class") from None
    except OSError as error:
        what = f"!command: `{program}` does not start: {error.strerror}"
        raise ConfigError(what, where=where, remedy=f"which {program}") from None
    with process:
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            what = f"!command: `{program}` gave no answer within {timeout:g} s"
            raise ConfigError(what, where=where, remedy="run it by hand") from None
    text = output.decode("utf-8", "replace").rstrip("\r\n")
    if process.returncode != 0 or not text:
        cause = f"failed with exit code {process.returncode}" if process.returncode else "printed nothing"
        raise ConfigError(f"!command: `{program}` {cause}", where=where, remedy="run it by hand")
    return Secret(text)

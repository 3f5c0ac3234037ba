"""Keeps the rules in force: ``python -m hubfleet.guard.daemon --open ADDRESS:PORT SUBNET``.

It looks several times a second. That costs a few calls to the kernel and can miss nothing: each change of any rule
gives them another generation, and a namespace that was made anew has another number.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path

from hubfleet.guard import NAMESPACES, state
from hubfleet.guard.namespaces import bridged, candidates, generation, inside
from hubfleet.guard.rules import TABLE, rules

LOOK_EVERY_S = 0.2
SAY_EVERY_S = 2.0
NFT_LIMIT_S = 20.0


class Failure(Exception):
    """The rules are not in force. In words, for the operator."""


class Guard:
    """Of one network on this machine. ``folder``: where the engine keeps namespaces."""

    def __init__(self, subnet: IPv4Network, doors: Sequence[tuple[str, int]], folder: Path) -> None:
        self._subnet, self._rules, self._folder = subnet, rules(subnet, doors), folder
        self._seen: dict[int, int] = {}
        """By namespace, the generation in which the rules were in force."""
        self._listed: dict[int, str] = {}
        """By namespace, how the kernel lists them."""

    def look(self) -> None:
        """Have the rules in force wherever the network is. Raises Failure where they are not, or it is nowhere."""
        found: set[int] = set()
        failures = []
        for path in candidates(self._folder):
            try:
                with inside(path) as number:
                    if bridged() == self._subnet:
                        found.add(number)
                        self._enforce(path, number)
            except OSError as error:
                if path.exists():  # and not just removed
                    failures.append(f"{path} cannot be entered ({error.strerror or error})")
            except Failure as failure:
                failures.append(str(failure))
        for gone in self._seen.keys() - found:
            del self._seen[gone]
            self._listed.pop(gone, None)
        if not found:
            failures.append(f"the network {self._subnet} is not seen on this machine; is /run a shared mount there?")
        if failures:
            raise Failure("; ".join(failures))

    def _enforce(self, path: Path, number: int) -> None:
        """In the namespace that we are in."""
        now = generation()  # first: what changes while we look gives another
        if self._seen.get(number) == now:
            return
        if number not in self._listed or _list() != self._listed[number]:
            again = number in self._listed
            _nft("-f", "-", text=self._rules)
            now = generation()
            self._listed[number] = _list()
            _say(f"{path.name}: {'somebody changed the rules, which are' if again else 'the rules are'} in force")
        self._seen[number] = now


def _list() -> str:
    """The rules as the kernel has them; empty without any."""
    try:
        return _nft("list", "table", "bridge", TABLE)
    except Failure as failure:
        if "No such file" in str(failure):
            return ""
        raise


def _nft(*words: str, text: str = "") -> str:
    try:
        done = subprocess.run(["nft", *words], input=text, capture_output=True, text=True, timeout=NFT_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise Failure(f"nft has not answered for {NFT_LIMIT_S:.0f} s") from error
    if done.returncode != 0:
        raise Failure(f"nft {' '.join(words)}: {done.stderr.strip() or f'it ended with {done.returncode}'}")
    return done.stdout


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def watch(guard: Guard) -> None:
    """For ever."""
    problem, said = None, 0.0
    while True:
        try:
            guard.look()
            now = ""
        except Failure as failure:
            now = str(failure)
        if now != problem or time.monotonic() - said > SAY_EVERY_S:
            state.say(now)
            said = time.monotonic()
        if now != problem and (now or problem):
            _say(f"NOT guarded: {now}" if now else "guarded again")
        problem = now
        time.sleep(LOOK_EVERY_S)


def _door(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    return address, int(port)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--open", action="append", default=[], type=_door, dest="doors")
    parser.add_argument("--namespaces", default=NAMESPACES, type=Path)
    parser.add_argument("subnet", type=IPv4Network)
    given = parser.parse_args()
    watch(Guard(given.subnet, given.doors, given.namespaces))

"""Whether homes can be on a file system that the machines have already: tried there, as people will use it."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hubfleet.agent.homestrial import CONTENT, LIMIT_S, MAKE, OWNER, SEE, SEEN_S
from hubfleet.checks import Finding, each
from hubfleet.config import Config
from hubfleet.machines import Machine

_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class _Trial:
    """Where it is made, by which machine, and as whom files are written."""

    place: str
    maker: str
    uid: int
    gid: int

    @property
    def whom(self) -> str:
        return f"user id {self.uid}"


def tried(config: Config, machines: Mapping[str, Machine]) -> list[Finding]:
    """What is found by writing and reading on all machines with servers, in a directory that the machine with the homes
    makes for it and removes; nothing where homes do not come to machines so.

    ``machines``: by name, with all of these, which have something mounted there. Raises UnreachableError.
    """
    homes = config.storage.homes
    if homes is None or homes.share != "mounted" or homes.path is None or not config.machines:
        return []
    owner = config.storage.owner
    # The last one that people get: whoever has it, there is nothing of theirs in that directory.
    uid = owner.uid or owner.ids.last
    trial = _Trial(str(homes.path), str(config.storage_machine), uid, owner.gid or uid)
    maker = machines[trial.maker]
    given = {"place": trial.place, "uid": trial.uid, "gid": trial.gid}
    name, failure = maker.homes_trial("make", **given)
    if not name:
        return list(_unmade(config, trial, *failure))
    try:
        return _used(trial, {one: machines[one] for one in config.worker_machines}, {**given, "name": name})
    finally:
        with contextlib.suppress(OSError):  # the next trial removes what is left of one
            maker.homes_trial("remove", place=trial.place, name=name)


def _used(trial: _Trial, workers: Mapping[str, Machine], given: Mapping[str, Any]) -> list[Finding]:
    words = {name: secrets.token_hex(8) for name in workers}
    wrote = each(workers, lambda name: workers[name].homes_trial("write", file=name, word=words[name], **given))
    failed = {name: (step, why) for name, (step, why) in wrote.items() if step}
    if failed:
        return [_unwritten(trial, name, *failure) for name, failure in failed.items()]
    read = each(workers, lambda name: workers[name].homes_trial("read", words=words, **given))
    lost = [(name, source, why) for name, found in read.items() for source, (step, why) in found.items() if step]
    if lost:
        return [_unread(trial, *one) for one in lost]
    return [Finding("ok", f"{trial.place}: {_tested(trial, list(workers))}")]


def _tested(trial: _Trial, workers: Sequence[str]) -> str:
    if len(workers) == 1:
        return f"{trial.whom}, whom {trial.maker} gave a directory, writes in it on {workers[0]}"
    there = f"{', '.join(workers[:-1])} and {workers[-1]}"
    return f"{trial.whom} writes on {there}, and reads on each what was written on the others"


def _unmade(config: Config, trial: _Trial, step: str, why: int) -> Iterator[Finding]:
    """Of the machine that makes homes."""
    maker, place = trial.maker, trial.place
    if step == SEE and why == errno.ENOENT and config.homes_apart:
        return  # it is made there, and not found on the others before
    if why in _FULL:
        yield Finding("note", f"{maker}: nothing can be made in {place} ({os.strerror(why)}), so it was not tried out")
        return
    mounting = "mount it there so that root may (for NFS: no_root_squash for this machine, on its server)"
    remedy = f"{mounting}, or have the machine whose disk it is make homes, with role storage"
    if why == errno.EROFS:
        what, remedy = "is mounted read-only, and homes are made there", _writable(place)
    elif step == SEE:
        what, remedy = f"cannot be entered by root ({_said(why)})", "mount it there so that root may"
    elif step == MAKE and why != OWNER:
        what = f"takes no directory from root ({_said(why)}), who makes homes there"
    elif step == MAKE:
        what = "takes what root makes for somebody else's, and homes made there could be given to nobody"
    else:
        lost = "it goes on to belong to root" if why == OWNER else _said(why)
        what = f"takes directories from root, who cannot give them to {trial.whom} ({lost})"
    yield Finding("problem", f"{maker}: {place} {what}. Try: {remedy}")


def _unwritten(trial: _Trial, machine: str, step: str, why: int) -> Finding:
    """Of a machine with servers."""
    place, whom = trial.place, trial.whom
    ids = "mount it there with ids as they are (for NFS: no all_squash, on its server, and no other idmapping)"
    if why in _FULL:
        return Finding("note", f"{machine}: nothing can be written in {place} ({os.strerror(why)}): not tried out")
    if why == errno.EROFS:
        what, remedy = f"{place} is mounted read-only", _writable(place)
    elif step == SEE and why == errno.ENOENT:
        what = f"what {trial.maker} makes in {place} is not seen there within {SEEN_S:.0f} s"
        remedy = "mount the same file system on both"
    elif step == SEE and why == OWNER:
        what, remedy = f"what {trial.maker} gives to {whom} in {place} belongs to somebody else there", ids
    elif step == SEE:
        what = f"root does not get to homes in {place} ({_said(why)}), which are shown to servers from there"
        remedy = f"let others pass the way there (chmod o+x {place}, on {trial.maker})"
    else:
        what = f"{whom} cannot write there in a directory of its own in {place} ({_said(why)})"
        remedy = ids
    return Finding("problem", f"{machine}: {what}. Try: {remedy}")


def _unread(trial: _Trial, machine: str, source: str, why: int) -> Finding:
    what = f"what {trial.whom} writes in {trial.place} on {source} "
    if why == OWNER:
        what += "belongs to somebody else there"
    elif why in (CONTENT, errno.ENOENT):
        what += f"is not seen there within {SEEN_S:.0f} s"
    else:
        what += f"cannot be read there ({_said(why)})"
    remedy = "mount the same file system on both, with ids as they are"
    return Finding("problem", f"{machine}: {what}. Try: {remedy}")


def _writable(place: str) -> str:
    return f"mount -o remount,rw {place}, there; for NFS, rw on its server as well"


def _said(why: int) -> str:
    return f"no answer within {LIMIT_S:.0f} s" if why == errno.ETIMEDOUT else os.strerror(why)

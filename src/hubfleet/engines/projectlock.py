"""Keeps users' programs from saying to which project a file belongs, where homes are counted by that.

The kernel lets the owner of a file say so: one could have one's files not counted, or counted as somebody else's. What
they would say it with is refused by a filter of system calls, which no program that was started under it gets rid of.
Nothing else is refused, but for the attributes that `chattr` sets.
"""

from __future__ import annotations

import struct

from hubfleet.config.effective import Effective

LIMIT_VARIABLE = "HUBFLEET_HOME_LIMIT"
"""Tells a server that its home has a limit of its own; `singleuser.room` reads it."""

_SET_ATTRIBUTES = (0x401C5820, 0x40086602, 0x40046602)  # FS_IOC_FSSETXATTR; FS_IOC_SETFLAGS, with 64 and 32 bits
_IOCTL = (16, 29, 54, 0x40000000 + 514)  # on x86-64, ARM 64, both with 32 bits, and x32
_FILE_SETATTR = (469, 0x40000000 + 469)  # since Linux 6.17
_NUMBER, _SECOND = 0, 24
"""Where the call's number is, and the lower half of its second argument."""
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050001  # the latter: with EPERM


def refusal() -> str:
    """The filter as the kernel takes it (an array of `struct sock_filter`), in hexadecimal digits.

    It does not ask for which processor the call was meant: what has one of these numbers elsewhere, and such an
    argument, does not occur.
    """
    look = 1 + len(_IOCTL) + len(_FILE_SETATTR) + 1
    refuse = look + 1 + len(_SET_ATTRIBUTES) + 1
    lines = [(_LOAD, 0, 0, _NUMBER)]

    def go_to(target: int, *wanted: int) -> None:
        for number in wanted:
            lines.append((_EQUAL, target - len(lines) - 1, 0, number))

    go_to(look, *_IOCTL)
    go_to(refuse, *_FILE_SETATTR)
    lines += [(_RETURN, 0, 0, _ALLOW), (_LOAD, 0, 0, _SECOND)]
    go_to(refuse, *_SET_ATTRIBUTES)
    lines += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines).hex()


def refused(effective: Effective) -> dict[str, str]:
    """The part of what a server's first program is told that has the filter; nothing where homes are not counted."""
    return {"refused": refusal()} if effective.homes_counted else {}


def limit_told(effective: Effective) -> dict[str, str]:
    """The variable for a server whose home has a limit."""
    return {} if effective.home_limit is None else {LIMIT_VARIABLE: str(int(effective.home_limit))}

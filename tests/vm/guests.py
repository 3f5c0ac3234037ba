"""Emulated machines with a kernel of their own: for NFS, XFS quotas, control groups of version 2 and node death.

This machine's kernel has none of these. Their processors are emulated, ten times slower than its own: few boots.
"""

from __future__ import annotations

import contextlib
import shlex
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import randrange
from typing import IO

from guestimages import Image

from waiting import soon

BOOT_LIMIT_S = 300.0
END_LIMIT_S = 120.0
COMMAND_LIMIT_S = 300.0
MEMORY = "1G"
PROCESSORS = 2
_PREFIX = "192.168.77"
_FIRST_ADDRESS = 11
_NO_PATIENCE_S = 5.0


def address(number: int) -> str:
    """Of the machine that was begun as this one, from 0 on, in the private network of its `Guests`."""
    return f"{_PREFIX}.{_FIRST_ADDRESS + number}"


class Guest:
    """One machine. ``name`` is its host name, ``address`` its address in the private network of its `Guests`.

    Extra disks are /dev/vdb, /dev/vdc and so on. The clock is this machine's. Files stay as on a real machine: what was
    not yet written to the disk is gone after a power cut.
    """

    def __init__(
        self,
        guests: Guests,
        name: str,
        number: int,
        image: Image,
        disks: Sequence[int | Path],
        memory: str,
        processors: int,
    ) -> None:
        self.name, self.address = name, address(number)
        self.console = guests.place / f"{name}.console"
        """What kernel and services write to the serial line, of all boots."""
        self.memory, self.processors = memory, processors
        self._guests, self._image, self._number = guests, image, number
        self._process: subprocess.Popen[bytes] | None = None
        self._line = guests.place / f"{name}.line"
        self._known_hosts = guests.place / f"{name}.known_hosts"
        self.port = 0
        """Where its sshd is reached on this machine, at 127.0.0.1: another one after each boot."""
        self._disks = [guests.place / f"{name}.{letter}" for letter in "abcdef"[: 1 + len(disks)]]
        self._formats = ["qcow2" if isinstance(one, Path) else "raw" for one in (image.disk, *disks)]
        for disk, wanted in zip(self._disks, (image.disk, *disks), strict=True):
            if isinstance(wanted, Path):
                overlay = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", wanted, disk]
                subprocess.run(overlay, check=True)
            else:
                with disk.open("wb") as file:
                    file.truncate(wanted)

    # -- on and off --------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Switch it on. It boots while this one goes on: see `await_up`."""
        assert self._process is None, f"{self.name} is on"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._known_hosts.write_text(f"[127.0.0.1]:{self.port} {self._image.host_key}\n")
        self._process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL)

    def await_up(self) -> None:
        """Returns when it has booted and can be logged in to."""
        deadline = time.monotonic() + BOOT_LIMIT_S
        while "up" not in self.run("echo up", check=False, limit_s=_NO_PATIENCE_S * 4):
            assert self._process is not None, f"{self.name} is off"
            assert self._process.poll() is None, f"{self.name} ended: {self.said()}"
            assert time.monotonic() < deadline, f"{self.name} does not come up: {self.said()}"
        self.run("systemctl is-system-running --wait", check=False)

    def start(self) -> None:
        """Switch it on; it is up when this returns."""
        self.begin()
        self.await_up()

    def stop(self) -> None:
        """Shut it down in order."""
        assert self._process is not None, f"{self.name} is off"
        self.run("systemctl poweroff", check=False)
        self._process.wait(END_LIMIT_S)
        self._off()

    def reboot(self) -> None:
        """Shut it down in order and start it; it is up when this returns."""
        self.stop()
        self.start()

    def power_cut(self) -> None:
        """Off at once, nothing is written any more. `start` switches it on again."""
        assert self._process is not None, f"{self.name} is off"
        self._process.kill()
        self._process.wait()
        self._off()

    def freeze(self) -> None:
        """It stands still and answers nothing, as a machine does whose network or host is away. See `thaw`."""
        assert self._process is not None, f"{self.name} is off"
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on where it stood."""
        assert self._process is not None, f"{self.name} is off"
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it for good, whatever state it is in."""
        if self._process is not None:
            self.power_cut()

    # -- what it is asked --------------------------------------------------------------------------------------------

    def options(self) -> list[str]:
        """What an operator's own configuration would say to ssh; the port is in it."""
        known = f"UserKnownHostsFile={self._known_hosts}"
        words = ["BatchMode=yes", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes", known, "ConnectTimeout=20"]
        words += ["GlobalKnownHostsFile=/dev/null", "LogLevel=ERROR"]
        place = ["-F", "none", "-p", str(self.port), "-i", str(self._image.key)]
        return [*place, *(word for one in words for word in ("-o", one))]

    def run(
        self, *command: str | Path, text: str | None = None, check: bool = True, limit_s: float = COMMAND_LIMIT_S
    ) -> str:
        """What a command prints there as root: one string is a line for the shell, several are words.

        Fails with all it says; with ``check=False`` returns all it says, also when it did not end in time.
        """
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            given.write((text or "").encode())
            given.seek(0)
            # Files, not pipes: the connection that all commands share keeps those open when one is ended.
            done = self._begun(command, given, out, errors)
            try:
                code = done.wait(limit_s)
            except subprocess.TimeoutExpired:
                done.kill()
                done.wait()
                code = -1
                errors.write(f"not ended after {limit_s:.0f} s".encode())
            out.seek(0)
            errors.seek(0)
            said = (out.read() + (b"" if code == 0 else errors.read())).decode(errors="replace")
        assert code == 0 or not check, f"{self.name}: {command}: {code}: {said}"
        return said.strip()

    def popen(self, *command: str | Path) -> subprocess.Popen[bytes]:
        """Start a command there, with its output as a pipe. It ends when it is closed, or with the machine."""
        return self._begun(command, subprocess.DEVNULL, subprocess.PIPE, subprocess.STDOUT)

    def _begun(
        self, command: Sequence[str | Path], stdin: int | IO[bytes], out: int | IO[bytes], errors: int | IO[bytes]
    ) -> subprocess.Popen[bytes]:
        line = str(command[0]) if len(command) == 1 else shlex.join(map(str, command))
        # One connection for all: to make one takes an emulated processor a second.
        shared = ["-o", "ControlMaster=auto", "-o", f"ControlPath={self._line}", "-o", "ControlPersist=yes"]
        ssh = ["ssh", "-T", *self.options(), *shared, "--", "root@127.0.0.1", line]
        return subprocess.Popen(ssh, stdin=stdin, stdout=out, stderr=errors)

    @contextlib.contextmanager
    def reached(self, port: int) -> Iterator[int]:
        """A port of this machine's 127.0.0.1 at which one of the guest's is reached meanwhile."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            here = int(probe.getsockname()[1])
        line = ["ssh", *self.options(), "-N", "-L", f"{here}:127.0.0.1:{port}", "root@127.0.0.1"]
        with subprocess.Popen(line, stdin=subprocess.DEVNULL) as forwarding:
            try:
                soon(lambda: _listens(here), _NO_PATIENCE_S * 4)
                yield here
            finally:
                forwarding.terminate()

    def put(self, source: Path, target: str) -> None:
        """Write a file's content there."""
        self.run(f"cat >{shlex.quote(target)}", text=source.read_text())

    def said(self) -> str:
        """The last lines of its console."""
        return "\n".join(self.console.read_text(errors="replace").splitlines()[-30:]) if self.console.exists() else ""

    # -- the inside --------------------------------------------------------------------------------------------------

    def _off(self) -> None:
        """Once it has ended. The process that holds the line to it would wait for it."""
        self._process = None
        if self._line.exists():
            close = ["ssh", *self.options(), "-o", f"ControlPath={self._line}", "-O", "exit", "root@127.0.0.1"]
            subprocess.run(close, stdin=subprocess.DEVNULL, capture_output=True, timeout=END_LIMIT_S)
            self._line.unlink(missing_ok=True)

    def _command(self) -> list[str | Path]:
        words = ["root=/dev/vda", "rw", "console=ttyS0", "quiet", "net.ifnames=0", "systemd.unified_cgroup_hierarchy=1"]
        words += [f"systemd.hostname={self.name}", f"guest.address={self.address}"]
        # On a busy machine ticks come late, which is no reason to give up at the start.
        words.append("no_timer_check")
        forward = f"user,id=outside,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:22"
        between = f"socket,id=inside,mcast={self._guests.group},localaddr=127.0.0.1"
        mac = f"52:54:00:77:%02x:{self._number + _FIRST_ADDRESS:02x}"
        drives = [
            # Safe enough: this machine's memory outlives the guest, as a disk does.
            ("-drive", f"file={disk},if=virtio,format={form},cache=unsafe")
            for disk, form in zip(self._disks, self._formats, strict=True)
        ]
        return [
            # Not left behind when the tests are killed.
            *("setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"),
            *("-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max,la57=off"),
            *("-smp", str(self.processors), "-m", self.memory, "-nographic", "-nodefaults", "-no-reboot"),
            *("-kernel", self._image.place / "vmlinuz", "-initrd", self._image.place / "initrd.img"),
            *("-append", " ".join(words)),
            *(word for drive in drives for word in drive),
            *("-netdev", forward, "-device", f"virtio-net-pci,netdev=outside,mac={mac % 0},romfile="),
            *("-netdev", between, "-device", f"virtio-net-pci,netdev=inside,mac={mac % 1},romfile="),
            *("-device", "virtio-rng-pci"),
            *("-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console"),
        ]


class Guests:
    """Machines on one private network, which is theirs alone. They reach nothing outside, and download nothing."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.group = f"239.255.{randrange(256)}.{randrange(1, 255)}:{randrange(20000, 32000)}"
        self.all: list[Guest] = []

    def begin(
        self,
        name: str,
        image: Image,
        *,
        disks: Sequence[int | Path] = (),
        memory: str = MEMORY,
        processors: int = PROCESSORS,
    ) -> Guest:
        """A new machine, which boots while this one goes on: see `Guest.await_up`.

        ``disks``: of each further one how many bytes it has, or one that is there, to which no guest writes.
        """
        guest = Guest(self, name, len(self.all), image, disks, memory, processors)
        self.all.append(guest)
        guest.begin()
        return guest

    def close(self) -> None:
        """End all of them."""
        for guest in self.all:
            guest.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def awaited(guest: Guest, command: str, wanted: str, limit_s: float = COMMAND_LIMIT_S) -> str:
    """Ask until the answer has ``wanted`` in it."""
    answer = ""

    def look() -> bool:
        nonlocal answer
        answer = guest.run(command, check=False)
        return wanted in answer

    soon(look, limit_s)
    return answer

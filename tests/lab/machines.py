"""Machines for the tests: containers that behave like bare servers, with systemd, sshd and their own Docker engine."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import io
import os
import shlex
import subprocess
import tarfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import dockerd

from waiting import soon

BOOT_LIMIT_S = 90.0
COMMAND_LIMIT_S = 900.0
ACCOUNTS = {"root": "/root", "admin": "/home/admin"}
"""Who may log in, with home: root, and one with sudo without a password."""
LABEL = "hubfleet-test.lab"
_IMAGE = "hubfleet-test/machine"
_FILES = Path(__file__).parent / "image"
_NETWORK, _PRIVATE = "172.30.{}.0/24", "172.31.{}.0/24"
_FIRST_ADDRESS = 11

# All that systemd, a firewall and a Docker engine inside need. Not --privileged, which asks for more than containers
# have themselves, and not what changes the host's kernel: its modules, its clock, its devices.
_CAPABILITIES = (
    *("SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_PTRACE", "SYS_TTY_CONFIG", "SYSLOG", "NET_ADMIN", "NET_BROADCAST"),
    *("DAC_READ_SEARCH", "LINUX_IMMUTABLE", "LEASE", "IPC_LOCK", "AUDIT_CONTROL", "MAC_ADMIN", "MAC_OVERRIDE"),
)
_UNCONFINED = ("seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined")
# /var/lib/docker is a volume because overlay2 cannot lie on an overlay.
_OPTIONS = [
    *(word for capability in _CAPABILITIES for word in ("--cap-add", capability)),
    *(word for option in _UNCONFINED for word in ("--security-opt", option)),
    *("--cgroupns=private", "--tmpfs=/sys/fs/cgroup", "--tmpfs=/run", "--tmpfs=/run/lock"),
    *("--volume=/var/lib/docker", "--env=container=docker"),
    *("--restart", "unless-stopped"),  # for `reboot` inside
]

_CERTIFICATES = ("SSL_CERT_FILE", "PIP_CERT", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_REGISTRIES = (
    *("PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "UV_DEFAULT_INDEX", "UV_NATIVE_TLS", "UV_SYSTEM_CERTS"),
    *("npm_config_registry", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)


class Machine:
    """One machine. ``name`` is its host name, ``address`` is kept as long as it exists.

    ``private``: its address in a network that only machines have, see `Lab.wire`; "" without one.
    """

    def __init__(self, lab: Lab, name: str, address: str) -> None:
        self.lab, self.name, self.address, self.private = lab, name, address, ""
        self.container = f"{lab.network}-{name}"

    def options(self, key: str = "user") -> list[str]:
        """What an operator's own configuration would say to ssh."""
        return self.lab.options(key)

    def run(
        self,
        *command: str | Path,
        user: str = "root",
        text: str | None = None,
        check: bool = True,
        limit_s: float = COMMAND_LIMIT_S,
    ) -> str:
        """What a command prints there, over SSH: one string is a line for the shell, several are words.

        Fails with all it says; with ``check=False`` returns all it says.
        """
        line = str(command[0]) if len(command) == 1 else shlex.join(map(str, command))
        ssh = ["ssh", "-T", *self.options(), "--", f"{user}@{self.address}", line]
        given = {"input": text} if text is not None else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(ssh, capture_output=True, text=True, timeout=limit_s, **given)  # type: ignore[call-overload]
        assert done.returncode == 0 or not check, f"{self.name}: {line}: {done.returncode}: {done.stdout}{done.stderr}"
        return str(done.stdout if done.returncode == 0 else done.stdout + done.stderr).strip()

    def put(self, source: Path, target: str, user: str = "root") -> None:
        """Copy a file or a folder there."""
        command = ["scp", "-q", "-r", *self.options(), str(source), f"{user}@{self.address}:{target}"]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=COMMAND_LIMIT_S)

    def kill(self, process: int | str) -> list[int]:
        """kill -9 this process, or all that have this very name; returns their ids when they have ended."""
        found = (
            [process] if isinstance(process, int) else [int(one) for one in self.run("pgrep", "-x", process).split()]
        )
        words = " ".join(map(str, found))
        if process == "dockerd":  # after its third start within a minute systemd would leave it
            self.run("systemctl reset-failed docker.service")
        self.run(f"kill -9 {words}")
        soon(lambda: self.run(f"kill -0 {words} 2>/dev/null || echo gone") == "gone")
        return found

    # -- its own Docker engine ---------------------------------------------------------------------------------------

    def start_docker(self) -> None:
        """Have the engine that is installed there run, now and after every boot."""
        self.run("systemctl enable --quiet --now containerd.service docker.socket docker.service")

    def docker(self, *arguments: str | Path, text: str | None = None, check: bool = True) -> str:
        """What ``docker ARGUMENTS`` prints there."""
        return self.run("docker", *arguments, text=text, check=check)

    def load(self, image: str) -> None:
        """Give its engine an image that the tests' engine has."""
        save = ["docker", "--host", f"unix://{self.lab.engine.socket}", "save", image]
        take = ["ssh", "-T", *self.options(), "--", f"root@{self.address}", "docker load --quiet"]
        with subprocess.Popen(save, stdout=subprocess.PIPE) as saving:
            subprocess.run(take, stdin=saving.stdout, check=True, stdout=subprocess.DEVNULL, timeout=COMMAND_LIMIT_S)
        assert saving.returncode == 0

    # -- on and off --------------------------------------------------------------------------------------------------

    def reboot(self) -> None:
        """Shut it down in order and start it; it is up when this returns."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """Shut it down in order."""
        self.lab.engine.docker("stop", "--time", int(BOOT_LIMIT_S), self.container)

    def cut_power(self) -> None:
        """Off, this instant."""
        self.lab.engine.docker("kill", self.container)

    def start(self) -> None:
        """Switch it on; it is up when this returns."""
        self.lab.engine.docker("start", self.container)
        self.wait()

    def wait(self) -> None:
        """Until it has booted, as systemd sees it. Fails if anything there failed."""
        soon(self._answers, BOOT_LIMIT_S)
        state = self.run("systemctl is-system-running --wait", check=False, limit_s=BOOT_LIMIT_S)
        assert state == "running", f"{self.name} is {state}: {self.run('systemctl --failed --no-legend', check=False)}"

    def _answers(self) -> bool:
        state = self.lab.engine.docker("inspect", "--format", "{{.State.Status}}", self.container)
        assert state in ("running", "restarting"), f"{state}: {self.lab.engine.docker('logs', self.container)}"
        return self.run("echo up", check=False) == "up"


class Lab:
    """Machines on a network of their own, with one key that opens them; their host keys are known before they start.

    ``place`` keeps the keys. ``owner`` is on everything: a process id, or words for what outlives the process.
    The first of ``numbers`` that is free decides the addresses, 172.30.NUMBER.11 and so on; by default one from 128 on.
    """

    def __init__(self, engine: dockerd.Dockerd, place: Path, owner: str, numbers: Sequence[int] = ()) -> None:
        self.engine, self.place, self.owner = engine, place, owner
        self.machines: list[Machine] = []
        self.network = f"hubfleet-lab-{uuid.uuid4().hex[:8]}"
        self._wires: list[str] = []
        for name in ("user", "stranger"):
            _make_key(place / name)
        (place / "known_hosts").touch()
        sweep(engine)
        begin = os.getpid()
        self._numbers = numbers or [128 + (begin + step) % 128 for step in range(128)]
        self._prefix = self._make_network(self.network, _NETWORK)

    def _make_network(self, name: str, form: str, *more: str) -> str:
        """With addresses that no other network has; returns what they begin with."""
        options = ["--label", f"{LABEL}={self.owner}", *more]
        # An engine that was killed may have left a bridge that no engine knows of, which would be asked instead.
        here = subprocess.run(["ip", "-4", "-o", "addr"], check=True, capture_output=True, text=True).stdout
        for number in self._numbers:
            subnet = form.format(number)
            if f" {subnet.rpartition('.')[0]}." in here:
                continue
            said = self.engine.docker("network", "create", *options, "--subnet", subnet, name, check=False)
            if "overlap" not in said:
                assert self.engine.inspect(name), said
                return subnet.rpartition(".")[0]
        raise AssertionError(f"taken: {form.format(self._numbers[0])} and all others like it")

    def wire(self, *machines: Machine) -> None:
        """Give machines a second network to themselves, which leads nowhere else."""
        name = f"{self.network}-private-{len(self._wires)}"
        prefix = self._make_network(name, _PRIVATE, "--internal")
        self._wires.append(name)
        for number, machine in enumerate(machines):
            machine.private = f"{prefix}.{_FIRST_ADDRESS + number}"
            self.engine.docker("network", "connect", "--ip", machine.private, name, machine.container)

    def options(self, key: str = "user") -> list[str]:
        """To ssh, for all machines."""
        known = f"UserKnownHostsFile={self.place}/known_hosts"
        words = ["BatchMode=yes", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes", known, "ConnectTimeout=5"]
        given = [*words, "GlobalKnownHostsFile=/dev/null", "LogLevel=ERROR"]
        return ["-F", "none", "-i", f"{self.place}/{key}", *(word for one in given for word in ("-o", one))]

    def start(
        self,
        name: str = "hub1",
        docker_installed: bool = False,
        shared: Path | None = None,
        more: Mapping[Path, str] | None = None,
    ) -> Machine:
        """A new machine; it is up when this returns. With Docker installed, its engine is off: see `start_docker`.

        ``shared``: a directory of this machine that it has at the same place, as machines have of one file server.
        ``more``: others, that it has at other places.
        """
        image = make_image(self.engine, "docker" if docker_installed else "bare")
        machine = Machine(self, name, f"{self._prefix}.{_FIRST_ADDRESS + len(self.machines)}")
        label, at = f"{LABEL}={self.owner}", ["--network", self.network, "--ip", machine.address]
        options = ["--name", machine.container, "--hostname", name, "--label", label, *at, *_resolver(), *_OPTIONS]
        if shared is not None:
            options += ["--volume", f"{shared}:{shared}"]
        options += [word for source, place in (more or {}).items() for word in ("--volume", f"{source}:{place}")]
        self.engine.docker("create", *options, image)
        self.machines.append(machine)
        self._furnish(machine)
        machine.start()
        return machine

    def _furnish(self, machine: Machine) -> None:
        """Put into a machine that was never started what makes it ours."""
        host = self.place / f"host-{machine.name}"
        _make_key(host)
        words = " ".join(host.with_suffix(".pub").read_text().split()[:2])
        with (self.place / "known_hosts").open("a") as known:
            known.write(f"{machine.address} {words}\n")
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            _add(tar, "etc/ssh/ssh_host_ed25519_key", host.read_bytes(), 0o600)
            for home in ACCOUNTS.values():
                # sshd accepts a file of root's in anybody's home
                _add(tar, f"{home[1:]}/.ssh/authorized_keys", (self.place / "user.pub").read_bytes())
            for path, content in _registries().items():
                _add(tar, path, content)
        command = ["docker", "--host", f"unix://{self.engine.socket}", "cp", "-", f"{machine.container}:/"]
        subprocess.run(command, input=archive.getvalue(), check=True, capture_output=True)

    def close(self) -> None:
        """Remove the machines and all they had."""
        for machine in self.machines:
            self.engine.docker("rm", "--force", "--volumes", machine.container)
        self.engine.docker("network", "rm", self.network, *self._wires)


def make_image(engine: dockerd.Dockerd, kind: str) -> str:
    """The image of a ``bare`` machine or one with ``docker``, made unless it is there; named by what it is made of."""
    made_of = [dockerd.BASE.encode(), *(file.read_bytes() for file in sorted(_FILES.iterdir()))]
    image = f"{_IMAGE}:{hashlib.sha256(b'|'.join(made_of)).hexdigest()[:16]}-{kind}"
    with (engine.place / "machines").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two at once would make it twice
        if not engine.docker("images", "--quiet", image):
            given = ["--build-arg", f"base={dockerd.BASE}", "--target", kind, "--network", "host"]
            engine.docker("build", "--quiet", *given, "--tag", image, _FILES)
    return image


def sweep(engine: dockerd.Dockerd, owner: str = "") -> None:
    """Remove what this owner has, or what processes that were killed have left."""
    form = f'{{{{.ID}}}} {{{{.Label "{LABEL}"}}}}'
    for list_all, remove in (("ps --all", "rm --force --volumes"), ("network ls", "network rm")):
        for line in engine.docker(*list_all.split(), "--filter", f"label={LABEL}", "--format", form).splitlines():
            item, _, label = line.partition(" ")
            if label == owner or (not owner and label.isdigit() and not Path(f"/proc/{label}").exists()):
                engine.docker(*remove.split(), item, check=False)


def _make_key(path: Path) -> None:
    if not path.exists():
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", path]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def _add(tar: tarfile.TarFile, path: str, content: bytes, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(path)
    member.size, member.mode = len(content), mode
    tar.addfile(member, io.BytesIO(content))


def _registries() -> dict[str, bytes]:
    """Files, by path, that let a machine reach the package registries as this one does."""
    bundle = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
    inside = "/etc/ssl/certs/ca-certificates.crt"
    lines = [f"{name}={inside}" for name in _CERTIFICATES]
    lines += [f"{name}={os.environ[name]}" for name in _REGISTRIES if os.environ.get(name)]
    return {
        inside[1:]: bundle.read_bytes(),
        "etc/environment": "".join(f"{line}\n" for line in lines).encode(),  # who comes by SSH has it
        "etc/pip.conf": f"[global]\ncert = {inside}\n".encode(),  # and services have this
    }


@functools.cache
def _resolver() -> tuple[str, ...]:
    """Name servers that containers inside a machine can reach as well: not the engine's own, at a loopback address."""
    for path in (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")):
        if path.exists() and not any(" 127." in line for line in path.read_text().splitlines()):
            return ("--volume", f"{path.resolve()}:/etc/resolv.conf:ro")
    return ()

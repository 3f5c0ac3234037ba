"""What runs in a server's job, against a real gate: the way to the hub is there, comes back, and leads nowhere else."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

import needs
from hubfleet.engines.slurm import gate
from hubfleet.engines.slurm.gate import Gate, Place
from hubfleet.singleuser import job
from waiting import soon

pytestmark = [
    needs.root(),
    needs.linux(),
    needs.command("ssh", package="openssh-client"),
    needs.command("/usr/sbin/sshd", package="openssh-server"),
    needs.command("/usr/bin/python3", package="python3"),
]

CANARY = "canary-91c3"
SERVER = """
import json, os, signal, socket, sys, urllib.parse
def ended(number, _):
    open("signals", "a").write(signal.Signals(number).name + "\\n")
    if number == signal.SIGTERM and not os.path.exists("stubborn"):
        sys.exit(0)
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, ended)
place = dict(word.partition("=")[::2] for word in sys.argv)
if "--ServerApp.sock" in place:
    door = socket.socket(socket.AF_UNIX)
    door.bind(place["--ServerApp.sock"])
else:
    door = socket.socket()
    url = urllib.parse.urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    door.bind((url.hostname, url.port))
door.listen()
told = {"pid": os.getpid(), "argv": sys.argv, "environment": dict(os.environ), "umask": os.umask(0)}
open("told.new", "w").write(json.dumps(told))
os.rename("told.new", "told")
while True:
    there, _ = door.accept()
    asked = there.recv(100).decode()
    if asked.startswith("exit"):
        os._exit(int(asked[4:]))
    if asked == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    there.sendall(b"hello " + asked.encode())
    there.close()
"""


class Hub:
    """The hub's machine, with a gate and an API, and a job of the account's, beside it in a directory."""

    def __init__(self, base: Path, account: str) -> None:
        entry = pwd.getpwnam(account)
        self.base, self.account, self.ids = base, account, (entry.pw_uid, entry.pw_gid)
        self.port, self.own = free(), free()
        self.key, self.host, self.impostor = gate.new_key(), gate.new_key(), gate.new_key()
        self.api = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._answer, daemon=True).start()
        self.place = Place("127.0.0.1", self.api.getsockname()[1])
        for name, key in (("host", self.host), ("impostor", self.impostor)):
            (base / name).write_text(key.private)
            (base / name).chmod(0o600)
        (base / "keys").write_text(gate.keys_file([gate.line(self.key.public, self.own, self.place)]))
        self.sshd: subprocess.Popen[bytes] | None = None
        self.jobs: list[subprocess.Popen[str]] = []
        self.folder = base / "job"
        self.folder.mkdir(mode=0o700)
        self.write("server.py", SERVER)
        self.write("job.py", Path(job.__file__).read_text())
        os.chown(self.folder, *self.ids)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        os.chown(path, *self.ids)
        return path

    def _answer(self) -> None:
        with suppress(OSError):  # closed
            while True:
                there, _ = self.api.accept()
                there.sendall(b"the hub's API")
                there.close()

    # -- the gate ----------------------------------------------------------------------------------------------------

    def open(self, host: str = "host") -> None:
        """Start the gate's sshd."""
        config = gate.sshd_config(
            Gate(self.account, self.port, self.base / host, self.base / "keys", self.place, "127.0.0.1")
        )
        (self.base / "config").write_text(config)
        Path("/run/sshd").mkdir(exist_ok=True)
        with (self.base / "log").open("ab") as log:
            self.sshd = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", self.base / "config"], stderr=log)

    def close(self) -> None:
        """Stop it, and all connections."""
        if self.sshd is not None:
            self.cut()
            self.sshd.terminate()
            self.sshd.wait()
            self.sshd = None

    def cut(self) -> None:
        """End all connections."""
        assert self.sshd is not None
        for process in psutil.Process(self.sshd.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def ask(self, what: str = "ada", port: int = 0) -> str:
        """What the server answers to whom asks on the hub's machine; "" where nobody does."""
        try:
            with socket.create_connection(("127.0.0.1", port or self.own), 2) as there:
                there.sendall(what.encode())
                return there.recv(100).decode()
        except OSError:
            return ""

    # -- the job -----------------------------------------------------------------------------------------------------

    def file(self, **more: Any) -> Path:
        """What the job is told."""
        way = {"host": "127.0.0.1", "port": self.port, "user": self.account, "key": self.key.private}
        way |= {"host_key": self.host.public, "listen": self.own, "api": vars(self.place)}
        wanted = {
            "argv": ["/usr/bin/python3", str(self.folder / "server.py")],
            "environment": {
                "JUPYTERHUB_API_TOKEN": CANARY,
                "JUPYTERHUB_API_URL": "http://hub.example/hub/api",
                "JUPYTERHUB_ACTIVITY_URL": "http://hub.example/hub/api/users/ada/activity",
            },
            "prefix": "/user/ada/",
            "directory": str(self.folder),
            "way": {**way, **more.pop("way", {})} if more.get("way", {}) is not None else more.pop("way"),
            **more,
        }
        return self.write("00.json", json.dumps(wanted))

    def start(self, file: Path | None = None, environment: dict[str, str] | None = None, **more: Any) -> Any:
        """Run the job as Slurm does: as the account, with hardly a variable, and output into a file."""
        file = file or self.file(**more)
        command = ["setpriv", f"--reuid={self.ids[0]}", f"--regid={self.ids[1]}", "--clear-groups"]
        command += ["/usr/bin/python3", "-I", str(self.folder / "job.py"), str(file)]
        with (self.base / "output").open("w") as output:
            made = subprocess.Popen(
                command, stdout=output, stderr=output, env=environment or {}, cwd=self.folder, text=True
            )
        self.jobs.append(made)
        return made

    @property
    def output(self) -> str:
        return (self.base / "output").read_text()

    def told(self) -> dict[str, Any]:
        """What the server has found."""
        soon(lambda: (self.folder / "told").exists())
        found: dict[str, Any] = json.loads((self.folder / "told").read_text())
        return found

    def until_up(self) -> None:
        soon(lambda: self.ask() == "hello ada")

    def stop(self) -> None:
        for one in self.jobs:
            if one.poll() is None:
                for process in [psutil.Process(one.pid), *psutil.Process(one.pid).children(recursive=True)]:
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
            one.wait()
        for path in Path("/dev/shm").glob("hubfleet-*"):  # of those that were killed
            if path.stat().st_uid == self.ids[0]:
                shutil.rmtree(path)
        self.close()
        self.api.close()


def arguments() -> str:
    """Of all that runs."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it has just ended
            found += process.cmdline()
    return "\n".join(found)


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def hub(account: str) -> Iterator[Hub]:
    """Not below /tmp: sshd believes no file in a directory that others can write to."""
    with tempfile.TemporaryDirectory(dir="/var/lib") as directory:
        base = Path(directory)
        base.chmod(0o755)
        made = Hub(base, account)
        yield made
        made.stop()


def test_the_server_is_reached_and_its_secrets_are_nobody_elses(hub: Hub) -> None:
    hub.open()
    file = hub.file()
    running = hub.start(file)
    hub.until_up()
    assert not file.exists(), "it is read once"
    told = hub.told()
    assert told["environment"]["JUPYTERHUB_API_TOKEN"] == CANARY
    assert told["umask"] == 0o022
    private = Path(told["argv"][1].partition("=")[2]).parent
    assert (private.stat().st_mode & 0o7777, private.stat().st_uid) == (0o700, hub.ids[0])
    for name in ("key", "known_hosts", "api.sock"):
        assert (private / name).stat().st_mode & 0o77 == 0, name
    assert CANARY not in arguments()
    assert "PRIVATE KEY" not in str(told["environment"])
    soon(lambda: "the way to the hub is there" in hub.output)
    assert CANARY not in hub.output
    running.terminate()
    assert running.wait(20) == 0
    assert not private.exists(), "nothing is left on the node"


def test_what_the_server_has_in_its_environment(hub: Hub, account: str) -> None:
    hub.open()
    hub.start(
        environment={
            "SLURM_JOB_ID": "7",
            "SLURMD_NODENAME": "c1",
            "CUDA_VISIBLE_DEVICES": "0",
            "JUPYTERHUB_API_TOKEN": "another",
        }
    )
    found = hub.told()["environment"]
    assert hub.output.startswith("hubfleet: job 7 begins on c1\n")
    assert (found["SLURM_JOB_ID"], found["CUDA_VISIBLE_DEVICES"]) == ("7", "0")
    assert found["JUPYTERHUB_API_TOKEN"] == CANARY
    assert (found["USER"], found["HOME"]) == (account, pwd.getpwnam(account).pw_dir)
    url = found["JUPYTERHUB_SERVICE_URL"]
    assert url.startswith("http+unix://%2F")
    assert url.endswith("server.sock/user/ada/")
    assert found["JUPYTERHUB_API_URL"].endswith("api.sock/hub/api")
    assert found["JUPYTERHUB_ACTIVITY_URL"].endswith("api.sock/hub/api/users/ada/activity")
    assert "HUBFLEET_ENDS" not in found


def test_the_hubs_api_is_reached_by_the_tunnel(hub: Hub) -> None:
    hub.open()
    hub.start()
    hub.until_up()
    url = hub.told()["environment"]["JUPYTERHUB_API_URL"]
    path = url.removeprefix("http+unix://").partition("/")[0].replace("%2F", "/")
    assert Path(path).stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as there:
        there.connect(path)
        assert there.recv(100) == b"the hub's API"


def test_a_way_that_drops_is_made_again_for_the_same_server(hub: Hub) -> None:
    hub.open()
    running = hub.start()
    hub.until_up()
    pid = hub.told()["pid"]
    soon(lambda: "the way to the hub is there" in hub.output)
    hub.cut()
    soon(lambda: "no way to the hub (127.0.0.1, TCP port" in hub.output)
    hub.until_up()
    soon(lambda: hub.output.count("the way to the hub is there") == 2)
    hub.close()
    assert hub.ask() == ""
    soon(lambda: hub.output.count("no way to the hub") == 2)
    hub.open()
    hub.until_up()
    soon(lambda: hub.output.count("the way to the hub is there") == 3)
    assert hub.told()["pid"] == pid
    assert running.poll() is None


def test_a_port_that_an_old_connection_still_has_is_waited_for(hub: Hub) -> None:
    hub.open()
    with socket.create_server(("127.0.0.1", hub.own)):
        hub.start()
        soon(lambda: "trying again" in hub.output)
    hub.until_up()
    assert "remote port forwarding failed" in hub.output


def test_without_a_way_it_says_why_and_ends(hub: Hub) -> None:
    hub.write("stubborn", "")
    running = hub.start(way={"patience": 0.5}, grace=0.5)
    pid = hub.told()["pid"]
    assert running.wait(20) == job.NO_WAY
    last = hub.output.splitlines()[-1]
    assert last.startswith(
        f"hubfleet: the server ended: this node cannot reach the hub (127.0.0.1, TCP port {hub.port})"
    )
    assert last.endswith("Connection refused")
    assert not psutil.pid_exists(pid)


def test_a_gate_with_another_host_key_gets_nothing(hub: Hub) -> None:
    hub.open("impostor")
    running = hub.start(way={"patience": 0.5})
    assert running.wait(20) == job.NO_WAY
    assert "Host key verification failed" in hub.output
    assert "Accepted" not in (hub.base / "log").read_text()


def test_a_node_without_ssh_says_so(hub: Hub) -> None:
    running = hub.start(way={"patience": 0.1, "ssh": "ssh-of-nobody"})
    assert running.wait(20) == job.NO_WAY
    assert hub.output.splitlines()[-1].endswith("ssh-of-nobody: No such file or directory")


def test_the_users_own_settings_for_ssh_do_not_count(hub: Hub, account: str) -> None:
    folder = Path(pwd.getpwnam(account).pw_dir) / ".ssh"
    folder.mkdir(exist_ok=True)
    (folder / "config").write_text("Host *\n  ProxyCommand false\n")
    os.chown(folder / "config", *hub.ids)
    try:
        hub.open()
        hub.start()
        hub.until_up()
    finally:
        (folder / "config").unlink()


# -- its end ---------------------------------------------------------------------------------------------------------


def test_signals_reach_the_server(hub: Hub) -> None:
    hub.open()
    running = hub.start()
    hub.told()
    running.send_signal(signal.SIGUSR1)
    soon(lambda: (hub.folder / "signals").exists() and (hub.folder / "signals").read_text() == "SIGUSR1\n")
    running.terminate()
    assert running.wait(20) == 0
    assert (hub.folder / "signals").read_text() == "SIGUSR1\nSIGTERM\n"
    assert hub.output.endswith("hubfleet: the server ended: it was told to end (SIGTERM)\n")


def test_a_server_that_does_not_end_is_killed(hub: Hub) -> None:
    hub.write("stubborn", "")
    running = hub.start(grace=0.5)
    hub.told()
    running.terminate()
    assert running.wait(20) == 128 + signal.SIGKILL
    assert hub.output.endswith("it was told to end (SIGTERM), and had to be killed\n")


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        ("exit0", 0, "it stopped by itself"),
        ("exit3", 3, "it ended with code 3"),
        (
            "kill",
            137,
            "it was ended by signal SIGKILL, as the system does with one that needs more memory than its job",
        ),
    ],
)
def test_how_the_server_ended_is_how_the_job_ends(hub: Hub, what: str, code: int, words: str) -> None:
    hub.open()
    running = hub.start()
    hub.until_up()
    hub.ask(what)
    assert running.wait(20) == code
    assert f"hubfleet: the server ended: {words}" in hub.output


def test_a_program_that_is_not_there_is_told(hub: Hub) -> None:
    running = hub.start(argv=["/nowhere/jupyterhub-singleuser"])
    assert running.wait(20) == job.UNUSABLE
    assert (
        "the server was not started: [Errno 2] No such file or directory: '/nowhere/jupyterhub-singleuser'"
        in hub.output
    )


def test_its_user_is_warned_before_the_time_is_up(hub: Hub) -> None:
    ends = int(time.time()) + 4
    running = hub.start(environment={"SLURM_JOB_END_TIME": str(ends)}, warn=[600, 3, 1])
    found = hub.told()["environment"]
    assert found["HUBFLEET_ENDS"] == str(ends)
    notice = Path(found["HUBFLEET_NOTICE"])
    soon(lambda: notice.exists())
    assert json.loads(notice.read_text())["ends"] == ends
    soon(lambda: "this server will be ended in 1 seconds, at " in hub.output)
    assert "in 3 seconds" in hub.output
    assert "minute" not in hub.output, "that is past"
    soon(lambda: time.time() > ends)
    running.terminate()
    running.wait(20)
    assert hub.output.endswith("the server ended: its time was up\n")


def test_where_slurm_does_not_say_when_it_ends_the_limit_counts(hub: Hub) -> None:
    begun = time.time()
    hub.start(limit=3600)
    assert abs(int(hub.told()["environment"]["HUBFLEET_ENDS"]) - begun - 3600) < 30


# -- what it is told -------------------------------------------------------------------------------------------------


def open_to_all(file: Path) -> None:
    file.chmod(0o644)


def of_somebody_else(file: Path) -> None:
    os.chown(file, 0, 0)
    file.chmod(0o604)


def a_link(file: Path) -> None:
    file.rename(file.with_suffix(".elsewhere"))
    file.symlink_to(file.with_suffix(".elsewhere"))


def a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)
    os.chown(file, *(file.parent.stat().st_uid, file.parent.stat().st_gid))


def gone(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("change", [open_to_all, of_somebody_else, a_link, a_pipe, gone])
def test_a_file_that_is_not_its_own_alone_starts_nothing(hub: Hub, change: Any) -> None:
    file = hub.file()
    change(file)
    running = hub.start(file)
    assert running.wait(20) == job.UNUSABLE
    assert hub.output.startswith("hubfleet: the server was not started: ")
    assert CANARY not in hub.output
    assert not (hub.folder / "told").exists()


def test_the_other_direction_listens_on_the_node_and_says_where(hub: Hub) -> None:
    hub.start(way=None, environment={"SLURMD_NODENAME": "localhost"})
    hub.told()
    where = hub.folder / "00.where"
    assert where.stat().st_mode & 0o777 == 0o600
    found = json.loads(where.read_text())
    assert (found["host"], found["node"]) == ("127.0.0.1", "localhost")
    assert hub.ask(port=found["port"]) == "hello ada"
    url = hub.told()["environment"]["JUPYTERHUB_SERVICE_URL"]
    assert url == f"http://127.0.0.1:{found['port']}/user/ada/"


def test_a_job_that_is_cancelled_before_its_server_is_there_leaves_nothing(hub: Hub) -> None:
    code = (
        "import os, signal, sys; from hubfleet.singleuser import job\n"
        "def run(wanted, file, private):\n"
        "    print(private, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "job.run = run; sys.argv[1:] = [sys.argv[1]]; job.main()\n"
    )
    file = hub.file()
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True)
    assert done.returncode == 128 + signal.SIGTERM
    private = done.stdout.splitlines()[-1]
    assert private.startswith("/dev/shm/hubfleet-")
    assert not Path(private).exists()


def test_it_needs_nothing_but_python() -> None:
    """Nor anything that Python 3.9 has not: see tests/unit/test_old_python.py for how that is looked for."""
    done = subprocess.run(["/usr/bin/python3", "-IS", job.__file__, "/nowhere"], capture_output=True, text=True, env={})
    assert done.returncode == job.UNUSABLE
    assert done.stdout == "hubfleet: the server was not started: [Errno 2] No such file or directory: '/nowhere'\n"

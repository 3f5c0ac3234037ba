"""Whatever is wrong: a sentence that says where and what to type, the right exit code, nothing changed, at once."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import needs
from command import Done, environment, run

WRONG_INPUT, NOT_HERE, NOT_RUNNING, SAID_NO = 2, 3, 6, 7
CPU_LIMIT_S = 2.5  # half of it is Python's own start; the sum is wall time on an idle machine
HUB = "hub: physics101\n"
LOGIN = f"{HUB}login: {{password: file}}\n"

FILES = {
    "a tab": (f"{HUB}login:\n\tpassword: file\n", "hubfleet.yaml:3: a tab", "use spaces"),
    "a key twice": (f"{LOGIN}engine: local\nlogin: {{}}\n", "hubfleet.yaml:4: `login` twice: lines 2, 4", "keep one"),
    "not UTF-8": ("hub: \udcff\n", "hubfleet.yaml: the file is not UTF-8 text", "save it as UTF-8"),
    "two hubs, none chosen": ("hubs: {a: {}, b: {}}\n", "the file describes 2 hubs: a, b", "-H NAME"),
    "no login": (f"{HUB}login: {{}}\n", "hubfleet.yaml:2: login: nobody could log in", "login: {password: file}"),
    "nobody named": (f"{HUB}login: {{password: file, allow: {{users: []}}}}\n", "nobody could log in", "allow.users"),
    "an inline secret": (f"{HUB}login: {{client_secret: canary}}\n", "hubfleet.yaml:2: ", "hubfleet.secrets.yaml"),
    "an inline password": (f"{HUB}login: {{password: canary}}\n", "hubfleet.yaml:2: ", "hubfleet.secrets.yaml"),
}

# Each line of a file, and what is said of it.
LINES = (
    ("hub: physics101", ""),
    ("login: {password: file}", ""),
    ("engine: kubernetes", "choose local, docker, swarm, slurm"),
    ("domain: https://hub.example.org", "give the name only. Try: hub.example.org"),
    ("sevrers: {}", "did you mean `servers`?"),
    ("servers:", ""),
    ("  stop_after_idle: 10", "below the hub's 5-minute activity interval. Try: use 10m or more"),
    ("  memory:", ""),
    ("    limit: 2gb ram", "is not a size. Try: use 2G"),
    ("    guarantee: -1", "is not a size. Try: use 2G"),
    ("  cpu: {limit: 0}", "is not a number of processor cores. Try: use 2 or 0.5"),
    ("users: {../../x: {}}", "invalid user name '../../x'. Try: a login name such as profx"),
    ("storage:", ""),
    ("  mounts:", ""),
    ("    - /srv/{usrname}:/x:ro", "unknown variable {usrname}: did you mean {username}?"),
    ("    - /work/{tas_homeDirectory}:/x:ro", "{tas_homeDirectory} needs a service that knows it"),
    ("    - srv:/x:ro", "`srv` must be absolute"),
    ("    - /srv/../etc:/x:ro", "`/srv/../etc` must be absolute, without `..`"),
    ("    - /:/x:ro", "`/` refused: gives users the host"),
    ("    - /etc:/x:ro", "`/etc` refused: gives users the host"),
    ("    - /run/docker.sock:/x:rw", "`/run/docker.sock` refused: gives users the host"),
)

ARGUMENTS = {
    "an unknown command": (["stauts"], "Did you mean 'status'?"),
    "an unknown option": (["up", "--detatch"], "--detach"),
    "a port too high": (["up", "--port", "99999"], "--port"),
    "no user": (["explain"], "USER"),
    "no lines": (["logs", "-n", "0"], "--lines"),
    "a user like a path": (["explain", "../../x"], "invalid user name '../../x'"),
    "logs of a user like a path": (["logs", "../../x"], "invalid user name '../../x'"),
    "a profile that is none": (["explain", "ada", "--profile", "huge"], "no profile `huge` for ada"),
    "another hub": (["-H", "chemistry", "check"], "-H physics101"),
    "a file that is not there": (
        ["-c", "none.yaml", "check"],
        "none.yaml not found. Try: run `hubfleet -c none.yaml init`",
    ),
    "a name that is none": (["-c", "new.yaml", "init", "--name", "My Hub"], "`My Hub` is not a hub name"),
    "a file that is there": (["init"], "hubfleet.yaml is already there. It was left as it is. Try: hubfleet check"),
}


def assert_refused(done: Done, code: int, folder: Path, *words: str) -> None:
    assert done.code == code, done
    for word in words:
        assert word in done.err, done.err
    assert "Traceback" not in done.out + done.err
    assert "canary" not in done.out + done.err
    assert not (folder / "state").exists(), "something was changed"
    assert not (folder / "hubfleet.secrets.yaml").exists(), "something was changed"
    assert done.cpu < CPU_LIMIT_S


@pytest.mark.parametrize("case", FILES)
def test_a_mistake_in_the_file(tmp_path: Path, case: str) -> None:
    text, *words = FILES[case]
    (tmp_path / "hubfleet.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert_refused(run(tmp_path, "up", "--yes"), WRONG_INPUT, tmp_path, *words)


@pytest.mark.parametrize("case", ARGUMENTS)
def test_a_mistake_on_the_command_line(tmp_path: Path, case: str) -> None:
    arguments, *words = ARGUMENTS[case]
    (tmp_path / "hubfleet.yaml").write_text(LOGIN)
    assert_refused(run(tmp_path, *arguments), WRONG_INPUT, tmp_path, *words)


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "hubfleet.yaml").write_text("".join(f"{line}\n" for line, _ in LINES))
    done = run(tmp_path, "up", "--yes")
    assert_refused(done, WRONG_INPUT, tmp_path)
    told = done.err.splitlines()
    wrong = [(number, said) for number, (_, said) in enumerate(LINES, 1) if said]
    assert len(told) == len(wrong), done.err
    for number, said in wrong:
        assert any(line.startswith(f"hubfleet.yaml:{number}: ") and said in line for line in told), done.err


def test_a_hub_is_named_but_there_is_no_file(tmp_path: Path) -> None:
    assert_refused(run(tmp_path, "-H", "prod", "up", "--yes"), WRONG_INPUT, tmp_path, "hubfleet.yaml not found")


def test_two_files(tmp_path: Path) -> None:
    for name in ("hubfleet.yaml", "hubfleet.yml"):
        (tmp_path / name).write_text(LOGIN)
    assert_refused(run(tmp_path, "check"), WRONG_INPUT, tmp_path, "both hubfleet.yaml and hubfleet.yml are here")


def test_init_beside_a_file_with_the_other_ending(tmp_path: Path) -> None:
    (tmp_path / "hubfleet.yml").write_text(LOGIN)
    assert_refused(run(tmp_path, "init"), WRONG_INPUT, tmp_path, "hubfleet.yml is already there")
    assert not (tmp_path / "hubfleet.yaml").exists()


def test_secrets_that_others_can_read(tmp_path: Path) -> None:
    (tmp_path / "hubfleet.yaml").write_text(LOGIN)
    secrets = tmp_path / "hubfleet.secrets.yaml"
    secrets.write_text("class_password: canary\n")
    secrets.chmod(0o644)
    done = run(tmp_path, "up", "--yes")
    secrets.unlink()
    assert_refused(done, WRONG_INPUT, tmp_path, "others may read this file (mode 0644)", "run chmod 600")


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (tmp_path / "hubfleet.yaml").write_text(f"{LOGIN}listen: {{port: {port}}}\n")
        done = run(tmp_path, "up", "--yes")
    assert_refused(done, NOT_HERE, tmp_path, f"(pid {os.getpid()}) holds port {port}", f"--port {port + 1}")


@needs.root()
def test_a_mount_that_is_not_there(tmp_path: Path) -> None:
    mount = "storage: {mounts: ['/srv/not-there-at-all/{username}:/data:ro']}\n"
    (tmp_path / "hubfleet.yaml").write_text(LOGIN + mount)
    for command in ("check", "up"):
        done = run(tmp_path, command, *(["--yes"] if command == "up" else []))
        assert done.code == NOT_HERE
        assert (
            "hubfleet.yaml:3: /srv/not-there-at-all is missing on this machine. Try: create it" in done.out + done.err
        )


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run(tmp_path, "-c", "file/hubfleet.yaml", "init")
    assert done.code != 0
    assert "file/hubfleet.yaml: Not a directory. Try: " in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("command", [["users"], ["users", "block", "ada"], ["logs"], ["logs", "ada"]])
def test_commands_that_need_a_running_hub(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "hubfleet.yaml").write_text(LOGIN)
    assert_refused(run(tmp_path, *command), NOT_RUNNING, tmp_path, "hub physics101 ", "Try: hubfleet up")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "domain: hub.example.edu",
            "hubfleet.yaml:3: domain: engine local has no HTTPS of its own. Try: remove domain",
        ),
        ("https: self-signed", "hubfleet.yaml:3: https: engine local has no HTTPS of its own. Try: remove https"),
        ("listen: {trusted_proxies: [192.0.2.7]}", "hubfleet.yaml:3: listen.trusted_proxies: engine local believes"),
    ],
)
def test_what_this_engine_does_not_have(tmp_path: Path, line: str, told: str) -> None:
    (tmp_path / "hubfleet.yaml").write_text(f"{LOGIN}{line}\n")
    done = run(tmp_path, "up", "--yes")
    assert done.code == NOT_HERE
    assert told in done.out + done.err


def test_nobody_to_ask(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    (tmp_path / "hubfleet.yaml").write_text(f"{LOGIN}listen: {{port: {port}}}\n")
    done = run(tmp_path, "up")
    assert_refused(done, SAID_NO, tmp_path, "Nothing was changed. Try: hubfleet up --yes")


def test_a_port_that_the_proxy_may_not_open(tmp_path: Path) -> None:
    (tmp_path / "hubfleet.yaml").write_text(f"{LOGIN}listen: {{port: 1}}\n")
    done = run(tmp_path, "up", "--yes")
    assert_refused(done, NOT_HERE, tmp_path, "port 1: the proxy runs without privileges", "Try: listen: {port: 8000}")


def test_a_command_that_is_told_can_be_typed(tmp_path: Path) -> None:
    (tmp_path / "my class.yaml").write_text("defaults: {login: {password: file}}\nhubs: {a: {}, b: {}}\n")
    program = Path(sys.executable).with_name("hubfleet")
    on_path = {**environment(tmp_path), "PATH": f"{program.parent}:{os.environ['PATH']}"}
    elsewhere = {**environment(tmp_path), "PATH": "/usr/bin:/bin"}
    for variables, called in ((on_path, "hubfleet"), (elsewhere, str(program))):
        for command, more in (("users", ""), ("status", ""), ("up", " --yes")):
            typed = [called, "-c", "my class.yaml", "-H", "b", command]
            done = subprocess.run(
                typed, cwd=tmp_path, env=variables, capture_output=True, text=True, stdin=subprocess.DEVNULL
            )
            told = re.search("(?:Try|Start it with): (.*)", done.stdout + done.stderr)
            assert told, done
            assert told[1] == f"{called} -c 'my class.yaml' -H b up{more}"
            harmless = shlex.split(told[1].replace(f"up{more}", "plan"))
            assert subprocess.run(harmless, cwd=tmp_path, env=variables, capture_output=True).returncode == 0


def test_a_computer_without_ssh_is_told_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time, the command begins to connect before it has read the file."""
    machines = "{hub1: {ssh: root@203.0.113.10}}"
    (tmp_path / "hubfleet.yaml").write_text(f"hub: lab\nengine: docker\nhttps: self-signed\nmachines: {machines}\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    for _ in range(2):
        done = run(tmp_path, "check")
        assert (done.code, done.out) == (8, "")
        assert done.err == (
            "hub1: ssh is not installed on this machine. Nothing was changed there. "
            "Try: apt install openssh-client, here\n"
        )

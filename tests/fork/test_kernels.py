"""A forked kernel is like one that was started plainly, and what must be a plain start is one."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from compare import Difference, differences, flat
from forked import give, home, launcher_log, log, own_packages, server_pid, start, the_parent
from harness import Kernel, Person, RunningHub, await_that
from kernels import (
    alive,
    end,
    forked,
    kill_starter,
    new_kernel,
    pid_of,
    processes_of,
    starters,
    the_parent_of_kernels,
    the_starter,
    told,
)

import needs

pytestmark = needs.root()

ALLOWED: dict[str, tuple[str, Difference]] = {
    r"/random/.*": ("is to differ", lambda fast, plain: fast != plain),
    r"/interpreter/threads": ("the numbers in names", lambda fast, plain: len(fast) == len(plain)),
    r"/process/maps": ("the starter has more libraries loaded", lambda fast, plain: set(plain) <= set(fast)),
    r"/process/descriptors": ("one leads to the server, to end with it", lambda fast, plain: set(fast) == set(plain)),
}
"""Where a forked kernel may differ, and how. Besides: its parent process is the starter, not the server."""


@pytest.fixture(scope="module")
def kim(running_fork_hub: RunningHub) -> Person:
    """Somebody with a forked server and things of their own."""
    running_fork_hub.await_answer()
    the_parent_of_kernels(running_fork_hub)
    the_parent(running_fork_hub)
    kim = running_fork_hub.person("kim")
    start(kim)
    give(kim, home(kim) / ".ipython/profile_default/startup/00-own.py", "STARTED = 'yes'\n")
    give(kim, own_packages(kim) / "own_thing.py", "WHERE = __file__\n")
    give(kim, home(kim) / "work" / "requests.py", "WHERE = __file__\n")
    give(kim, home(kim) / "work" / "random.py", "WHERE = __file__\n")
    return kim


@pytest.fixture(autouse=True)
def serving(kim: Person, hub_logs: list[Path]) -> None:
    """A running server that has a starter, or gets one, before each test."""
    hub_logs.append(kim.hub.logs)
    kim.hub.await_answer()
    if not kim.servers():
        start(kim)
    if not starters(kim) and "started plainly from now on" in log(kim):
        kim.stop()
        start(kim)


@pytest.fixture
def kernel(kim: Person) -> Iterator[Kernel]:
    made = kim.kernel()
    assert forked(made), log(kim)
    yield made
    with contextlib.suppress(AssertionError):
        end(made)


def normal(found: dict[str, Any]) -> dict[str, Any]:
    """Without what differs between any two kernels."""
    text = json.dumps(found)
    for value in {found["interpreter"]["argv"][2]}:
        text = text.replace(value, "CONNECTION")
    known: dict[str, Any] = json.loads(re.sub(r" at 0x[0-9a-f]+", "", text))
    return known


def test_a_forked_kernel_is_like_a_plain_one(kim: Person, kernel: Kernel) -> None:
    fast = told(kernel)
    kill_starter(kim)
    other = kim.kernel()
    assert not forked(other)
    plain = told(other)
    end(other)
    assert len(dict(flat(normal(plain)))) > 150
    assert len(plain["before"]) > 500
    found = differences(normal(fast), normal(plain), "", ALLOWED)
    assert not found, "\n".join(found)


def test_a_kernel_is_what_it_says_it_is(kim: Person, kernel: Kernel) -> None:
    """What both could get wrong in the same way."""
    found = told(kernel)
    process, interpreter = found["process"], found["interpreter"]
    assert process["cmdline"][1:4] == ["-m", "ipykernel_launcher", "-f"]
    assert process["status"]["CapEff"] == process["status"]["CapPrm"] == "0" * 16
    assert process["status"]["NoNewPrivs"] == "1"
    assert process["leader"] == [True, True]
    assert process["processes_of_others"] == []
    assert not [name for name in interpreter["of_the_parent"] if not name.startswith("__main__.")]  # the cell itself
    assert interpreter["time"][0] == ["EST", "EDT"]
    assert process["os_environ"]["JPY_PARENT_PID"] == str(server_pid(kim))
    assert not [name for name in process["os_environ"] if name.startswith("HUBFLEET")]
    assert not [name for name in found["before"] if name.startswith("jupyter_server")]


def test_what_is_ones_own_works(kim: Person, kernel: Kernel) -> None:
    code = (
        "import os, own_thing; print(own_thing.WHERE, STARTED, os.getcwd())\n"
        "print(get_ipython().profile_dir.location, get_ipython().kernel.session.username)"
    )
    assert kernel.run(code).split() == [
        str(own_packages(kim) / "own_thing.py").replace(str(home(kim)), "/home/kim"),
        "yes",
        "/home/kim",
        "/home/kim/.ipython/profile_default",
        "kim",
    ]


def test_what_lies_beside_a_notebook_is_found_as_in_a_plain_start(kim: Person) -> None:
    inside = new_kernel(kim, path="work/some.ipynb")
    assert forked(inside)
    code = "import os, random, requests; print(requests.WHERE, hasattr(random, 'WHERE'), os.getcwd())"
    assert inside.run(code) == "/home/kim/work/requests.py False /home/kim/work\n"
    end(inside)
    file = home(kim) / "early" / "ipykernel_launcher.py"
    give(kim, file, "print('this one instead', flush=True)\n")
    other = new_kernel(kim, path="early/some.ipynb")
    await_that("it is the one that is run", lambda: "this one instead" in log(kim))
    assert "This kernel is started plainly: ipykernel_launcher in /home/kim/early" in log(kim)
    file.unlink()
    end(other)


def test_two_kernels_share_no_random_number(kim: Person, kernel: Kernel) -> None:
    code = (
        "import json, random, secrets, uuid, tempfile, numpy, multiprocessing\n"
        "print(json.dumps([random.random(), secrets.token_hex(), str(uuid.uuid4()), tempfile.mktemp(),"
        " numpy.random.random(), random.Random().random(), bytes(multiprocessing.current_process().authkey).hex()]))"
    )
    other = kim.kernel()
    one, two = (json.loads(one.run(code)) for one in (kernel, other))
    end(other)
    assert len(one) == 7
    assert not set(one) & set(two)


def test_an_interrupt_arrives(kim: Person, kernel: Kernel) -> None:
    for code in ("while True: pass", "import subprocess; subprocess.run(['sleep', '300'])"):
        kernel.run("print()")
        message = kernel.send(
            f"print('begun', flush=True); {code}" if "while" not in code else f"print('begun')\n{code}"
        )
        while kernel.receive()["content"].get("text") != "begun\n":
            pass
        assert kim.jupyter("POST", f"/api/kernels/{kernel.id}/interrupt").status_code == 204
        assert kernel.finish(message).startswith("KeyboardInterrupt")


def test_a_restarted_kernel_is_another_fork(kim: Person, kernel: Kernel) -> None:
    before = pid_of(kernel)
    kernel.run("x = 1")
    kernel.close()
    assert kim.jupyter("POST", f"/api/kernels/{kernel.id}/restart").status_code == 200
    assert forked(kernel)
    assert pid_of(kernel) != before
    assert not alive(before)
    assert kernel.run("x").startswith("NameError")


@pytest.mark.parametrize("way", ["os._exit(7)", "os.kill(os.getpid(), 9)", "ctypes.string_at(0)"])
def test_a_kernel_that_dies_is_started_again(kim: Person, kernel: Kernel, way: str) -> None:
    before = pid_of(kernel)
    kernel.finish(kernel.send(f"import ctypes, os; {way}"))
    await_that("it has gone", lambda: not Path(f"/proc/{before}").exists())
    await_that("it is known", lambda: "AsyncIOLoopKernelRestarter: restarting kernel" in log(kim))
    kernel.close()
    assert forked(kernel)
    assert pid_of(kernel) != before


def test_a_kernel_that_is_shut_down_is_gone(kim: Person) -> None:
    kernel = kim.kernel()
    pid = pid_of(kernel)
    end(kernel)
    await_that("nothing of it is left", lambda: not Path(f"/proc/{pid}").exists())
    assert starters(kim)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_kernels_end_with_their_server(kim: Person, kernel: Kernel, number: signal.Signals) -> None:
    uid = Path(f"/proc/{server_pid(kim)}").stat().st_uid
    pid, starter = pid_of(kernel), the_starter(kim)
    kernel.close()
    os.kill(server_pid(kim), number)
    await_that("nothing of theirs is left", lambda: not processes_of(uid))
    assert not alive(pid)
    assert not alive(starter)
    await_that("the hub knows it too", lambda: not kim.servers(), 60)


def test_a_fork_that_is_refused_is_no_end(kim: Person, kernel: Kernel) -> None:
    """There are more processes than there may be: neither a fork nor a plain start is possible."""
    pid_of(kernel)
    starter, limit = the_starter(kim), process_limit(server_pid(kim))
    kept = limit.read_text()
    limit.write_text("1")
    try:
        answer = kim.jupyter("POST", "/api/kernels", json={"name": "python3"})
        assert answer.status_code == 500, answer.text
        assert "This kernel is started plainly: its fork has died, or was refused" in log(kim)
    finally:
        limit.write_text(kept)
    another = kim.kernel()
    assert forked(another)
    assert the_starter(kim) == starter
    assert kernel.run("print(1)") == "1\n"
    end(another)


def process_limit(pid: int) -> Path:
    """The file that has the limit to processes, of this one's control group."""
    groups = {line.split(":")[1]: line.split(":")[2] for line in cat(f"/proc/{pid}/cgroup").decode().splitlines()}
    place = f"pids{groups['pids']}" if "pids" in groups else groups[""].strip("/")
    return Path("/sys/fs/cgroup") / place / "pids.max"


def test_a_dead_starter_is_missed_by_nobody(kim: Person, kernel: Kernel) -> None:
    pid = pid_of(kernel)
    kill_starter(kim)
    other = kim.kernel()
    assert not forked(other)
    assert "Kernels are started plainly from now on" in log(kim)
    assert pid_of(kernel) == pid
    message = kernel.send("while True: pass")
    await_that(
        "it is busy", lambda: kim.jupyter("GET", f"/api/kernels/{kernel.id}").json()["execution_state"] == "busy"
    )
    kim.jupyter("POST", f"/api/kernels/{kernel.id}/interrupt")
    assert kernel.finish(message).startswith("KeyboardInterrupt")
    before = log(kim).count("restarting kernel")
    os.kill(pid, signal.SIGKILL)
    await_that("its death is noticed", lambda: log(kim).count("restarting kernel") > before)
    kernel.close()
    assert pid_of(kernel) != pid
    end(other)


def test_many_at_once(kim: Person) -> None:
    made: list[Kernel] = []
    threads = [threading.Thread(target=lambda: made.append(kim.kernel())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({pid_of(one) for one in made}) == 4
    assert all(forked(one) for one in made)
    for one in made:
        end(one)


def test_another_kernelspec_is_started_as_it_says(kim: Person) -> None:
    usual = ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    specs = {
        "same": {"argv": usual, "env": {"COURSE": "own"}},
        "options": {"argv": [*usual, "--log-level=30"]},
        "hash": {"argv": usual, "env": {"PYTHONHASHSEED": "0"}},
        "early": {"argv": usual, "env": {"PYDEVD_DEBUG": "false"}},
        "switch": {"argv": [usual[0], "-B", *usual[1:]]},
    }
    for name, spec in specs.items():
        file = home(kim) / ".local/share/jupyter/kernels" / name / "kernel.json"
        give(kim, file, json.dumps({"display_name": name, "language": "python", **spec}))
        kernel = new_kernel(kim, name=name)
        assert forked(kernel) == (name == "same"), name
        assert kernel.run("import os; print(os.environ['COURSE'])") == ("own\n" if name == "same" else "forks\n")
        end(kernel)
    assert "This kernel is started plainly: PYTHONHASHSEED in its environment" in log(kim)


def test_what_acts_at_the_interpreters_start_makes_it_plain(kim: Person) -> None:
    for name in ("own.pth", "usercustomize.py"):
        file = own_packages(kim) / name
        give(kim, file, "import os; os.environ['ACTED'] = 'yes'\n")
        try:
            kernel = kim.kernel()
            assert not forked(kernel)
            assert kernel.run("import os; print(os.environ.get('ACTED'))") == "yes\n"
            assert f"This kernel is started plainly: {name} in /home/kim/.local" in log(kim)
            end(kernel)
        finally:
            file.unlink()
    kernel = kim.kernel()
    assert forked(kernel)
    end(kernel)


def test_a_missing_folder_is_told_as_ever(kim: Person, kernel: Kernel) -> None:
    """The server starts the kernel in the nearest folder that is there."""
    inside = new_kernel(kim, path="nowhere/some.ipynb")
    assert inside.run("import os; print(os.getcwd())") == "/home/kim\n"
    end(inside)


@pytest.mark.parametrize("profile", ["plain", "tongue"])
def test_who_does_not_want_it_does_not_get_it(kim: Person, profile: str) -> None:
    ned = kim.hub.person("ned")
    start(ned, profile)
    kernel = ned.kernel()
    assert not forked(kernel)
    assert not starters(ned)
    assert "not answer" not in log(ned)
    end(kernel)
    ned.stop()


def inherited(pid: int) -> list[str]:
    """The sockets that a program which this process starts would get."""
    sockets = [one for one in Path(f"/proc/{pid}/fd").iterdir() if os.readlink(one).startswith("socket:")]
    flags = {
        one.name: Path(f"/proc/{pid}/fdinfo/{one.name}").read_text().split("flags:")[1].split()[0] for one in sockets
    }
    return [name for name, value in flags.items() if not int(value, 8) & os.O_CLOEXEC]


CONFIGURATION = """
import os, resource
os.umask(0o027)
resource.setrlimit(resource.RLIMIT_STACK, (4 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))
"""


def test_a_plain_server_has_forked_kernels(kim: Person) -> None:
    """What makes a server's start a plain one need not be a reason for a kernel."""
    pia = kim.hub.person("pia")
    start(pia)
    pia.stop()
    give(pia, home(pia) / ".jupyter" / "jupyter_server_config.py", CONFIGURATION)
    start(pia)
    assert "server started plainly" in log(pia)
    kernel = pia.kernel()
    assert forked(kernel)
    code = "import os, resource; print(oct(os.umask(0)), resource.getrlimit(resource.RLIMIT_STACK)[0])"
    assert kernel.run(code) == "0o27 4194304\n"
    assert inherited(server_pid(pia)) == []
    end(kernel)
    pia.stop()


def test_the_debugger_works(kernel: Kernel) -> None:
    kernel.run("print()")

    def ask(command: str, number: int, **arguments: Any) -> dict[str, Any]:
        identifier = f"debug{number}"
        header = {"msg_id": identifier, "msg_type": "debug_request", "username": "", "session": "s", "version": "5.3"}
        content = {"type": "request", "seq": number, "command": command, "arguments": arguments}
        message = {"channel": "control", "header": header, "parent_header": {}, "metadata": {}, "content": content}
        (kernel._socket or kernel.connect()).send(json.dumps(message))
        while True:
            heard = kernel.receive()
            if heard["parent_header"].get("msg_id") == identifier and heard["msg_type"] == "debug_reply":
                answer: dict[str, Any] = heard["content"]
                return answer

    assert ask("initialize", 1, clientID="t", adapterID="t", linesStartAt1=True, columnsStartAt1=True)["success"]
    assert ask("attach", 2)["success"]
    cell = ask("dumpCell", 3, code="a = 1\nb = 2\n")
    assert ask("setBreakpoints", 4, source={"path": cell["body"]["sourcePath"]}, breakpoints=[{"line": 2}])["success"]
    assert ask("configurationDone", 5)["success"]
    kernel.send("a = 1\nb = 2\n")
    while kernel.receive()["content"].get("event") != "stopped":
        pass
    assert ask("disconnect", 6, restart=False, terminateDebuggee=False)["success"]


def test_the_parent_of_kernels_is_replaced_and_nobody_notices(kim: Person, kernel: Kernel) -> None:
    hub, before = kim.hub, launcher_log(kim.hub)
    parent, starter, pid = the_parent_of_kernels(hub), the_starter(kim), pid_of(kernel)
    os.kill(parent, signal.SIGKILL)
    await_that(
        "it is known", lambda: "the parent of kernels has ended; kernels are" in launcher_log(hub)[len(before) :]
    )
    another = kim.kernel()
    assert the_starter(kim) == starter
    assert cat(f"/proc/{pid_of(another)}/auxv") == cat(f"/proc/{pid}/auxv"), "it has the image of the one that died"
    assert pid_of(kernel) == pid
    end(another)
    rob = hub.person("rob")
    start(rob)
    other = rob.kernel()
    assert other.run("print(1)") == "1\n", "forked or not"
    rob.stop()
    assert the_parent_of_kernels(hub) != parent
    start(rob)
    other = rob.kernel()
    assert forked(other)
    rob.stop()


def test_a_server_that_has_had_no_kernel_has_no_starter(kim: Person) -> None:
    kim.stop()
    start(kim)
    assert not starters(kim)
    kernel = kim.kernel()
    assert forked(kernel)
    assert len(starters(kim)) == 1
    end(kernel)


@pytest.mark.parametrize(("number", "fast"), [(signal.SIGTERM, True), (signal.SIGKILL, False)])
def test_a_server_that_waits_outlives_the_launcher(kim: Person, number: signal.Signals, fast: bool) -> None:
    """One that is told to end gives a starter to each server that has none; one that crashes cannot."""
    kim.stop()
    start(kim)
    replaced(kim.hub, number)
    ready = starters(kim)
    assert len(ready) == fast
    kernel = kim.kernel()
    image = cat(f"/proc/{pid_of(kernel)}/auxv")
    assert [cat(f"/proc/{one}/auxv") for one in ready] == [image] * fast
    assert starters(kim) == ready
    end(kernel)
    kim.stop()


def replaced(hub: RunningHub, number: signal.Signals) -> None:
    """Have another launcher."""
    launcher = hub.pid("launcher")
    os.kill(launcher, number)
    await_that("there is a new launcher", lambda: hub._pid("launcher") not in (None, launcher))
    await_that("it has found the server", lambda: "kim" in [entry["user"] for entry in hub.status()["servers"]])
    the_parent_of_kernels(hub)


def test_a_new_launcher_leaves_starters_as_they_are(kim: Person, kernel: Kernel) -> None:
    hub = kim.hub
    starter, pid = the_starter(kim), pid_of(kernel)
    replaced(hub, signal.SIGKILL)
    other = kim.kernel()
    assert the_starter(kim) == starter
    assert cat(f"/proc/{pid_of(other)}/auxv") == cat(f"/proc/{pid}/auxv")
    end(other)
    kim.stop()


def cat(path: str) -> bytes:
    return Path(path).read_bytes()

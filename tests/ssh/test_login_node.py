"""Commands on a login node by one kept connection, with a real sshd."""

from __future__ import annotations

import asyncio
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from loginnode import Reached, drop, sessions, until
from sshd import Server

import needs
from hubfleet.engines.slurm.away import CommandFailed, NoAnswer, NotLetIn, Unreachable, WrongHostKey

pytestmark = [
    needs.root(),
    needs.command("ssh", package="openssh-client"),
    needs.command("/usr/sbin/sshd", package="openssh-server"),
    needs.package("asyncssh"),
]

asyncssh = pytest.importorskip("asyncssh", reason="needs the Python package asyncssh (make dev)")

from hubfleet.engines.slurm import remote  # noqa: E402 - it needs the package


def accepted(login: Server) -> int:
    """How often somebody was let in."""
    return (login.base / "sshd.log").read_text().count("Accepted publickey")


async def test_a_command_is_run_as_it_is_written(reached: Reached) -> None:
    words = ["a b", "it's", '"$HOME"', "`id`", "$(id)", "*", "~", "é;|&<>", "@x@%j%", "!1", ""]
    done = await reached().run(["printf", "%s,", *words])
    assert done.output == "".join(f"{word}," for word in words)
    assert (done.code, done.errors) == (0, "")


async def test_standard_input_goes_there_whole(reached: Reached) -> None:
    text = "é secret\n" * 100_000
    done = await reached().run(["wc", "-c"], text)
    assert int(done.output) == len(text.encode())


async def test_a_command_that_fails_says_so_in_its_own_words(reached: Reached, account: str) -> None:
    one = reached()
    done = await one.run(["ls", "/nowhere"])
    assert done.code == 2
    with pytest.raises(CommandFailed, match=r"^ls ended with 2: ls: cannot access '/nowhere': No such file") as caught:
        await one.check(["env", "LC_ALL=C", "ls", "/nowhere"])
    assert caught.value.code == 2
    with pytest.raises(CommandFailed, match=r"^squeue-of-nobody ended with 127: "):
        await one.check(["squeue-of-nobody"])


async def test_an_argument_of_two_lines_is_not_sent(reached: Reached) -> None:
    with pytest.raises(ValueError, match="one line"):
        await reached().run(["echo", "a\nb"])


async def test_all_commands_go_by_one_connection(reached: Reached, login: Server) -> None:
    one = reached()
    done = await asyncio.gather(*(one.run(["echo", str(number)]) for number in range(30)))
    assert [int(answer.output) for answer in done] == list(range(30))
    assert accepted(login) == 1


async def test_more_at_a_time_than_a_login_node_takes_are_refused(reached: Reached) -> None:
    """Which is why commands wait for each other."""
    one = reached(sessions=30)
    done = await asyncio.gather(*(one.run(["sleep", "1"]) for _ in range(30)), return_exceptions=True)
    assert any(isinstance(answer, Unreachable) and "no further command" in str(answer) for answer in done)


async def test_a_connection_that_was_lost_is_made_anew(reached: Reached, login: Server) -> None:
    one = reached()
    assert (await one.run(["echo", "1"])).output == "1\n"
    running = asyncio.create_task(one.run(["sleep", "60"]))
    await until(lambda: any(process.name() == "sleep" for process in sessions(login)))
    drop(login)
    with pytest.raises(NoAnswer, match="was lost before a command had ended") as caught:
        await running
    assert caught.value.sent, "it may have been carried out"
    assert (await one.run(["echo", "2"])).output == "2\n"
    assert accepted(login) == 2


async def test_a_login_node_that_is_away_is_asked_again_after_a_while(
    reached: Reached, login: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []
    connect = asyncssh.connect

    def counted(*words: Any, **more: Any) -> Any:
        attempts.append(words)
        return connect(*words, **more)

    monkeypatch.setattr(asyncssh, "connect", counted)
    one = reached()
    await one.run(["true"])
    drop(login)
    login.stop()
    for _ in range(20):
        with pytest.raises(Unreachable, match=r"^the login node 127.0.0.1 cannot be reached: .*refused") as caught:
            await one.run(["true"])
        assert not caught.value.sent
    assert len(attempts) < 4, "twenty questions make no twenty attempts"
    pauses = []
    for _ in range(6):
        one._again = 0.0
        with pytest.raises(Unreachable):
            await one.run(["true"])
        pauses.append(one._again - asyncio.get_running_loop().time())
    assert pauses[-1] > pauses[0] * 4
    assert max(pauses) <= remote.LONGEST_PAUSE_S
    login.start("host")
    one._again = 0.0
    assert (await one.run(["echo", "again"])).output == "again\n"
    assert one._failures == 0


async def test_another_host_key_is_never_accepted(reached: Reached, login: Server) -> None:
    login.start("other_host")
    with pytest.raises(WrongHostKey, match=r"another machine answers in its place\. Nothing was sent to it"):
        await reached().run(["true"])
    assert accepted(login) == 0
    asyncssh.generate_private_key("ecdsa-sha2-nistp256").write_private_key(login.base / "ecdsa")
    (login.base / "ecdsa").chmod(0o600)
    login.start("ecdsa")
    with pytest.raises(WrongHostKey):
        await reached().run(["true"])


async def test_what_this_account_has_for_ssh_does_not_count(
    reached: Reached, login: Server, account: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither host keys that it knows nor keys of its own."""
    folder = tmp_path / ".ssh"
    folder.mkdir(mode=0o700)
    key = (login.base / "other_host.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{login.port} {key}")
    (folder / "config").write_text("Host *\n  StrictHostKeyChecking no\n  User root\n  ProxyCommand false\n")
    shutil.copy(login.base / "user", folder / "id_ed25519")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert (await reached().run(["id", "-un"])).output == f"{account}\n"
    with pytest.raises(NotLetIn):
        await reached(key=login.base / "stranger").run(["true"])
    login.start("other_host")
    with pytest.raises(WrongHostKey):
        await reached().run(["true"])


async def test_a_key_that_is_not_accepted(reached: Reached, login: Server, account: str) -> None:
    with pytest.raises(NotLetIn, match=f"does not let us in as {account} with the key that we have"):
        await reached(key=login.base / "stranger").run(["true"])
    with pytest.raises(NotLetIn, match=r"cannot be used: .*No such file"):
        await reached(key=login.base / "nowhere").run(["true"])
    with pytest.raises(NotLetIn, match="cannot be used"):
        await reached(key=login.base / "host.pub").run(["true"])


async def test_a_certificate_lets_in_as_one_account_only(reached: Reached, login: Server, account: str) -> None:
    stranger, authority = login.base / "stranger", login.base / "other_host"
    done = await reached(key=stranger, authority=authority).run(["id", "-un"])
    assert done.output == f"{account}\n"
    with pytest.raises(NotLetIn):
        await reached(key=stranger, authority=login.base / "host").run(["true"])


async def test_a_command_that_takes_too_long_is_stopped_and_nothing_else(reached: Reached, login: Server) -> None:
    one = reached()
    other = asyncio.create_task(one.run(["sleep", "2"]))
    with pytest.raises(NoAnswer, match="has not ended in time and was stopped") as caught:
        await one.run(["sleep", "61"], limit_s=1)
    assert caught.value.sent
    assert (await other).code == 0
    assert not [process for process in sessions(login) if "61" in process.cmdline()]


async def test_a_connection_that_is_dead_is_given_up(
    reached: Reached, login: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "OPEN_LIMIT_S", 1.0)
    one = reached()
    await one.run(["true"])
    for process in sessions(login):
        process.send_signal(signal.SIGSTOP)
    with pytest.raises(NoAnswer, match="has not taken a command within 1 s"):
        await one.run(["true"])
    assert (await one.run(["echo", "anew"])).output == "anew\n"


async def test_what_is_said_without_end_is_not_kept(reached: Reached, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MOST_SAID", 100_000)
    one = reached()
    with pytest.raises(NoAnswer, match="says more than 100000 characters"):
        await one.run(["yes"])
    assert (await one.run(["echo", "on"])).output == "on\n"


async def test_a_name_that_is_none(reached: Reached) -> None:
    with pytest.raises(Unreachable, match=r"^the login node login.invalid cannot be reached: there is no such name$"):
        await reached(address="login.invalid").run(["true"])

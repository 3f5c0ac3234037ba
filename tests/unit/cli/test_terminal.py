"""The command on a terminal, in a pipe and in a file."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from command import COMMAND, Terminal, environment, run
from hubfleet.cli import console
from hubfleet.cli.down import stopped_words
from hubfleet.cli.main import app

INTERRUPTED, SAID_NO = 130, 7
ESCAPE = "\x1b"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a hub of two profiles, on a port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    (tmp_path / "hubfleet.yaml").write_text(f"hub: physics101\nlisten: {{port: {port}}}\nlogin: {{password: file}}\n")
    return tmp_path


def test_ctrl_c_at_the_question(folder: Path) -> None:
    terminal = Terminal(folder, "up")
    terminal.await_text("Do this? [y/N] ")
    terminal.type("\x03")
    assert terminal.end() == INTERRUPTED
    assert "Interrupted. Run the same command again" in terminal.text
    assert "Traceback" not in terminal.text
    assert not (folder / "state").exists()


@pytest.mark.parametrize("answer", ["\n", "n\n", "\x04", "maybe\n"])
def test_anything_but_yes_is_no(folder: Path, answer: str) -> None:
    terminal = Terminal(folder, "up")
    terminal.await_text("Do this? [y/N] ")
    terminal.type(answer)
    assert terminal.end() == SAID_NO
    assert "You said no. Nothing was changed" in terminal.text
    assert "--yes" not in terminal.text
    assert f"{ESCAPE}[31m" not in terminal.text, "it is no error"
    assert not (folder / "state").exists()


def test_ctrl_c_ends_a_watch_without_a_word(folder: Path) -> None:
    terminal = Terminal(folder, "status", "--watch")
    terminal.await_text("stopped")
    terminal.type("\x03")
    assert terminal.end() == 0
    assert "Traceback" not in terminal.text
    assert "Interrupted" not in terminal.text


def test_ctrl_c_ends_following_a_log_without_a_word(folder: Path) -> None:
    logs = folder / "state/physics101/logs"
    logs.mkdir(parents=True)
    (logs / "hub.log").write_text("first\n")
    terminal = Terminal(folder, "logs", "-f")
    terminal.await_text("first\n")
    with open(logs / "hub.log", "a") as log:
        log.write("second\n")
    terminal.await_text("second\n")
    terminal.type("\x03")
    assert terminal.end() == 0
    assert "Traceback" not in terminal.text
    assert "Interrupted" not in terminal.text


def test_colours_on_a_terminal_that_wants_them(folder: Path) -> None:
    colour = f"{ESCAPE}[32m"  # green: something is created
    for wanted, variables in ((True, {}), (False, {"NO_COLOR": "1"}), (False, {"TERM": "dumb"})):
        terminal = Terminal(folder, "plan", **variables)
        assert terminal.end() == 0
        assert (colour in terminal.text) == wanted, variables
    assert ESCAPE not in run(folder, "plan").out


def test_tables_in_a_pipe_are_never_cut(folder: Path) -> None:
    name = "n" * 200
    (folder / "hubfleet.yaml").open("a").write(f"servers: {{environment: {{LONG: {name}}}}}\n")
    assert name in run(folder, "explain", "ada").out


def test_head_sees_what_it_wants(folder: Path) -> None:
    for command in (["plan"], ["schema"], ["explain", "ada"], ["--help"]):
        first = subprocess.Popen(
            [*COMMAND, *command], cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert first.stdout is not None
        assert first.stderr is not None
        first.stdout.close()  # a reader that has gone before the first line
        assert first.stderr.read() == b""
        first.stderr.close()
        first.wait()


def test_json_is_json(folder: Path) -> None:
    for command in (["plan"], ["status"], ["check"], ["explain", "ada"]):
        assert json.loads(run(folder, *command, "--json").out)
    assert json.loads(run(folder, "schema").out)


def test_init_writes_a_file_that_changes_nothing_of_the_default(tmp_path: Path) -> None:
    before = json.loads(run(tmp_path, "explain", "ada", "--json").out)
    assert run(tmp_path, "init").code == 0
    after = json.loads(run(tmp_path, "explain", "ada", "--json").out)
    assert [entry["value"] for entry in before["settings"]] == [entry["value"] for entry in after["settings"]]
    assert any(entry["source"].startswith("hubfleet.yaml:") for entry in after["settings"])


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        (0, "Hub physics101 is stopped; nobody had a server running."),
        (1, "Hub physics101 is stopped, and so is the 1 server that ran on it."),
        (3, "Hub physics101 is stopped, and so are the 3 servers that ran on it."),
    ],
)
def test_what_a_stopped_hub_is_told_by(servers: int, words: str) -> None:
    assert stopped_words("physics101", servers) == words


@pytest.mark.parametrize(
    ("login", "user", "word"),
    [
        ("password: file", "admin", ""),
        ("password: file", "tess", ""),
        (
            "password: file",
            "nosuch",
            "is not named in hubfleet.yaml; who has signed up, only a hub that runs can tell.",
        ),
        ("password: file, allow: {users: [ada]}", "ada", ""),
        ("password: file, allow: {users: [ada]}", "nosuch", "Nor would it be let in: it is not under login.allow."),
    ],
)
def test_what_a_name_would_get_that_nobody_has(folder: Path, login: str, user: str, word: str) -> None:
    text = f"hub: physics101\nlogin: {{{login}}}\ngroups: {{staff: {{members: [tess]}}}}\n"
    (folder / "hubfleet.yaml").write_text(text)
    told = run(folder, "explain", user)
    assert told.code == 0
    assert ("note: " in told.out) == bool(word)
    assert word in told.out
    assert json.loads(run(folder, "explain", user, "--json").out)["known"] is (None if word else True)


def test_names_are_understood_in_capitals(folder: Path) -> None:
    told = json.loads(run(folder, "explain", "Ada", "--json").out)
    assert (told["user"], told["system_name"]) == ("ada", "ada")


def test_a_second_file_for_the_same_hub_is_noticed(folder: Path) -> None:
    state = folder / "state/physics101"
    state.mkdir(parents=True)
    (state / "origin").write_text("/srv/other/hubfleet.yaml\n")
    assert "note: this hub was deployed from /srv/other/hubfleet.yaml before" in run(folder, "plan").out
    (state / "origin").write_text(f"{folder}/hubfleet.yaml\n")
    assert "was deployed from" not in run(folder, "plan").out


def test_every_command_that_is_told_is_told_as_it_has_to_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "program", lambda: ["bin/hubfleet"])
    for name in get_command(app).commands:  # type: ignore[attr-defined]
        assert console.as_typed(f"Try: hubfleet {name} --all").startswith("Try: bin/hubfleet "), name

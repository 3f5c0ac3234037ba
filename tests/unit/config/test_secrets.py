"""Secrets: where they come from, who may read the file, and that they show up nowhere."""

from __future__ import annotations

import json
import os
import time
import traceback
from pathlib import Path

import pytest

from hubfleet.config import Secrets, generate_password, load
from hubfleet.errors import ConfigError
from hubfleet.units import Secret

CANARY = "canary-7c1f"


def write(folder: Path, text: str, mode: int = 0o600) -> Secrets:
    file = folder / "hubfleet.secrets.yaml"
    file.write_text(text)
    file.chmod(mode)
    return Secrets(file, environ={})


def value(secrets: Secrets, name: str = "class_password") -> str | None:
    secret = secrets.get(name)
    return secret.reveal() if secret else None


def test_from_the_file(tmp_path: Path) -> None:
    secrets = write(tmp_path, f"class_password: {CANARY}\nadmin_password: {{profx: 0123, a.b: x}}\n")
    assert value(secrets) == CANARY
    assert value(secrets, "admin_password.profx") == "0123"
    assert value(secrets, "admin_password.a.b") == "x"
    assert value(secrets, "admin_password.ada") is None


def test_the_environment_wins(tmp_path: Path) -> None:
    write(tmp_path, "class_password: file\n")
    environ = {"HUBFLEET_SECRET_CLASS_PASSWORD": "e", "HUBFLEET_SECRET_ADMIN_PASSWORD_PROF_X": "p"}
    secrets = Secrets(tmp_path / "hubfleet.secrets.yaml", environ=environ)
    secrets.check()
    assert (value(secrets), value(secrets, "admin_password.prof-x")) == ("e", "p")


def test_what_another_file_holds_wins_over_this_one_and_the_environment_over_both(tmp_path: Path) -> None:
    path = write(tmp_path, "class_password: file\nowner_password: kept\n").path
    given = {"class_password": ("x.passwords:4", Secret(CANARY)), "https_key": ("x", Secret("!command false"))}
    secrets = Secrets(path, environ={}, given=given)
    assert (value(secrets), value(secrets, "owner_password")) == (CANARY, "kept")
    with pytest.raises(ConfigError, match="x: !command: `false` failed"):
        secrets.get("https_key")
    assert value(Secrets(path, environ={"HUBFLEET_SECRET_CLASS_PASSWORD": "e"}, given=given)) == "e"


@pytest.mark.parametrize("form", ["!command {}", '"!command {}"'])
def test_from_a_command(tmp_path: Path, form: str) -> None:
    secrets = write(tmp_path, "class_password: " + form.format(f"printf %s {CANARY}") + "\n")
    assert value(secrets) == CANARY


def test_a_command_runs_without_a_shell_and_in_the_folder_of_the_file(tmp_path: Path) -> None:
    assert value(write(tmp_path, "class_password: !command echo $HOME; id\n")) == "$HOME; id"
    assert value(write(tmp_path, "class_password: !command pwd\n")) == str(tmp_path)


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        (f"sh -c 'echo {CANARY} >&2; exit 3'", "`sh` failed with exit code 3"),
        ("true", "`true` printed nothing"),
        (f"/none/such {CANARY}", "`/none/such` does not start: No such file or directory"),
        (f"echo '{CANARY}", "not a command line"),
    ],
)
def test_commands_that_fail(tmp_path: Path, command: str, cause: str) -> None:
    with pytest.raises(ConfigError) as caught:
        write(tmp_path, f"class_password: !command {command}\n").get("class_password")
    assert str(caught.value).startswith(f"hubfleet.secrets.yaml:1: !command: {cause}. Try: ")
    assert CANARY not in str(caught.value)


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    path = write(tmp_path, "class_password: !command sh -c 'sleep 60 & echo $! > pid; wait'\n").path
    start = time.monotonic()
    with pytest.raises(ConfigError, match=r"`sh` gave no answer within 0.5 s"):
        Secrets(path, environ={}, timeout=0.5).get("class_password")
    assert time.monotonic() - start < 10
    child = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")

    def runs() -> bool:
        try:
            return child.read_text().split()[2] != "Z"
        except OSError:
            return False

    while runs():
        assert time.monotonic() - start < 10


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    secrets = write(tmp_path, f"class_password: {CANARY}\n", mode)
    for use in (
        secrets.check,
        lambda: secrets.get("class_password"),
        lambda: secrets.ensure("admin_password.a", str),
    ):
        with pytest.raises(ConfigError) as caught:
            use()
        assert str(caught.value) == (
            f"hubfleet.secrets.yaml: others may read this file (mode {mode:04o}). Try: run chmod 600 {secrets.path}"
        )
    assert secrets.path.read_text() == f"class_password: {CANARY}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"clas_password: {CANARY}\n",
            "hubfleet.secrets.yaml:1: `clas_password` is not a secret of this release: did you mean",
        ),
        (
            f"class_password: [{CANARY}]\n",
            "hubfleet.secrets.yaml:1: class_password: not in the form of a secret",
        ),
        (
            f"admin_password: {CANARY}\n",
            "hubfleet.secrets.yaml:1: admin_password: not in the form of a secret",
        ),
        ("class_password:\n", "hubfleet.secrets.yaml:1: class_password: not in the form of a secret"),
        (f"class_password: *{CANARY}\n", "hubfleet.secrets.yaml:1: not valid YAML. Try: "),
        (f"class_password: !{CANARY} x\n", "hubfleet.secrets.yaml:1: an unknown `!` tag. Try: "),
        (f"class_password: '{CANARY}\n", "hubfleet.secrets.yaml:2: not valid YAML. Try: "),
        (f"- {CANARY}\n", "hubfleet.secrets.yaml:1: the file must hold `key: value` lines"),
        (f"hubs: {CANARY}\n", "hubfleet.secrets.yaml:1: hubs: must be a map"),
        (f"hubs: {{a: {CANARY}}}\n", "hubfleet.secrets.yaml:1: must hold secrets"),
    ],
)
def test_mistakes_in_the_file_are_told_without_its_content(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        write(tmp_path, text).check()
    assert str(caught.value).startswith(message)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_an_unknown_variable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="HUBFLEET_SECRET_CLAS_PASSWORD: `clas_password` is not a secret"):
        Secrets(tmp_path / "x", environ={"HUBFLEET_SECRET_CLAS_PASSWORD": CANARY}).check()


def test_ensure_writes_once_privately_and_keeps_comments(tmp_path: Path) -> None:
    secrets = write(tmp_path, "# mine\nadmin_password: # of admins\n  profx: '007'\n")
    first, created = secrets.ensure("class_password", generate_password)
    again, created_again = secrets.ensure("class_password", generate_password)
    assert (created, created_again) == (True, False)
    assert first == again
    assert secrets.path.stat().st_mode & 0o777 == 0o600
    text = secrets.path.read_text()
    assert text.startswith("# mine\nadmin_password: # of admins\n  profx: '007'\n")
    assert os.listdir(tmp_path) == [secrets.path.name]


def test_ensure_starts_a_file(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "hubfleet.secrets.yaml", environ={})
    assert secrets.get("class_password") is None
    secrets.ensure("admin_password.a.b", lambda: "0123")
    assert secrets.path.read_text().startswith("# Secrets of hubfleet.")
    assert value(secrets, "admin_password.a.b") == "0123"
    assert secrets.path.stat().st_mode & 0o777 == 0o600
    secrets.check()


def test_several_hubs(tmp_path: Path) -> None:
    path = write(tmp_path, "class_password: top\nhubs:\n  prod: {class_password: prod}\n").path
    assert value(Secrets(path, "staging", {})) == "top"
    assert value(Secrets(path, "prod.ds", {})) == "prod"
    secrets = Secrets(path, "prod.ds", {})
    secrets.ensure("admin_password.profx", lambda: "own")
    assert value(Secrets(path, "prod", {}), "admin_password.profx") is None
    assert value(Secrets(path, "prod.ds", {}), "admin_password.profx") == "own"


def test_generated_passwords() -> None:
    first, second = generate_password(), generate_password()
    assert first != second
    assert [len(word) for word in first.split("-")] == [5] * 4
    with pytest.raises(ValueError, match="fewer than four words"):
        generate_password(3)


def test_load_reports_the_secrets_file_with_the_rest(tmp_path: Path) -> None:
    write(tmp_path, f"class_password: {CANARY}\n", 0o644)
    file = tmp_path / "hubfleet.yaml"
    file.write_text("hub: a\nengine: x\n")
    with pytest.raises(ConfigError) as caught:
        load(file, environ={})
    assert "run chmod 600" in str(caught.value)
    assert "choose local" in str(caught.value)


def test_canaries_show_up_nowhere(tmp_path: Path) -> None:
    secrets = write(tmp_path, f"class_password: {CANARY}\nadmin_password: {{admin: {CANARY}-2}}\n")
    file = tmp_path / "hubfleet.yaml"
    file.write_text("hub: a\nlogin: {password: file}\n")
    config = load(file, environ={})
    found = [secrets.get("class_password"), secrets.get("admin_password.admin")]
    shown = [
        repr(config),
        str(config),
        json.dumps(config.dump()),
        repr(secrets),
        str(secrets),
        f"{found}",
        repr(found),
    ]
    assert all(found)
    assert not [text for text in shown if "canary" in text]

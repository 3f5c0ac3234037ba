"""Reading one hub from a file: every mistake has its sentence, and all are reported together."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import pytest

from hubfleet.config import Config, default_config, load, starter_text, valid_user
from hubfleet.config.https import Https
from hubfleet.errors import ConfigError, ConfigErrors

_spec = importlib.util.spec_from_file_location("config_messages", Path(__file__).with_name("messages.py"))
assert _spec
assert _spec.loader
messages = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(messages)


def write(folder: Path, text: str) -> Path:
    file = folder / "hubfleet.yaml"
    file.write_text(text)
    return file


def error_of(folder: Path, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text), environ={})
    return caught.value


@pytest.mark.parametrize("mistake", messages.MISTAKES)
def test_message(mistake: str, tmp_path: Path) -> None:
    text, message = messages.MISTAKES[mistake]
    start = time.monotonic()
    error = error_of(tmp_path, text)
    assert str(error) == message.replace("{folder}", str(tmp_path))
    assert error.exit_code == 2
    assert "canary" not in repr(error)
    assert time.monotonic() - start < 1


def test_all_mistakes_of_a_file_are_reported_in_the_order_of_their_lines(tmp_path: Path) -> None:
    error = error_of(
        tmp_path,
        "hub: physics101\nstorage: {homes: {skeleton: skel}}\nservers:\n  memory: {limit: 0}\n"
        "  cpu: {limit: x}\nengine: slurm\nlogin: {admins: [/]}\nfoo: 1\n",
    )
    assert isinstance(error, ConfigErrors)
    assert [problem.where for problem in error.problems] == [f"hubfleet.yaml:{line}" for line in (2, 4, 5, 6, 7, 8)]


def test_the_smallest_file(tmp_path: Path) -> None:
    config = load(write(tmp_path, "hub: physics101\nlogin: {password: file}\n"), environ={})
    assert config == default_config("physics101")
    assert config.login.admins == ("admin",)
    assert str(config.servers.stop_after_idle) == "2h"


def test_what_init_writes_is_the_default(tmp_path: Path) -> None:
    assert load(write(tmp_path, starter_text("abc")), environ={}) == default_config("abc")


def test_every_suggestion_of_what_init_writes_is_valid(tmp_path: Path) -> None:
    lines = []
    for line in starter_text().splitlines():
        code = line.lstrip()
        if code.startswith("# ") and ":" in code and not code.startswith(("# A JupyterHub", "# Every", "# signup")):
            line = line.replace("# ", "", 1)
        lines.append(line)
    (tmp_path / "skel").mkdir()
    config = load(write(tmp_path, "\n".join(lines)), environ={})
    assert config.listen.address == "0.0.0.0"
    assert config.storage.mounts
    assert config.servers.profiles["large"].title == "Large memory"


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").touch()
    monkeypatch.chdir("/")
    config = load(write(tmp_path, "hub: a\nservers: {requirements: ./a.txt}\n"), environ={})
    assert config.servers.requirements == tmp_path / "a.txt"


def test_where(tmp_path: Path) -> None:
    config = load(write(tmp_path, "hub: a\nservers:\n  memory:\n    limit: 1G\n"), environ={})
    assert config.where("servers.memory.limit") == "hubfleet.yaml:4"
    assert config.where("servers.memory.guarantee") == "hubfleet.yaml:3"
    assert config.where("listen.port") == "hubfleet.yaml:1"
    assert default_config().where("listen.port") is None


def test_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load(None)
    assert str(caught.value) == f"hubfleet.yaml not found in {tmp_path}. Try: run `hubfleet init`"
    with pytest.raises(ConfigError, match=r"x.yaml not found. Try: run `hubfleet init`"):
        load(Path("x.yaml"))
    (tmp_path / "hubfleet.yml").write_text("hub: a\n")
    assert load(None, environ={}).hub == "a"
    (tmp_path / "hubfleet.yaml").write_text("hub: a\n")
    with pytest.raises(ConfigError, match=r"both hubfleet.yaml and hubfleet.yml are here"):
        load(None)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"hub: \x01", b"hub: a\n---\nhub: b\n", b"[" * 500, b""])
def test_files_that_are_not_configuration(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "hubfleet.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(file, environ={})
    assert str(caught.value).startswith("hubfleet.yaml")


def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, environ={})


@pytest.mark.parametrize("name", ["", "/", "a/b", "../../x", ".", "..", "a\n", "a\0", " a", "a ", "\u2028", "x" * 256])
def test_invalid_user_names(name: str) -> None:
    with pytest.raises(ConfigError, match="invalid user name"):
        valid_user(name)


def test_user_names_are_lower_case_as_in_jupyterhub(tmp_path: Path) -> None:
    assert valid_user("ProfX") == "profx"
    assert load(write(tmp_path, "hub: a\nlogin: {password: file, admins: [ProfX]}\n"), environ={}).login.admins == (
        "profx",
    )


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        default_config().hub = "b"  # type: ignore[misc]


def test_homes_none(tmp_path: Path) -> None:
    config = load(write(tmp_path, "hub: a\nstorage: {homes: none}\n"), environ={})
    assert config.storage.homes is None
    assert config.dump()["storage"]["homes"] == "none"
    assert Config.from_dump(config.dump()) == config


ACME = "https: {acme: https://ca.example.edu/acme}"
PAIR = "https: {certificate: hubfleet.yaml, key: hubfleet.yaml}"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "off"),
        ("domain: Hub.Example.edu", "auto"),
        ("domain: hub.example.edu\nhttps: off", "off"),
        ("domain: hub.example.edu\nhttps: {email: profx@example.edu}", "auto"),
        (f"domain: hub.example.edu\n{ACME}", "authority"),
        (f"domain: hub\n{ACME}", "authority"),
        (f"domain: hub.example.edu\n{PAIR}", "certificate"),
        (f"domain: 192.0.2.1\n{PAIR}", "certificate"),
        ("https: self-signed", "self-signed"),
        ("domain: 2001:db8:0::1\nhttps: self-signed", "self-signed"),
        ("domain: hub.local\nhttps: self-signed", "self-signed"),
        ("https: off\nlisten: {address: 0.0.0.0, trusted_proxies: [10.0.0.7/24]}", "off"),
    ],
)
def test_where_the_certificate_comes_from(text: str, kind: str, tmp_path: Path) -> None:
    config = load(write(tmp_path, f"hub: a\n{text}\n"), environ={})
    assert config.https_kind == kind
    assert config.domain in (None, "hub.example.edu", "hub", "hub.local", "192.0.2.1", "2001:db8::1")
    assert Config.from_dump(config.dump()) == config


def test_files_of_https_are_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    config = load(write(tmp_path, f"hub: a\ndomain: hub.example.edu\n{PAIR}\n"), environ={})
    assert isinstance(config.https, Https)
    assert config.https.key == tmp_path / "hubfleet.yaml"


def test_a_hub_takes_an_inherited_https_away(tmp_path: Path) -> None:
    text = f"defaults: {{domain: hub.example.edu, {PAIR}}}\nhubs: {{a: {{https: self-signed}}, b: {{https: null}}}}\n"
    assert load(write(tmp_path, text), "a", environ={}).https_kind == "self-signed"
    assert load(write(tmp_path, text), "b", environ={}).https_kind == "auto"

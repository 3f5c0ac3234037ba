"""A package of somebody else's brings projects, good ones and bad ones: installed into an environment of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import venv
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import command
from hubfleet.cli.projectdeployment import part_names
from hubfleet.projects.registry import GROUP, OWN

WRONG, FAILED_CHECK, FAILED_STEP = 2, 3, 4
PACKAGE = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "hubfleet-notes"
version = "1.2"

[project.entry-points."hubfleet.projects"]
notes = "hubfleet_notes:Notes"
torn = "hubfleet_notes.torn:Torn"
shapeless = "hubfleet_notes:Shapeless"
jupyterhub = "hubfleet_notes:Notes"
"""
CODE = '''
"""A project that keeps a note in a file, and another one that is secret."""

from hubfleet.projects import Action, Project, ProjectConfig, setting
from hubfleet.resources import File, Image


class NotesConfig(ProjectConfig):
    """One note."""

    text: str = setting(..., "What it says.", "hello")
    fault: str = setting("", "What goes wrong, for a test.", "desired")


def show(asked):
    if "loudly" in asked.arguments:
        raise ConnectionRefusedError(111, "nobody listens")
    path = asked.layout.state / "note"
    asked.say(" ".join([*asked.machines, *asked.arguments, path.read_text()]))


class Notes(Project):
    name = "notes"
    model = NotesConfig
    actions = {"show": Action("Show the note.", show, "WORD...")}

    def findings(self, config):
        if config.text == "forbidden":
            yield ("text",), "must not be said", "text: hello"

    def secrets(self, config):
        return {config.fault if config.fault in ("hubs", "a.b") else "key": "generate"}

    def problems(self, config, site):
        return ["the note is too long. Try: a shorter one"] if len(config.text) > 100 else []

    def desired(self, config, site):
        if config.fault == "desired":
            raise KeyError("oh")
        if config.fault == "machine":
            return {"nowhere": []}
        if config.fault == "resource":
            return {config.places[0]: ["a note"]}
        if config.fault == "twice":
            return {config.places[0]: 2 * [File(str(site.layout.state / "note"), "")]}
        if config.fault == "image":
            return {config.places[0]: [Image.of("memo", "a:1", "FROM a:1", {"k": site.secrets["key"].encode()})]}
        leak = site.secrets["key"] if config.fault == "secret" else ""
        note = File(str(site.layout.state / "note"), config.text + leak)
        key = File(str(site.layout.state / "key"), site.secrets["key"], mode=0o600, secret=True)
        return {config.places[0]: [note, key]}


class Shapeless:
    name = "formless"
    model = dict
    actions = {}
'''


PAGE = Path(__file__).parents[3] / "docs/how-to/write-a-project.md"


def write_greeter(folder: Path) -> Path:
    """The package of the page that explains how to write one."""
    folder.mkdir()
    for form, name in (("toml", "pyproject.toml"), ("python", "hubfleet_greeter.py")):
        [text] = re.findall(rf"^```{form}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment that has the package, and what this one has."""
    place = tmp_path_factory.mktemp("plugin")
    source = place / "source" / "hubfleet_notes"
    source.mkdir(parents=True)
    (source.parent / "pyproject.toml").write_text(PACKAGE)
    (source / "__init__.py").write_text(CODE)
    (source / "torn.py").write_text("import a_module_that_nobody_has\n")
    venv.create(place / "venv", symlinks=True)
    found = place / "venv" / "bin" / "python"
    [packages] = (place / "venv").glob("lib/python3*/site-packages")
    (packages / "ours.pth").write_text(
        "".join(f"{path}\n" for path in sys.path if path.endswith(("/src", "-packages")))
    )
    words = ["install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run(
        [found, "-m", "pip", *words, source.parent, write_greeter(place / "greeter")],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return found


@pytest.fixture
def operator(tmp_path: Path, python: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory where commands are typed that come from this environment."""
    monkeypatch.setattr(command, "COMMAND", [python, "-m", "hubfleet"])
    write(tmp_path)
    return tmp_path


def write(folder: Path, project: str = "notes", **settings: str) -> None:
    (folder / "hubfleet.yaml").write_text(json.dumps({"project": project, "name": "memo", "text": "hello", **settings}))


def types(folder: Path, *words: str, code: int = 0) -> str:
    done = command.run(folder, *words)
    assert done.code == code, f"{words}: {done.code}\n{done.out}{done.err}"
    assert "Traceback" not in done.out + done.err
    return done.out + done.err


def test_it_is_planned_deployed_changed_and_taken_back_as_all_are(operator: Path) -> None:
    state = operator / "state" / "memo"
    said = types(operator, "plan")
    assert f"create file {state}/note" in said
    assert "note: key will be generated" in said
    assert not state.exists(), "looking changes nothing"
    assert "PROBLEM" not in types(operator, "check")
    said = types(operator, "up", "--yes")
    assert "memo is up" in said
    key = str(YAML().load(operator / "hubfleet.secrets.yaml")["key"])
    assert (state / "key").read_text() == key
    assert "nothing to change" in types(operator, "plan")
    assert json.loads(types(operator, "status", "--json"))["state"] == "deployed"

    write(operator, text="good bye")
    assert "text: hello -> good bye" in types(operator, "plan")
    types(operator, "up", "--yes")
    assert (state / "note").read_text() == "good bye"
    assert "as in generation 1 again" in types(operator, "rollback", "--yes")
    assert (state / "note").read_text() == "hello"
    assert "current, back to 1" in types(operator, "rollback", "--list")

    records = "".join(path.read_text() for path in state.glob("generations/*/*") if path.is_file())
    assert "good bye" in records
    assert key not in records + (state / "project.json").read_text()

    assert "hubfleet do show WORD..." in types(operator, "do")
    assert "this machine so hello" in types(operator, "do", "show", "so")
    assert "this command is for hubs, and hubfleet.yaml is of project notes" in types(operator, "users", code=WRONG)
    assert "--port is for hubs" in types(operator, "up", "--port", "8000", code=WRONG)
    assert "has no action `shout`" in types(operator, "do", "shout", code=WRONG)
    said = types(operator, "do", "show", "loudly", code=FAILED_STEP)
    assert "fails in action show (ConnectionRefusedError: [Errno 111] nobody listens)" in said
    assert "What it has done until then stays done" in said
    assert "Nothing of memo runs" in types(operator, "down")
    assert "is deleted" in types(operator, "down", "--delete-data", "--yes-delete", "memo")
    assert not state.exists()


def test_its_own_form_is_checked_line_by_line(operator: Path) -> None:
    (operator / "hubfleet.yaml").write_text("project: notes\nname: memo\ntxt: hello\n")
    said = types(operator, "plan", code=WRONG)
    assert "hubfleet.yaml:3: `txt`: did you mean `text`?" in said
    assert "hubfleet.yaml:1: text: is required. Try: text: hello" in said
    write(operator, text="forbidden")
    assert "hubfleet.yaml:1: text: must not be said. Try: text: hello" in types(operator, "up", "--yes", code=WRONG)
    write(operator, text="x" * 101)
    assert "too long. Try: a shorter one" in types(operator, "up", "--yes", code=FAILED_CHECK)
    assert json.loads(types(operator, "schema", "--project", "notes"))["properties"]["text"]["examples"] == ["hello"]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("desired", "fails in desired() (KeyError: 'oh')"),
        ("machine", "says what cannot be (TypeError: there is no machine 'nowhere')"),
        ("resource", "says what cannot be (TypeError: 'a note' is no resource)"),
        ("twice", "says what cannot be (TypeError: file {state}/note is there twice)"),
    ],
)
def test_what_it_does_wrong_is_said_with_its_name(operator: Path, fault: str, words: str) -> None:
    write(operator, fault=fault)
    said = types(operator, "plan", code=WRONG)
    words = words.replace("{state}", str(operator / "state" / "memo"))
    assert f"project `notes` of package hubfleet-notes 1.2 {words}" in said
    assert "Nothing was changed" in said
    assert "Traceback" in command.run(operator, "--debug", "plan").err


def test_a_secret_gets_into_no_record(operator: Path) -> None:
    write(operator, fault="secret")
    state = operator / "state" / "memo"
    assert f"the secret key would be in file:{state}/note" in types(operator, "up", "--yes", code=WRONG)
    assert not (state / "note").exists()
    write(operator, fault="image")
    assert "the secret key would be in image:hubfleet/memo:" in types(operator, "plan", code=WRONG)
    write(operator)
    types(operator, "up", "--yes")
    write(operator, text=f"it is {YAML().load(operator / 'hubfleet.secrets.yaml')['key']}")
    assert f"the secret key would be in file:{state}/project.json" in types(operator, "plan", code=WRONG)


def test_a_secret_in_use_is_not_made_up_anew(operator: Path) -> None:
    """As by a second operator, who has the configuration only, or under another name of it."""
    types(operator, "up", "--yes")
    secrets, key = operator / "hubfleet.secrets.yaml", operator / "state" / "memo" / "key"
    before = key.read_text()
    secrets.rename(operator / "put-away")
    for words in (["check"], ["plan"], ["up", "--yes"]):
        said = " ".join(types(operator, *words, code=FAILED_CHECK).split())
        assert "key is in use on this machine, and not in hubfleet.secrets.yaml. Nothing was changed" in said
        assert "Try: the secrets file of that deployment, as hubfleet.secrets.yaml; to have another one" in said
    assert not secrets.exists()
    assert key.read_text() == before
    assert json.loads(types(operator, "status", "--json"))["state"] == "deployed"
    secrets.write_text("key: chosen-by-people\n")
    secrets.chmod(0o600)
    types(operator, "up", "--yes")
    assert key.read_text() == "chosen-by-people"
    (operator / "put-away").replace(secrets)
    types(operator, "up", "--yes")
    assert key.read_text() == before
    secrets.unlink()
    types(operator, "rollback", "--yes")
    assert key.read_text() == before, "what is there is kept"
    types(operator, "down", "--delete-data", "--yes-delete", "memo")
    types(operator, "up", "--yes")
    assert key.read_text() not in ("chosen-by-people", before)


def test_a_secret_with_a_name_that_means_something_else_is_said(operator: Path) -> None:
    for name in ("hubs", "a.b"):
        write(operator, fault=name)
        said = types(operator, "plan", code=WRONG)
        assert "project `notes` of package hubfleet-notes 1.2 fails with this file" in said
        assert f"{name!r} means something else in a secrets file, and cannot be a secret's name" in said


def test_what_cannot_be_loaded_is_said_with_its_name(operator: Path) -> None:
    write(operator, "torn")
    said = types(operator, "plan", code=WRONG)
    assert "hubfleet.yaml:1: project `torn` of package hubfleet-notes 1.2 could not be loaded" in said
    assert "No module named 'a_module_that_nobody_has'" in said
    write(operator, "shapeless")
    said = types(operator, "plan", code=WRONG)
    assert "project `shapeless` of package hubfleet-notes 1.2 is not as hubfleet needs it" in said
    assert "it is no subclass of hubfleet.projects.Project; its `name` is 'formless'" in said
    assert "its `model` is no subclass of hubfleet.projects.ProjectConfig" in said
    write(operator, "note")
    assert "no project `note` is installed here: did you mean `notes`?" in types(operator, "plan", code=WRONG)


def test_it_cannot_take_a_project_of_ours(operator: Path) -> None:
    (operator / "hubfleet.yaml").write_text("project: jupyterhub\nhub: memo\n")
    assert "create" in types(operator, "plan")
    assert "users" in types(operator, "do")


def test_a_name_is_a_hubs_or_another_projects(operator: Path) -> None:
    """Or else one could delete the other's directory."""
    types(operator, "up", "--yes")
    state, secrets = operator / "state" / "memo", operator / "hubfleet.secrets.yaml"
    (operator / "hub.yaml").write_text("hub: memo\n")
    for words in (["up", "--yes"], ["down", "--delete-data", "--yes-delete", "memo"]):
        said = types(operator, "-c", "hub.yaml", *words, code=FAILED_CHECK)
        assert "memo on this machine is another project, not a hub" in said
    (operator / "services.yaml").write_text("project: services\nname: memo\nservices: {a: {image: 'a:1'}}\n")
    said = types(operator, "-c", "services.yaml", "down", "--delete-data", "--yes-delete", "memo", code=FAILED_CHECK)
    assert "memo on this machine is of project notes" in said
    assert (state / "note").exists()
    assert secrets.exists()

    os.remove(state / "project.json")
    (state / "launcher").mkdir()
    (state / "launcher" / "launcher.json").write_text("{}")
    for words in (["up", "--yes"], ["down", "--yes"], ["down", "--delete-data", "--yes-delete", "memo"]):
        assert "memo on this machine is a hub" in types(operator, *words, code=FAILED_CHECK)
    assert (state / "note").exists()
    (operator / "hubfleet.yaml").write_text("project: notes\nname: ../memo\ntext: hello\n")
    assert "is not a hub name" in types(operator, "plan", code=WRONG)


def test_a_container_that_several_machines_have_is_called_by_its_machine_too() -> None:
    there = [("m1", "hubfleet-memo_web"), ("m1", "hubfleet-memo_agent"), ("m2", "hubfleet-memo_agent")]
    assert part_names("memo", there) == {"web": there[0], "agent@m1": there[1], "agent@m2": there[2]}


def test_the_package_of_the_page_works(operator: Path) -> None:
    [text] = re.findall(r"^    project: greeter\n(?:    .*\n)+", PAGE.read_text(), re.MULTILINE)
    (operator / "hubfleet.yaml").write_text(textwrap.dedent(text))
    if os.geteuid() != 0:
        assert "sudo" in types(operator, "plan", code=FAILED_CHECK)
        return
    said = types(operator, "plan", "--full")
    assert "start container hubfleet-hello_web" in said
    assert "+<h1>Good morning</h1>" in said
    assert "hubfleet do check" in types(operator, "do")
    (operator / "hubfleet.yaml").write_text(f"{textwrap.dedent(text)}port: 99999\n")
    assert "hubfleet.yaml:4: port: is no TCP port. Try: port: 8080" in types(operator, "plan", code=WRONG)


def test_ours_are_registered_as_all_are() -> None:
    known = {point.name: point.value for point in entry_points(group=GROUP)}
    assert {name: known[name] for name in OWN} == OWN

"""Which files and which hub are meant; and what is said where that is not clear."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubfleet.deployer.files import Kind, is_deployer
from hubfleet.deployer.load import Selection, hubs, load, selected
from hubfleet.errors import ConfigError
from trios import CONFIGS, HOSTS, PASSWORDS, SMALL_CONFIGS, trio

ALL = "jupyterhub.prod.designsafe, jupyterhub.prod.sd2e, jupyterhub.staging.designsafe"


def refused(selection: Selection) -> str:
    with pytest.raises(ConfigError) as caught:
        load(selection, {})
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return trio(tmp_path, CONFIGS, HOSTS, PASSWORDS)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ((), f"ops.configs: the files describe 3 hubs: {ALL}. Try: -i prod -t designsafe"),
        (("jupyterhub",), f"ops.configs: the files describe 3 hubs: {ALL}. Try: -i prod -t designsafe"),
        (
            ("jupyterhub", "prd"),
            "no instance `prd` of jupyterhub in any of the files: did you mean `prod`? Try: -i prod or -i staging",
        ),
        (
            ("jupyterhub", "prod", "designsfe"),
            "no tenant `designsfe` of jupyterhub.prod in any of the files: did you mean `designsafe`? "
            "Try: -t designsafe or -t sd2e",
        ),
        (
            ("jupyterhub", "staging", "SD2E"),
            "no tenant `SD2E` of jupyterhub.staging in any of the files. Try: -t designsafe",
        ),
    ],
)
def test_a_hub_that_is_not_there(folder: Path, name: tuple[str, ...], message: str) -> None:
    assert refused(Selection(folder, name)) == message


def test_an_instance_is_a_hub_too_if_it_has_all_it_needs(folder: Path) -> None:
    told = refused(Selection(folder, ("jupyterhub", "staging")))
    assert "jupyterhub_host: is required, and is not in jupyterhub.staging, jupyterhub." in told
    assert "tenant: is required for a hub without a tenant in its name" in told


def test_a_hub_by_a_name_that_is_none(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        selected(folder, "jupyterhub.prod.designsfe")
    assert str(caught.value) == (
        "ops.configs: no hub `jupyterhub.prod.designsfe` here: did you mean `jupyterhub.prod.designsafe`? "
        "Try: -H jupyterhub.prod.designsafe or -H jupyterhub.prod.sd2e or -H jupyterhub.staging.designsafe"
    )


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("configs", "no .configs file is in {folder}. Try: -c FILE"),
        ("hosts", "no .hosts file is in {folder}. Try: -s FILE"),
    ],
)
def test_a_file_that_is_not_there(folder: Path, remove: str, message: str) -> None:
    (folder / f"ops.{remove}").unlink()
    assert refused(Selection(folder)) == message.replace("{folder}", str(folder))


@pytest.mark.parametrize(("kind", "option"), [("configs", "-c"), ("hosts", "-s"), ("passwords", "-z")])
def test_a_file_that_is_named_and_is_not_there(folder: Path, kind: Kind, option: str) -> None:
    message = f"none.{kind} not found. Try: {option} with the path of a .{kind} file"
    assert refused(Selection(folder, (), {kind: Path(f"none.{kind}")})) == message


def test_several_files_of_a_kind(folder: Path) -> None:
    (folder / "other.configs").write_text(SMALL_CONFIGS)
    message = f"2 .configs files are in {folder}: ops.configs, other.configs. Try: -c ops.configs"
    assert refused(Selection(folder)) == message


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_passwords_that_others_may_read(tmp_path: Path, mode: int) -> None:
    folder = trio(tmp_path, mode=mode)
    remedy = f"run chmod 600 {folder / 'ops.passwords'}"
    assert refused(Selection(folder)) == f"ops.passwords: others may read this file (mode {mode:04o}). Try: {remedy}"


def test_two_names_that_become_one(tmp_path: Path) -> None:
    folder = trio(tmp_path, SMALL_CONFIGS + SMALL_CONFIGS.replace("designsafe", "DesignSafe"))
    told = refused(Selection(folder, ("jupyterhub", "prod", "designsafe")))
    assert "jupyterhub.prod.designsafe and jupyterhub.prod.DesignSafe would both be hub jupyterhub.prod.desi" in told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("notebook_memory_limit", "-o: not in the form key=value&key=value, each key once. "),
        (
            "notebook_memory_limit=1G&notebook_memory_limit=2G",
            "-o: not in the form key=value&key=value, each key once. ",
        ),
        ("volume_mounts=[a", "-o: volume_mounts: not valid YAML. Try: put it in quotes"),
        ("notebook_memory_limits=1G", "-o: `notebook_memory_limits`: did you mean `notebook_memory_limit`? "),
        ("zz=1", "-o: zz: unknown property. Try: remove it, or one of "),
        ("notebook_memory_limit=x", "-o: notebook_memory_limit: `x` is not a size. Try: use 2G"),
        (
            "jupyterhub_oauth_client_secret=canary",
            "-o: jupyterhub_oauth_client_secret: on the command line, everybody on this machine can read a secret. ",
        ),
    ],
)
def test_bad_overrides(tmp_path: Path, text: str, message: str) -> None:
    told = refused(Selection(trio(tmp_path), (), {}, text))
    assert told.startswith(message)
    assert "canary" not in told


def test_files_of_other_projects_only(tmp_path: Path) -> None:
    folder = trio(tmp_path, "abaco.prod: {x: 1}\n", "abaco.prod: {hosts: []}\n", "")
    assert refused(Selection(folder)) == "ops.configs: no stanza of jupyterhub is here. Try: jupyterhub.prod: ..."
    with pytest.raises(ConfigError, match="no stanza of jupyterhub is here"):
        hubs(Selection(folder))


def test_what_is_a_file_of_deployer(tmp_path: Path) -> None:
    assert is_deployer(tmp_path)
    assert [is_deployer(Path(f"a.{end}")) for end in ("configs", "hosts", "passwords", "yaml")] == [True] * 3 + [False]

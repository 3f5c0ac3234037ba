"""`hubfleet deployer` and `hubfleet import`, as people type them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from command import Done, Terminal, run
from hubfleet.config import Secrets, load
from hubfleet.deployer.load import Selection
from hubfleet.deployer.load import load as load_deployer
from trios import CANARY, CONFIGS, HOSTS, PASSWORDS, SMALL_CONFIGS, SMALL_HOSTS, SMALL_PASSWORDS, small, trio

PROD = ("-p", "jupyterhub", "-i", "prod", "-t", "designsafe")
HUBS = ("jupyterhub.prod.designsafe", "jupyterhub.prod.sd2e", "jupyterhub.staging.designsafe")


def told(done: Done, code: int) -> str:
    """What was said, once it is known that nothing of it is secret."""
    assert done.code == code, done
    assert CANARY not in done.out + done.err
    assert "Traceback" not in done.err
    return done.err if code else done.out


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_there_is_to_do(tmp_path: Path) -> None:
    assert "id: jupyterhub\n" in told(run(tmp_path, "deployer", "list_projects"), 0)
    actions = "Available actions: ['deploy', 'update', 'check', 'plan', 'status', 'stop']\n"
    assert told(run(tmp_path, "deployer", "-p", "jupyterhub", "list_actions"), 0) == actions
    assert "\nVersion: 0." in told(run(tmp_path, "deployer", "version"), 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list_project"], "no command `list_project`: did you mean `list_projects`?"),
        (["-p", "jupyterhb", "list_actions"], "no project `jupyterhb`: did you mean `jupyterhub`? Try: -p jupyterhub"),
        (["-p", "abaco", "list_actions"], "project `abaco` is not part of this release. Try: -p jupyterhub"),
        ([*PROD], "no action is given. Try: -a deploy or -a update"),
        ([*PROD, "-a", "deplyo"], "jupyterhub has no action `deplyo`: did you mean `deploy`?"),
        (["-t", "designsafe", "-a", "plan"], "tenant designsafe is given without its instance. Try: -i prod"),
        ([*PROD, "-a", "plan", "-e", "none"], "none is not a directory. Try: leave out -e"),
        ([*PROD, "-a", "plan", "-s", "none.hosts"], "none.hosts not found. Try: -s with the path"),
        ([*PROD, "-a", "plan", "-d", "none.yml"], "none.yml not found"),
        (["-i", "prd", "-a", "plan"], "no instance `prd` of jupyterhub in any of the files: did you mean `prod`?"),
        ([*PROD, "-a", "plan", "-o", "tas_role_pass=x"], "-o: tas_role_pass: on the command line, everybody"),
    ],
)
def test_a_mistake_on_the_command_line(tmp_path: Path, words: list[str], message: str) -> None:
    trio(tmp_path)
    assert message in told(run(tmp_path, "deployer", *words), 2)


def test_every_mistake_of_the_files_is_told_at_once(tmp_path: Path) -> None:
    small(tmp_path, jupyter_user_image="a/b", notebook_memory_limit=f'"{CANARY[:3]}"', use_tas_gid="yes")
    lines = told(run(tmp_path, "deployer", *PROD, "-a", "deploy"), 2).splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"ops.configs:{number}" for number in (4, 5, 6)]


def test_without_its_machine_it_says_what_it_is_about_and_which_machine(tmp_path: Path) -> None:
    trio(tmp_path)
    done = run(tmp_path, "deployer", *PROD, "-a", "check", "-v")
    assert "hub1" in told(done, 8)
    rows = [line.split() for line in done.out.splitlines()]
    secret = ["jupyterhub_oauth_client_secret", "********", "ops.passwords:2", "(jupyterhub.prod.designsafe)"]
    assert ["jupyterhub_host", "hub.example.edu", "ops.configs:2", "(jupyterhub.prod.designsafe)"] in rows
    assert secret in rows


def test_nothing_that_is_not_shown_is_in_any_form_of_what_holds(tmp_path: Path) -> None:
    """Neither what another project means by a global property, nor what is written among the passwords."""
    hidden = (
        f"    tas_role_account: {CANARY}-role\n    tenant: {CANARY}-tenant\n"
        f"    jupyterhub_tenant_base_url: https://{CANARY}.example.edu\n"
        f"    hubfleet: {{servers: {{environment: {{WORD: {CANARY}-word}}}}}}\n    tas_role_pass: {CANARY}-tas\n"
    )
    configs = (
        f"mysql_root_password: {CANARY}-mysql\n{SMALL_CONFIGS}    use_tas_uid: true\n"
        "    volume_mounts: ['/work/{tenant_id}:/data:rw', '/work/plain:/plain:ro']\n"
    )
    trio(tmp_path, configs, passwords=f"{SMALL_PASSWORDS}{hidden}")
    done = run(tmp_path, "deployer", *PROD, "-a", "check", "-vv")
    told(done, 8)
    rows = [line.split() for line in done.out.splitlines()]
    assert ["mysql_root_password", "********", "ops.configs:1"] in rows
    for line in ("account: '********'", "tenant: '********'", "WORD: '********'", "- '********'"):
        assert line in done.out
    for line in ("- /work/plain:/plain:ro", "domain: hub.example.edu", "client_id: abc"):
        assert line in done.out, "what is in the open"


def test_a_deployment_file_says_what_is_meant(tmp_path: Path) -> None:
    trio(tmp_path, CONFIGS, HOSTS, PASSWORDS)
    given = tmp_path / "deployment.yml"
    given.write_text("project: jupyterhub\ninstance: prod\ntenant: sd2e\nconfigs: ops.configs\nactoin: plan\n")
    assert told(run(tmp_path, "deployer"), 2).startswith(
        "deployment.yml:5: `actoin` is unknown: did you mean `action`?"
    )
    given.write_text("project: jupyterhub\ninstance: prod\ntenant: sd2e\naction: check\nservers: none.hosts\n")
    assert "none.hosts not found" in told(run(tmp_path, "deployer"), 2)
    given.write_text("instance: prod\ntenant: none\naction: check\n")
    assert "no tenant `none`" in told(run(tmp_path, "deployer"), 2)
    assert "no tenant `zz`" in told(run(tmp_path, "deployer", "-t", "zz"), 2), "the command line wins"


@pytest.mark.parametrize("before", [("-c", "ops.configs"), ("-H", HUBS[0])])
def test_what_other_commands_have_before_them_is_not_passed_over(tmp_path: Path, before: tuple[str, ...]) -> None:
    trio(tmp_path)
    assert "-c and -H before `deployer` are of other commands" in told(
        run(tmp_path, *before, "deployer", "-a", "plan"), 2
    )


def test_every_other_command_takes_the_files_too(tmp_path: Path) -> None:
    trio(tmp_path, CONFIGS, HOSTS, PASSWORDS)
    message = f"the files describe 3 hubs: {', '.join(HUBS)}"
    assert message in told(run(tmp_path, "-c", "ops.configs", "plan"), 2)
    assert message in told(run(tmp_path, "-c", ".", "explain", "ada"), 2)
    assert "no hub `prod` here" in told(run(tmp_path, "-c", ".", "-H", "prod", "plan"), 2)


def test_a_client_is_registered_by_an_account_that_has_to_be_named(tmp_path: Path) -> None:
    trio(tmp_path)
    message = "login.tapis.account: who registers it is not written. Try: hubfleet: {login: {tapis: {account: ...}}}\n"
    assert message in told(run(tmp_path, "-c", "ops.configs", "oauth", "register"), 2)


def test_a_hub_that_is_to_be_registered_needs_no_client(tmp_path: Path) -> None:
    configs = SMALL_CONFIGS.replace("    jupyterhub_oauth_client_id: abc\n", "")
    trio(tmp_path, f"hubfleet: {{login: {{tapis: {{account: hub-service}}}}}}\n{configs}", passwords="")
    note = "note: ops.configs: the hub is no client of its tenant yet: `hubfleet oauth register` makes it one."
    assert note in told(run(tmp_path, "import", "."), 0)
    tapis = load(tmp_path / "hubfleet.yaml", environ={}).login.tapis
    assert tapis
    assert (tapis.account, tapis.client_id) == ("hub-service", None)


def test_import_of_one_hub(tmp_path: Path) -> None:
    folder = trio(tmp_path / "ops", CONFIGS, HOSTS, PASSWORDS)
    out = told(run(tmp_path, "import", "ops", "-i", "prod", "-t", "designsafe"), 0)
    assert "Wrote hubfleet.yaml: 1 hub.\nWrote hubfleet.secrets.yaml, readable by you only.\n" in out
    assert "note: ops.configs:9: worker_tasks_file: " in out
    assert out.endswith("Next: hubfleet plan. Deployer's files are not read any more.\n")
    config = load(tmp_path / "hubfleet.yaml", environ={})
    assert config == load_deployer(Selection(folder, tuple(HUBS[0].split("."))), {}).config
    assert config.machines["manager1"].ssh_key == folder / "my_ssh.key"
    assert CANARY not in (tmp_path / "hubfleet.yaml").read_text()
    secrets = tmp_path / "hubfleet.secrets.yaml"
    assert mode(secrets) == 0o600
    found = Secrets(secrets, environ={})
    assert [str(secret.reveal()) for name in ("client_secret", "owner_password") if (secret := found.get(name))] == [
        f"{CANARY}-prod",
        f"{CANARY}-tas",
    ]


def test_import_says_which_secret_was_not_there(tmp_path: Path) -> None:
    trio(tmp_path, passwords="")
    kept = tmp_path / "ops.secrets.yaml"
    kept.touch(0o600)
    kept.write_text(f"client_secret: {CANARY}\n")
    out = told(run(tmp_path, "import", "."), 0)
    assert f"note: client_secret of {HUBS[0]} is not in these files; hubfleet.secrets.yaml or the environment" in out
    assert not (tmp_path / "hubfleet.secrets.yaml").exists()


def test_import_of_all_hubs_to_another_place(tmp_path: Path) -> None:
    folder = trio(tmp_path / "ops", CONFIGS, HOSTS, PASSWORDS)
    (tmp_path / "new").mkdir()
    out = told(run(tmp_path, "-c", "new/hubs.yaml", "import", "ops"), 0)
    assert "Wrote new/hubs.yaml: 3 hubs.\nWrote new/hubs.secrets.yaml, readable by you only.\n" in out
    assert f"Next: hubfleet -c new/hubs.yaml -H {HUBS[0]} plan." in out
    for hub in HUBS:
        found = load_deployer(Selection(folder, tuple(hub.split("."))), {})
        assert load(tmp_path / "new/hubs.yaml", hub, {}) == found.config
        secrets = Secrets(tmp_path / "new/hubs.secrets.yaml", hub, {})
        assert {name: secrets.get(name) for name in found.given} == found.given
    assert (tmp_path / "new/hubs.yaml").read_text().count("everybody") == 1, "what all have is written once"


def test_import_names_files_from_where_it_writes(tmp_path: Path) -> None:
    folder = trio(tmp_path / "ops", f"{SMALL_CONFIGS}    hubfleet: {{network: {{ca_bundle: ca.pem}}}}\n")
    (folder / "ca.pem").touch()
    told(run(tmp_path, "import", "ops"), 0)
    assert load(tmp_path / "hubfleet.yaml", environ={}) == load_deployer(Selection(folder), {}).config


@pytest.mark.parametrize("present", ["hubfleet.yaml", "hubfleet.secrets.yaml"])
def test_import_replaces_nothing_without_a_yes(tmp_path: Path, present: str) -> None:
    trio(tmp_path)
    (tmp_path / present).write_text("mine")
    assert "Try: the same command with --yes" in told(run(tmp_path, "import", "."), 7)
    assert [path.name for path in tmp_path.glob("hubfleet*")] == [present]
    assert (tmp_path / present).read_text() == "mine"
    terminal = Terminal(tmp_path, "import", ".")
    terminal.await_text(f"Replace {present}?")
    terminal.type("n\n")
    assert terminal.end() == 7
    assert (tmp_path / present).read_text() == "mine"
    told(run(tmp_path, "import", ".", "--yes"), 0)
    assert load(tmp_path / "hubfleet.yaml", environ={}).domain == "hub.example.edu"
    assert mode(tmp_path / "hubfleet.secrets.yaml") == 0o600


def test_import_of_files_with_mistakes_writes_nothing(tmp_path: Path) -> None:
    wrong = CONFIGS.replace("notebook_memory_limit: 3G", "notebook_memory_limit: 3").replace("2G", "2")
    trio(tmp_path, wrong, HOSTS, PASSWORDS)
    lines = told(run(tmp_path, "import", "."), 2).splitlines()
    assert len(lines) == 2, "each hub's own, and what they share once"
    assert list(tmp_path.glob("hubfleet*")) == []
    assert "none is not a directory" in told(run(tmp_path, "import", "none"), 2)
    assert "Try: -c with the path of a new hubfleet.yaml" in told(run(tmp_path, "-c", "ops.configs", "import", "."), 2)
    assert "no .configs file" in told(run(tmp_path / "..", "import", str(tmp_path / "..")), 2)


def test_passwords_that_others_may_read_are_refused(tmp_path: Path) -> None:
    trio(tmp_path, mode=0o644)
    for words in (["deployer", *PROD, "-a", "plan"], ["import", "."], ["-c", ".", "plan"]):
        assert "ops.passwords: others may read this file (mode 0644)" in told(run(tmp_path, *words), 2)


def test_a_file_beside_the_others_is_found_from_where_the_command_is_run(tmp_path: Path) -> None:
    """As in the original: a key is named from there, wherever the file is that names it."""
    trio(tmp_path / "sub", hosts=f"ssh_key: keys/a.key\n{SMALL_HOSTS}")
    words = (
        "deployer",
        *PROD,
        "-a",
        "check",
        "-c",
        "sub/ops.configs",
        "-s",
        "sub/ops.hosts",
        "-z",
        "sub/ops.passwords",
    )
    assert "ssh_key: `keys/a.key` is not a file in" in told(run(tmp_path, *words), 2)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/a.key").touch(0o600)
    assert "ssh_key" not in told(run(tmp_path, *words), 8)


def test_of_several_projects_in_one_directory_the_given_one(tmp_path: Path) -> None:
    trio(tmp_path, f"{SMALL_CONFIGS}abaco.prod:\n    nonsense: [1]\n")
    told(run(tmp_path, "import", "."), 0)

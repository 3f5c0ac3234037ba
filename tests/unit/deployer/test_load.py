"""Deployer's files as they are: what a hub of them is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hubfleet.config import Config, explain
from hubfleet.config import load as load_yaml
from hubfleet.config.https import SECRETS
from hubfleet.deployer.load import Loaded, Selection, hubs, load, selected
from hubfleet.deployer.properties import PROPERTIES, TAS_URL
from hubfleet.deployer.write import texts
from hubfleet.errors import ConfigError
from hubfleet.units import Secret
from pairs import make_pair
from trios import CANARY, CONFIGS, HOSTS, PASSWORDS, SMALL_CONFIGS, SMALL_HOSTS, SMALL_PASSWORDS, small, trio

PROD, SD2E = ("jupyterhub", "prod", "designsafe"), ("jupyterhub", "prod", "sd2e")
STAGING = ("jupyterhub", "staging", "designsafe")


def of(folder: Path, *name: str, overrides: str = "", environ: dict[str, str] | None = None) -> Loaded:
    return load(Selection(folder, name, {}, overrides), environ or {})


def config_of(folder: Path, **properties: str) -> Config:
    return of(small(folder, **properties)).config


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return trio(tmp_path / "deployments", CONFIGS, HOSTS, PASSWORDS)


def test_a_hub_of_several_machines_with_tas(folder: Path) -> None:
    loaded = of(folder, *PROD)
    expected: dict[str, Any] = {
        "hub": "jupyterhub.prod.designsafe",
        "engine": "swarm",
        "machines": {
            "manager1": {"ssh": "root@203.0.113.10", "private_ip": "10.0.0.10", "roles": ["hub"]},
            "worker1": {"ssh": "root@203.0.113.11", "private_ip": "10.0.0.11", "roles": ["worker"]},
            "worker2": {"ssh": "centos@203.0.113.12", "roles": ["worker"]},
        },
        "domain": "jupyter.designsafe-ci.org",
        "https": "self-signed",
        "login": {
            "tapis": {"tenant": "designsafe", "version": 2, "client_id": "prodid"},
            "allow": {"everybody": True},
            "admins": [],
        },
        "servers": {
            "image": "taccsciapps/jupyteruser-ds:1.1.0",
            "memory": {"limit": "2G"},
            "stop_after_idle": "never",
            "default_url": "/tree",
        },
        "storage": {
            "homes": "none",
            "mounts": [
                "/corral-repl/designsafe/shared/{username}:/home/jupyter/MyData:rw",
                "/corral-repl/published:/home/jupyter/NHERI-Published:ro",
                "/work/{tas_homeDirectory}:/home/jupyter/tacc-work:rw",
                "/corral-repl/designsafe/shared/{username}:/home/{username}/MyData:rw",
                "/corral-repl/published:/home/{username}/NHERI-Published:ro",
                "/work/{tas_homeDirectory}:/home/{username}/tacc-work:rw",
            ],
            "owner": {"tas": {"account": "tas-ds", "url": TAS_URL}},
        },
    }
    for machine in expected["machines"].values():
        machine["ssh_key"] = "my_ssh.key"
    assert loaded.data == expected
    assert loaded.config.machines["worker2"].ssh_key == folder / "my_ssh.key"
    assert loaded.given == {"client_secret": Secret(f"{CANARY}-prod"), "owner_password": Secret(f"{CANARY}-tas")}
    assert loaded.secrets.get("owner_password") == Secret(f"{CANARY}-tas")


def test_a_hub_that_keeps_homes_and_names_its_tenant(folder: Path) -> None:
    loaded = of(folder, *SD2E)
    config = loaded.config
    tapis = config.login.tapis
    assert tapis
    assert (tapis.tenant, tapis.version, tapis.base, tapis.client_id) == ("sd2e", 2, "https://api.sd2e.org", "12345")
    assert {name: machine.ssh for name, machine in config.machines.items()} == {
        "hub": "root@sd2e.example.org",
        "w": "root@[2001:db8::7]",
    }
    assert config.machines["hub"].roles == ("hub",), "a role that Deployer gives by itself is none of ours"
    assert config.storage.homes
    assert config.storage.homes.share == "nfs"
    assert config.storage.owner.uid == 458981
    assert str(config.servers.memory.limit) == "8G"
    assert loaded.given == {"client_secret": Secret(f"{CANARY}-all")}


def test_a_hub_of_one_machine_from_hosts_of_its_instance(folder: Path) -> None:
    config = of(folder, *STAGING).config
    assert config.engine == "docker"
    assert {name: (one.ssh, one.roles) for name, one in config.machines.items()} == {"all": ("ubuntu@203.0.113.47", ())}
    assert config.servers.image == "taccsciapps/jupyteruser-ds:1.2.0rc9"
    assert (str(config.servers.stop_after_idle), config.servers.default_url) == ("3d", "/lab")
    assert (config.storage.owner.uid, config.storage.owner.gid) == (458981, 816877)


def test_what_is_not_used_is_said_and_what_is_not_ours_is_left_alone(folder: Path) -> None:
    notes = "\n".join(of(folder, *STAGING).notes)
    assert "ops.configs:37: jupyterhub_image: " in notes, "the most local one"
    assert "ops.configs:8: jupyterhub_config_py_template: " in notes
    assert "ops.configs:9: worker_tasks_file: " in notes
    assert "ops.configs:2: mail_host: not a property of jupyterhub" in notes
    assert "ops.passwords:1: mysql_root_password: not a property of jupyterhub" in notes
    assert "abaco" not in notes
    assert CANARY not in notes


def test_each_setting_knows_its_line(folder: Path) -> None:
    config = of(folder, *PROD).config
    assert config.where("servers.memory.limit") == "ops.configs:12"
    assert config.where("domain") == "ops.configs:16"
    assert config.where("storage.mounts.1") == config.where("storage.mounts.4") == "ops.configs:20"
    assert config.where("machines.worker2.ssh") == "ops.hosts:19"
    assert config.where("machines.worker2.ssh_key") == "ops.hosts:3"
    assert config.where("login.tapis") == "ops.configs:17", "where the client is"
    assert of(folder, *SD2E).config.where("login.tapis") == "ops.configs:28", "where its OAuth server is"
    sources = {row.path: row.source for row in explain(config, "ada")}
    assert sources["servers.memory.limit"] == "ops.configs:12 (jupyterhub.prod)"
    assert sources["storage.mounts"] == "ops.configs:18 (jupyterhub.prod.designsafe)"
    assert sources["storage.owner"] == "ops.configs:22 (jupyterhub.prod.designsafe)"


def test_what_holds_is_shown_without_secrets(folder: Path) -> None:
    rows = {row.name: (row.value, row.source) for row in of(folder, *PROD).properties}
    assert rows["notebook_memory_limit"] == ("2G", "ops.configs:12 (jupyterhub.prod)")
    assert rows["tas_role_pass"] == ("********", "ops.passwords:6 (jupyterhub.prod.designsafe)")
    assert rows["jupyterhub_oauth_client_secret"][0] == "********"
    assert CANARY not in repr(of(folder, *PROD))


def test_what_the_command_line_says_wins(folder: Path) -> None:
    text = "notebook_memory_limit=1G&notebook_offer_lab=yes&volume_mounts=[/a/b:/c:ro]&use_tas_uid=&use_tas_gid="
    loaded = of(folder, *PROD, overrides=text)
    assert str(loaded.config.servers.memory.limit) == "1G"
    assert loaded.config.servers.default_url == "/lab"
    assert [str(mount) for mount in loaded.config.storage.mounts] == ["/a/b:/c:ro"]
    assert loaded.config.storage.owner.uid == 458981, "the empty value took TAS away"
    assert loaded.config.where("servers.memory.limit") == "-o"


def test_all_hubs_of_a_directory(folder: Path) -> None:
    assert hubs(Selection(folder)) == [PROD, SD2E, STAGING]
    assert hubs(Selection(folder, ("jupyterhub", "prod"))) == [PROD, SD2E]


@pytest.mark.parametrize("hub", ["jupyterhub.staging.designsafe", "jupyterhub.Staging.designsafe"])
def test_a_hub_by_its_name(folder: Path, hub: str) -> None:
    assert selected(folder, hub).name == STAGING
    assert selected(folder / "ops.configs", hub).name == STAGING


def test_of_one_hub_no_name_is_needed(tmp_path: Path) -> None:
    assert of(trio(tmp_path)).config.hub == "jupyterhub.prod.designsafe"


def test_a_name_is_made_fit_for_a_hub(tmp_path: Path) -> None:
    put = [text.replace("prod.designsafe", "Prod_1.designsafe") for text in (SMALL_CONFIGS, SMALL_HOSTS)]
    folder = trio(tmp_path, *put, SMALL_PASSWORDS.replace("prod.designsafe", "Prod_1.designsafe"))
    assert of(folder, "jupyterhub", "Prod_1", "designsafe").config.hub == "jupyterhub.prod-1.designsafe"


def test_a_tenant_with_a_dot_has_a_stanza(tmp_path: Path) -> None:
    texts = [text.replace("designsafe", "araport.org") for text in (SMALL_CONFIGS, SMALL_HOSTS, SMALL_PASSWORDS)]
    folder = trio(tmp_path, "jupyterhub.prod:\n    notebook_memory_limit: 2G\n" + texts[0], *texts[1:])
    name = ("jupyterhub", "prod", "araport.org")
    assert hubs(Selection(folder)) == [name]
    assert selected(folder, "jupyterhub.prod.araport.org").name == name
    config = of(folder, *name).config
    assert config.hub == "jupyterhub.prod.araport.org"
    assert config.login.tapis
    assert (config.login.tapis.tenant, config.login.tapis.base) == ("araport.org", "https://api.araport.org")
    assert str(config.servers.memory.limit) == "2G", "of its instance"


def test_files_of_one_name_belong_together(tmp_path: Path) -> None:
    trio(tmp_path, name="a")
    trio(tmp_path, SMALL_CONFIGS.replace("hub.example", "b.example"), name="b")
    found = load(Selection(tmp_path, (), {"configs": tmp_path / "b.configs"}), {})
    assert found.config.domain == "b.example.edu"
    assert found.config.where("machines") == "b.hosts:1"


def test_a_certificate_and_its_key_are_secrets(tmp_path: Path) -> None:
    pair = make_pair("hub.example.edu")
    pem, key = (part.decode().replace("\n", "\n        ") for part in (pair.pem, pair.key_pem))
    folder = trio(
        tmp_path,
        f"{SMALL_CONFIGS}    jupyterhub_cert: |\n        {pem}\n",
        passwords=f"{SMALL_PASSWORDS}    jupyterhub_key: |\n        {key}\n",
    )
    loaded = of(folder)
    assert loaded.config.https == "secrets"
    assert [loaded.given[name].reveal() for name in SECRETS] == [pair.pem.decode(), pair.key_pem.decode()]


def test_a_tenant_of_tapis(tmp_path: Path) -> None:
    config = config_of(tmp_path, tenant="icicle", jupyterhub_tenant_base_url="https://icicleai.tapis.io")
    assert config.login.tapis
    assert (config.login.tapis.version, config.login.tapis.base) == (3, "https://icicleai.tapis.io")


@pytest.mark.parametrize(
    ("given", "uid", "gid", "by"),
    [
        ({}, None, None, "range"),
        ({"jupyteruser_uid": "2000"}, 2000, None, "uid"),
        ({"jupyteruser_uid": '"2000"', "jupyteruser_gid": "3000"}, 2000, 3000, "uid"),
        ({"use_tas_uid": "true"}, None, None, "tas"),
        ({"use_tas_uid": "true", "jupyteruser_uid": "2000", "jupyteruser_gid": "3000"}, None, None, "tas"),
        ({"use_tas_uid": "true", "use_tas_gid": "false", "jupyteruser_gid": "3000"}, None, 3000, "tas"),
        ({"use_tas_uid": "false", "jupyteruser_uid": "2000"}, 2000, None, "uid"),
    ],
)
def test_whose_the_files_are(tmp_path: Path, given: dict[str, str], uid: int | None, gid: int | None, by: str) -> None:
    passwords = f"{SMALL_PASSWORDS}    tas_role_pass: {CANARY}\n"
    more = {"tas_role_account": "hub-role", "tas_url_base": "https://tas.example.edu/api/v1", **given}
    lines = "".join(f"    {key}: {value}\n" for key, value in more.items())
    owner = of(trio(tmp_path, SMALL_CONFIGS + lines, passwords=passwords)).config.storage.owner
    assert (owner.uid, owner.gid, owner.kind) == (uid, gid, by)
    assert owner.tas is None or owner.tas.url == "https://tas.example.edu/api/v1"


@pytest.mark.parametrize(
    ("written", "more"),
    [
        ("[/a:/home/jupyter/x/y:ro]", ["/a:/home/{username}/x/y:ro"]),
        ("[/a:/home/jupyter/x:rw, /b:/home/jupyter/y:ro]", ["/a:/home/{username}/x:rw", "/b:/home/{username}/y:ro"]),
        ("[/a:/home/shared/data:ro, /b:/home/jupyters/x:ro]", []),
        ("['/a:/home/{username}/x:rw', /b:/home/jupyter/x:ro]", []),
        ("[/a:/data:ro]", []),
        ("[/a:/home/jupyter:rw]", []),
    ],
)
def test_what_was_in_the_home_of_the_images_user_is_in_ones_own(tmp_path: Path, written: str, more: list[str]) -> None:
    loaded = of(small(tmp_path, volume_mounts=written, jupyteruser_uid="2000"))
    mounts = [str(mount) for mount in loaded.config.storage.mounts]
    assert mounts[written.count(":") // 2 :] == more
    assert bool(loaded.notes) == ("jupyter:rw" in written)


def test_nothing_is_shown_in_homes_by_nfs(tmp_path: Path) -> None:
    hosts = SMALL_HOSTS.replace("[hub, worker]", "[hub]") + (
        "        - {host_id: w, ssh_host: 127.0.0.2, ssh_user: root, roles: [worker]}\n"
    )
    kept, mounted = "    use_stock_nfs: true\n", "    volume_mounts: [/a:/home/jupyter/x:ro]\n"
    loaded = of(trio(tmp_path, SMALL_CONFIGS + kept + mounted, hosts))
    assert [str(mount) for mount in loaded.config.storage.mounts] == ["/a:/home/jupyter/x:ro"]
    assert list(loaded.notes) == [
        "ops.configs:5: volume_mounts: /home/jupyter/x is not in people's own homes, too: "
        "nothing can be mounted inside homes that come by NFS."
    ]
    hidden = of(trio(tmp_path, SMALL_CONFIGS + kept, hosts, SMALL_PASSWORDS + mounted))
    assert hidden.notes[0].startswith("ops.passwords:3: volume_mounts: the directory is not in ")


def test_homes_of_one_machine_are_kept_there(tmp_path: Path) -> None:
    assert config_of(tmp_path).storage.homes is None
    homes = config_of(tmp_path, use_stock_nfs="true").storage.homes
    assert homes
    assert homes.share is None


@pytest.mark.parametrize(
    ("named", "image"),
    [
        ("quay.io/ours/hub:3", "quay.io/ours/hub:3"),
        ("taccsciapps/jupyterhub-ours:1", "taccsciapps/jupyterhub-ours:1"),
        ("taccsciapps/jupyterhub", None),
        ("docker.io/taccsciapps/jupyterhub:0.8.1", None),
    ],
)
def test_the_hub_is_built_on_the_image_that_is_named_unless_it_is_the_originals(
    tmp_path: Path, named: str, image: str | None
) -> None:
    loaded = of(small(tmp_path, jupyterhub_image=named))
    assert loaded.config.hub_image == image
    assert bool(loaded.notes) == (image is None)


def test_what_the_original_has_no_property_for(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    configs = (
        "hubfleet: {network: {proxy: 'http://proxy.example.edu:3128'}, base_image: 'debian:13-slim'}\n"
        "jupyterhub:\n    hubfleet:\n        login: {admins: [profx], allow: {everybody: null, users: [ada]}}\n"
        f"{SMALL_CONFIGS}    notebook_memory_limit: 1G\n"
        "    hubfleet:\n        servers: {memory: {limit: 2G}}\n        network: {ca_bundle: ca.pem}\n"
    )
    loaded = of(trio(tmp_path, configs))
    config = loaded.config
    assert config.network.proxy == "http://proxy.example.edu:3128"
    assert (config.network.ca_bundle, config.base_image) == (tmp_path / "ca.pem", "debian:13-slim")
    assert config.login.allow
    assert (config.login.admins, config.login.allow.users) == (("profx",), ("ada",))
    assert str(config.servers.memory.limit) == "2G", "it wins"
    assert config.where("servers.memory.limit") == "ops.configs:10"
    assert config.where("network.proxy") == "ops.configs:1"
    rows = {row.name: row.value for row in loaded.properties}
    assert rows["hubfleet"] == "servers.memory.limit: 2G, network.ca_bundle: ca.pem"
    told = of(tmp_path, overrides="hubfleet={servers: {memory: {limit: 3G}}}").config
    assert (str(told.servers.memory.limit), told.base_image) == ("3G", "debian:13-slim")


@pytest.mark.parametrize("written", ["0012345", "12_34", "12e4", "1.50", "0x1F", "007"])
def test_an_id_of_digits_is_what_is_written(tmp_path: Path, written: str) -> None:
    configs = f"{SMALL_CONFIGS.replace(': abc', f': {written}')}    jupyteruser_uid: 458_981\n"
    loaded = of(trio(tmp_path, configs, SMALL_HOSTS.replace("host_id: hub1", f"host_id: {written}")))
    assert loaded.config.login.tapis
    assert loaded.config.login.tapis.client_id == written
    assert {row.name: row.value for row in loaded.properties}["jupyterhub_oauth_client_id"] == written
    assert loaded.config.storage.owner.uid == 458981
    assert list(loaded.config.machines) == [written]
    (tmp_path / "hubfleet.yaml").write_text(texts([loaded], tmp_path)[0])
    assert load_yaml(tmp_path / "hubfleet.yaml", environ={}) == loaded.config
    given = of(tmp_path, overrides=f"jupyterhub_oauth_client_id={written}").config.login.tapis
    assert given
    assert given.client_id == written


def test_a_key_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/hub.key").touch(0o600)
    loaded = of(trio(tmp_path / "ops", hosts=f"ssh_key: ~/.ssh/hub.key\n{SMALL_HOSTS}"))
    assert loaded.config.machines["hub1"].ssh_key == tmp_path / ".ssh/hub.key"
    assert loaded.data["machines"]["hub1"]["ssh_key"] == str(tmp_path / ".ssh/hub.key")


def test_zero_is_never(tmp_path: Path) -> None:
    assert config_of(tmp_path, cull_idle_notebook_timeout="0").servers.stop_after_idle == "never"


def test_secrets_may_come_from_elsewhere(tmp_path: Path) -> None:
    folder = trio(tmp_path, passwords="")
    environ = {"HUBFLEET_SECRET_CLIENT_SECRET": CANARY}
    assert of(folder, environ=environ).secrets.get("client_secret") == Secret(CANARY)
    kept = folder / "ops.secrets.yaml"
    kept.write_text(f"client_secret: {CANARY}-kept\n")
    kept.chmod(0o600)
    assert of(folder).secrets.get("client_secret") == Secret(f"{CANARY}-kept")


def test_a_secret_may_come_from_a_command(tmp_path: Path) -> None:
    passwords = SMALL_PASSWORDS.replace(f"{CANARY}-small", f"!command printf %s {CANARY}-asked")
    loaded = of(trio(tmp_path, passwords=passwords))
    assert loaded.secrets.get("client_secret") == Secret(f"{CANARY}-asked")
    failing = of(trio(tmp_path, passwords=passwords.replace("printf", "false")))
    with pytest.raises(ConfigError, match=r"^ops.passwords:2: !command: `false` failed"):
        failing.secrets.get("client_secret")


def test_a_secret_beside_other_properties_in_a_private_file(tmp_path: Path) -> None:
    configs = f"{SMALL_CONFIGS}    jupyterhub_oauth_client_secret: {CANARY}\n"
    folder = trio(tmp_path, configs, passwords="")
    (folder / "ops.configs").chmod(0o600)
    assert of(folder).given == {"client_secret": Secret(CANARY)}


def test_a_more_local_host_wins_over_one_of_the_same_id(tmp_path: Path) -> None:
    hosts = (
        "ssh_user: root\n"
        "jupyterhub:\n    ssh_user: all\n    hosts: [{host_id: hub1, ssh_host: 192.0.2.1, roles: [hub]}]\n"
        "jupyterhub.prod.designsafe:\n    ssh_key: my_ssh.key\n    hosts:\n"
        "      - {host_id: hub1, ssh_host: 192.0.2.2}\n"
        "      - {host_id: w, ssh_host: 192.0.2.3, ssh_user: null, ssh_key: null, roles: [worker]}\n"
    )
    machines = of(trio(tmp_path, hosts=hosts)).config.machines
    assert {name: (one.ssh, one.roles) for name, one in machines.items()} == {
        "hub1": ("all@192.0.2.2", ("hub",)),
        "w": ("192.0.2.3", ("worker",)),
    }
    assert [bool(one.ssh_key) for one in machines.values()] == [True, False]


def test_every_property_of_the_original_is_known() -> None:
    named = """
        tenant jupyterhub_tenant_base_url jupyterhub_host jupyterhub_oauth_client_id jupyterhub_oauth_client_secret
        jupyterhub_cert jupyterhub_key volume_mounts jupyterhub_image jupyter_user_image jupyteruser_uid
        jupyteruser_gid use_tas_uid use_tas_gid tas_role_account tas_role_pass use_stock_nfs
        cull_idle_notebook_timeout notebook_memory_limit notebook_offer_lab jupyterhub_config_py_template
        worker_tasks_file
    """
    assert {*named.split(), "tas_url_base", "hubfleet"} == set(PROPERTIES)

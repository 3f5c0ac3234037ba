"""Whatever is wrong in Deployer's files has its sentence, with the file and the line, and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubfleet.deployer.load import Selection, load
from hubfleet.deployer.properties import PROPERTIES
from hubfleet.errors import ConfigError
from trios import CANARY, SMALL_CONFIGS, SMALL_HOSTS, SMALL_PASSWORDS, trio

STANZA = "jupyterhub.prod.designsafe"
KNOWN = f"one of {', '.join(PROPERTIES)}"


def configs(**properties: str) -> str:
    return SMALL_CONFIGS + "".join(f"    {key}: {value}\n" for key, value in properties.items())


def hosts(*entries: str) -> str:
    return f"{STANZA}:\n    hosts:\n" + "".join(f"        - {{{entry}}}\n" for entry in entries)


ONE = "host_id: hub1, ssh_host: 127.0.0.1, roles: [hub, worker]"

MISTAKES: dict[str, tuple[tuple[str, ...], str]] = {
    "a property that is nearly known": (
        (configs(jupyter_user_imag="a:1"),),
        "ops.configs:4: `jupyter_user_imag`: did you mean `jupyter_user_image`? Try: jupyter_user_image: ...",
    ),
    "an unknown property": (
        (configs(zzz="a:1"),),
        f"ops.configs:4: zzz: unknown property. Try: remove it, or {KNOWN}",
    ),
    "a global property that is nearly known": (
        ("notebook_memory_limits: 3G\n" + SMALL_CONFIGS,),
        "ops.configs:1: `notebook_memory_limits`: did you mean `notebook_memory_limit`? "
        "Try: notebook_memory_limit: ...",
    ),
    "a property twice": (
        (SMALL_CONFIGS + "    jupyterhub_host: a.example.edu\n",),
        "ops.configs:4: `jupyterhub_host` twice: lines 2, 4. Try: keep one of them",
    ),
    "no name of the hub": (
        (SMALL_CONFIGS.replace("    jupyterhub_host: hub.example.edu\n", ""),),
        "ops.configs: jupyterhub_host: is required, and is not in jupyterhub.prod.designsafe, "
        "jupyterhub.prod, jupyterhub. Try: jupyterhub_host: hub.example.edu",
    ),
    "no client": (
        (SMALL_CONFIGS.replace("    jupyterhub_oauth_client_id: abc\n", ""),),
        "ops.configs: jupyterhub_oauth_client_id: is required, and is not in jupyterhub.prod.designsafe, "
        "jupyterhub.prod, jupyterhub. Try: jupyterhub_oauth_client_id: 4f1c0a9e7b",
    ),
    "no secret": (
        (SMALL_CONFIGS, SMALL_HOSTS, ""),
        "ops.configs: jupyterhub_oauth_client_secret: is required, and is not in jupyterhub.prod.designsafe, "
        "jupyterhub.prod, jupyterhub. "
        "Try: jupyterhub_oauth_client_secret: ... in a .passwords file (mode 0600)",
    ),
    "an address for a name": (
        (configs().replace("hub.example.edu", "https://hub.example.edu"),),
        "ops.configs:2: jupyterhub_host: `https://hub.example.edu`: give the name only. Try: hub.example.edu",
    ),
    "a secret that others may read": (
        (configs(jupyterhub_oauth_client_secret="canary"), SMALL_HOSTS, ""),
        "ops.configs:4: jupyterhub_oauth_client_secret: a secret, and others may read this file. "
        "Try: move it to a .passwords file, with mode 0600",
    ),
    "a property in two files": (
        (configs(tenant="designsafe"), SMALL_HOSTS, SMALL_PASSWORDS + "    tenant: designsafe\n"),
        "ops.passwords:3: tenant: is at ops.configs:4 too. Try: keep one of them",
    ),
    "a tenant that nobody knows": (
        (configs(tenant="designsfe"),),
        "ops.configs:4: tenant: `designsfe` is none of the standard tenants, and its OAuth server is not "
        "named: did you mean `designsafe`? Try: jupyterhub_tenant_base_url: https://agave.example.edu",
    ),
    "the same among the passwords": (
        (SMALL_CONFIGS, SMALL_HOSTS, SMALL_PASSWORDS + "    tenant: " + CANARY + "\n"),
        "ops.passwords:3: tenant: it is none of the standard tenants, and its OAuth server is not named. "
        "Try: jupyterhub_tenant_base_url: https://agave.example.edu",
    ),
    "a tenant like a path": (
        (configs(tenant='"../x"', jupyterhub_tenant_base_url="https://a.example.edu"),),
        "ops.configs:4: tenant: `../x` is not the id of a tenant. Try: tenant: designsafe",
    ),
    "an OAuth server without encryption": (
        (configs(tenant="x", jupyterhub_tenant_base_url="http://a.example.edu"),),
        "ops.configs:5: jupyterhub_tenant_base_url: `http://a.example.edu` would send a secret unencrypted. "
        "Try: https://a.example.edu",
    ),
    "an OAuth server with a password": (
        (configs(tenant="x", jupyterhub_tenant_base_url="https://canary:canary@a.example.edu"),),
        "ops.configs:5: jupyterhub_tenant_base_url: an address holds no name or password. "
        "Try: take out what is before the `@`",
    ),
    "a certificate that is none": (
        (configs(jupyterhub_cert="abc"),),
        "ops.configs:4: jupyterhub_cert: not in PEM form, which begins with -----BEGIN ... "
        "Try: the file's whole content, in lines below `|`\n"
        "ops.configs:4: jupyterhub_cert: is there without `jupyterhub_key`. "
        "Try: jupyterhub_key: |, or neither: self-signed",
    ),
    "a certificate without a key": (
        (SMALL_CONFIGS + "    jupyterhub_cert: |\n      -----BEGIN CERTIFICATE-----\n",),
        "ops.configs:4: jupyterhub_cert: is there without `jupyterhub_key`. "
        "Try: jupyterhub_key: |, or neither: self-signed",
    ),
    "a key that is none": (
        (SMALL_CONFIGS, SMALL_HOSTS, SMALL_PASSWORDS + "    jupyterhub_key: canary\n"),
        "ops.passwords:3: jupyterhub_key: not in the form that is expected here (the value is not shown)\n"
        "ops.passwords:3: jupyterhub_key: is there without `jupyterhub_cert`. "
        "Try: jupyterhub_cert: |, or neither: self-signed",
    ),
    "mounts that are no list": (
        (configs(volume_mounts="/a:/b:ro"),),
        "ops.configs:4: volume_mounts: must be a list of texts. Try: - /host/path:/path/in/server:ro, one in a line",
    ),
    "mounts": (
        (
            configs(
                volume_mounts="[/a:/b, '/a:/b:rx'"
                ", '/a/{usrname}:/b:ro', '/a/{tas_homeDirectory}:/b:ro', 'a:/home/jupyter/b:ro', '/etc:/b:ro']"
            ),
        ),
        "ops.configs:4: volume_mounts: {tas_homeDirectory} needs TAS, which knows it. Try: use_tas_uid: true\n"
        "ops.configs:4: volume_mounts: `/a:/b` is not a mount. Try: /host/path:/path/in/server:ro (or :rw)\n"
        "ops.configs:4: volume_mounts: `/a:/b:rx` is not a mount. "
        "Try: /host/path:/path/in/server:ro (or :rw)\n"
        "ops.configs:4: volume_mounts: unknown variable {usrname}: did you mean {username}? "
        "Try: {username}, {hub}, {tenant_id} or {tas_homeDirectory}\n"
        "ops.configs:4: volume_mounts: `a` must be absolute, without `..`. Try: /srv/data\n"
        "ops.configs:4: volume_mounts: `/etc` refused: gives users the host. "
        "Try: a directory made for users, such as /srv/data",
    ),
    "an image without a version": (
        (configs(jupyter_user_image="a/b"),),
        "ops.configs:4: jupyter_user_image: `a/b` means another image every week. "
        "Try: pin a version, such as name:2026-10-01",
    ),
    "the latest image": (
        (configs(jupyter_user_image="a/b:latest"),),
        "ops.configs:4: jupyter_user_image: `a/b:latest` means another image every week. "
        "Try: pin a version, such as name:2026-10-01",
    ),
    "a low user id": (
        (configs(jupyteruser_uid="500"),),
        "ops.configs:4: jupyteruser_uid: `500` is below 1000, where machines have accounts of their own. Try: 458981",
    ),
    "a low group id": (
        (configs(jupyteruser_uid="458981", jupyteruser_gid="100"),),
        "ops.configs:5: jupyteruser_gid: `100` is below 1000, where machines have accounts of their own. Try: 458981",
    ),
    "a merge key": (
        (f"base: &base\n    tenant: designsafe\n{SMALL_CONFIGS}    <<: *base\n",),
        "ops.configs:6: `<<` is not used here. Try: groups (for people) or defaults (for hubs)",
    ),
    "root": (
        (configs(jupyteruser_uid="0"),),
        "ops.configs:4: jupyteruser_uid: `0` is below 1000, where machines have accounts of their own. Try: 458981",
    ),
    "a user id that is none": (
        (configs(jupyteruser_uid="x"),),
        "ops.configs:4: jupyteruser_uid: `x` is not a whole number. Try: a number such as 259200",
    ),
    "nobody": (
        (configs(jupyteruser_uid="65534"),),
        "ops.configs:4: jupyteruser_uid: `65534` cannot be anybody's id. Try: a number such as 1000",
    ),
    "a group id alone": (
        (configs(jupyteruser_gid="5000"),),
        "ops.configs:4: jupyteruser_gid: goes with jupyteruser_uid. Try: jupyteruser_uid: 458981",
    ),
    "neither true nor false": (
        (configs(use_tas_uid="maybe"),),
        "ops.configs:4: use_tas_uid: `maybe` is neither true nor false. Try: true",
    ),
    "TAS without an account": (
        (configs(use_tas_uid="true"),),
        "ops.configs:4: use_tas_uid: needs `tas_role_account`. Try: tas_role_account: hub-role\n"
        "ops.configs:4: use_tas_uid: needs `tas_role_pass`. Try: write it into a .passwords file",
    ),
    "TAS for groups alone": (
        (configs(use_tas_gid="true"),),
        "ops.configs:4: use_tas_gid: goes with use_tas_uid. Try: use_tas_uid: true, or remove it",
    ),
    "TAS without groups": (
        (
            configs(use_tas_uid="true", use_tas_gid="false", tas_role_account="a"),
            SMALL_HOSTS,
            SMALL_PASSWORDS + "    tas_role_pass: canary\n",
        ),
        "ops.configs:5: use_tas_gid: no other group id is known. Try: use_tas_gid: true, or jupyteruser_gid: 816877",
    ),
    "settings that are none": (
        ("hubfleet: 3\n" + configs(hubfleet="{servers: {memry: {limit: 1G}}, hub: x}"),),
        "ops.configs:1: hubfleet: must hold settings of a hubfleet.yaml. Try: {network: {fleet: {encrypted: false}}}\n"
        "ops.configs:5: hubfleet: the name of a hub is that of its stanza. Try: remove `hub`",
    ),
    "an unknown setting": (
        (configs(hubfleet="{servers: {memry: {limit: 1G}}}"),),
        "ops.configs:4: servers: `memry`: did you mean `memory`?",
    ),
    "a short time": (
        (configs(cull_idle_notebook_timeout="60"),),
        "ops.configs:4: cull_idle_notebook_timeout: `60` is below the hub's 5-minute activity interval. "
        "Try: 600 seconds or more, or 0 for never",
    ),
    "a time with a unit": (
        (configs(cull_idle_notebook_timeout="2h"),),
        "ops.configs:4: cull_idle_notebook_timeout: `2h` is not a whole number. Try: a number such as 259200",
    ),
    "a size that is none": (
        (configs(notebook_memory_limit="3 GB"),),
        "ops.configs:4: notebook_memory_limit: `3 GB` is not a size. Try: use 3G",
    ),
    "a small size": (
        (configs(notebook_memory_limit="1M"),),
        "ops.configs:4: notebook_memory_limit: `1M` is too little for a server. Try: use 1G",
    ),
    "a size among the passwords": (
        (SMALL_CONFIGS, SMALL_HOSTS, SMALL_PASSWORDS + "    notebook_memory_limit: " + CANARY + "\n"),
        "ops.passwords:3: notebook_memory_limit: not in the form that is expected here (the value is not shown)",
    ),
    "a name among the passwords": (
        (
            SMALL_CONFIGS.replace("    jupyterhub_host: hub.example.edu\n", ""),
            SMALL_HOSTS,
            SMALL_PASSWORDS + "    jupyterhub_host: https://" + CANARY + "/\n",
        ),
        "ops.passwords:3: jupyterhub_host: not in the form that is expected here (the value is not shown)",
    ),
    "a stanza with too many parts": (
        (SMALL_CONFIGS.replace("prod.designsafe", "prod.designsafe.x"),),
        "ops.configs:1: jupyterhub.prod.designsafe.x: is not a stanza, for `designsafe.x` is none of the standard "
        "tenants. Try: jupyterhub.prod.designsafe:, and `tenant: designsafe.x` in it",
    ),
    "a stanza with an empty part": (
        (SMALL_CONFIGS.replace("prod.designsafe", "prod."),),
        "ops.configs:1: jupyterhub.prod.: is not a stanza. Try: jupyterhub.prod.designsafe",
    ),
    "a stanza of a project that is nearly known": (
        (SMALL_CONFIGS.replace("jupyterhub.prod", "jupyterhb.prod"),),
        "ops.configs:1: jupyterhb.prod.designsafe: no project `jupyterhb`: did you mean `jupyterhub`? "
        "Try: jupyterhub.prod",
    ),
    "a stanza without properties": (
        (SMALL_CONFIGS + "jupyterhub: 3\n",),
        "ops.configs:4: jupyterhub: must hold properties. Try: name: value, in lines below it",
    ),
    "no hosts": (
        (SMALL_CONFIGS, "ssh_user: root\n"),
        "ops.hosts: no host for jupyterhub.prod.designsafe. "
        "Try: jupyterhub.prod.designsafe: {hosts: [{host_id: hub1, ssh_host: 203.0.113.10, roles: [hub, "
        "worker]}]}",
    ),
    "hosts of nobody": (
        (SMALL_CONFIGS, "hosts: []\n" + SMALL_HOSTS),
        "ops.hosts:1: hosts: belong to a stanza, which says whose they are. Try: jupyterhub.prod: {hosts: [...]}",
    ),
    "hosts that are no list": (
        (SMALL_CONFIGS, f"{STANZA}:\n    hosts: {{a: b}}\n"),
        "ops.hosts:2: hosts: must be a list. Try: - host_id: hub1, and ssh_host, roles in the lines below",
    ),
    "a host that is no map": (
        (SMALL_CONFIGS, f"{STANZA}:\n    hosts: [a]\n"),
        "ops.hosts:2: hosts: a host is a map. Try: - {host_id: hub1, ssh_host: 203.0.113.10}",
    ),
    "a host without an id": (
        (SMALL_CONFIGS, hosts("ssh_host: 127.0.0.1, roles: [hub, worker]")),
        "ops.hosts:3: host_id: is required. Try: letters, digits, `-` and `_`: hub1",
    ),
    "a host with a strange id": (
        (SMALL_CONFIGS, hosts("host_id: a/b, ssh_host: 127.0.0.1, roles: [hub, worker]")),
        "ops.hosts:3: host_id: `a/b` is not the name of a host. Try: letters, digits, `-` and `_`: hub1",
    ),
    "a host without an address": (
        (SMALL_CONFIGS, hosts("host_id: a, roles: [hub, worker]")),
        "ops.hosts:3: ssh_host: a has none, and is not to be reached. Try: ssh_host: 203.0.113.10",
    ),
    "a host with a strange address": (
        (SMALL_CONFIGS, hosts("host_id: a, ssh_host: 'a b', roles: [hub, worker]")),
        "ops.hosts:3: ssh_host: `a b` is neither an address nor the name of a host. "
        "Try: 203.0.113.10, or a Host of the file that `ssh_config` names",
    ),
    "a host with a port": (
        (SMALL_CONFIGS, hosts("host_id: a, ssh_host: 'host:2222', ssh_user: root, roles: [hub, worker]")),
        "ops.hosts:3: ssh_host: `host:2222` has a port. "
        "Try: ssh_config: FILE, with `Host host` and `Port 2222` in that file",
    ),
    "a host with a port in other ways": (
        (
            SMALL_CONFIGS,
            hosts(
                "host_id: a, ssh_host: 'ssh://root@203.0.113.7:22', roles: [hub]",
                "host_id: b, ssh_host: '[2001:db8::7]:2222', roles: [worker]",
            ),
        ),
        "ops.hosts:3: ssh_host: `ssh://root@203.0.113.7:22` has a port. "
        "Try: ssh_config: FILE, with `Host 203.0.113.7` and `Port 22` in that file\n"
        "ops.hosts:4: ssh_host: `[2001:db8::7]:2222` has a port. "
        "Try: ssh_config: FILE, with `Host 2001:db8::7` and `Port 2222` in that file",
    ),
    "a host with a strange user": (
        (SMALL_CONFIGS, hosts("host_id: a, ssh_host: a, ssh_user: 'a b', roles: [hub, worker]")),
        "ops.hosts:3: ssh_user: `a b` is not the name of an account. Try: ssh_user: ubuntu",
    ),
    "a host with two users": (
        (SMALL_CONFIGS, hosts("host_id: a, ssh_host: root@a, ssh_user: ubuntu, roles: [hub, worker]")),
        "ops.hosts:3: ssh_host: `root@a` names a user, and ssh_user does so too. Try: ssh_host: a",
    ),
    "a key that is not there": (
        (SMALL_CONFIGS, hosts("host_id: a, ssh_host: a, ssh_key: none.key, roles: [hub, worker]")),
        "ops.hosts:3: ssh_key: `none.key` is not a file in {folder}. Try: ls -l {folder}/none.key",
    ),
    "a host without a role": (
        (SMALL_CONFIGS, hosts("host_id: a, ssh_host: a")),
        "ops.hosts:3: roles: a has none. Try: roles: [hub] or roles: [worker]",
    ),
    "a role that is no list": (
        (SMALL_CONFIGS, hosts("host_id: a, ssh_host: a, roles: hub")),
        "ops.hosts:3: roles: must be a list. Try: [hub] or [worker]",
    ),
    "a role that is nearly known": (
        (SMALL_CONFIGS, hosts("host_id: a, ssh_host: a, roles: [hub, wroker]")),
        "ops.hosts:3: roles: `wroker` is not a role: did you mean `worker`? Try: hub or worker",
    ),
    "a key of a host that is nearly known": (
        (SMALL_CONFIGS, hosts(ONE + ", private_pi: 10.0.0.1")),
        "ops.hosts:3: `private_pi`: did you mean `private_ip`? "
        "Try: one of ssh_host, ssh_user, ssh_key, ssh_config, private_ip, roles, host_id",
    ),
    "an address that is none": (
        (SMALL_CONFIGS, hosts(ONE + ", private_ip: 10.0.0")),
        "ops.hosts:3: private_ip: `10.0.0` is not an IP address. Try: 10.0.0.10",
    ),
    "two hubs": (
        (
            SMALL_CONFIGS,
            hosts("host_id: a, ssh_host: a, roles: [hub, worker]", "host_id: b, ssh_host: b, roles: [hub]"),
        ),
        "ops.hosts:4: roles: `hub` is what a is already. Try: one machine with role hub",
    ),
    "no hub": (
        (SMALL_CONFIGS, hosts("host_id: a, ssh_host: a, roles: [worker]", "host_id: b, ssh_host: b, roles: [worker]")),
        "ops.hosts:1: hosts: no machine has the role `hub`. Try: roles: [hub] for one of them",
    ),
    "no worker": (
        (SMALL_CONFIGS, hosts("host_id: a, ssh_host: a, roles: [hub]", "host_id: b, ssh_host: b, roles: [storage]")),
        "ops.hosts:1: hosts: no machine has the role `worker`. Try: roles: [hub, worker] or roles: [worker]",
    ),
    "no worker on the only host": (
        (SMALL_CONFIGS, hosts("host_id: a, ssh_host: a, roles: [hub]")),
        "ops.hosts:3: roles: a is the only host, and has not the role `worker`. Try: roles: [hub, worker]",
    ),
    "one machine under two names": (
        (SMALL_CONFIGS, hosts("host_id: a, ssh_host: a, roles: [hub]", "host_id: b, ssh_host: a, roles: [worker]")),
        "ops.hosts:4: ssh_host: `a` is a's too. Try: one machine with roles: [hub, edge], or another address",
    ),
    "homes beside servers": (
        (
            configs(use_stock_nfs="true"),
            hosts("host_id: a, ssh_host: a, roles: [hub, worker]", "host_id: b, ssh_host: b, roles: [worker]"),
        ),
        "ops.configs:4: use_stock_nfs: a would have the homes and users' servers, and cannot mount its own "
        "disk by NFS. Try: no role worker for a",
    ),
    "a bracket that is open": (
        (SMALL_CONFIGS + "    volume_mounts: [a\n",),
        "ops.configs:4: not valid YAML: this `[` is never closed. Try: add the `]` that ends it",
    ),
    "a bracket that is open among the passwords": (
        (SMALL_CONFIGS, SMALL_HOSTS, SMALL_PASSWORDS + "   tas_role_pass: [canary\n"),
        "ops.passwords:3: not valid YAML: this `[` is never closed. Try: add the `]` that ends it",
    ),
    "a tab": (
        (SMALL_CONFIGS + "\tx: y\n",),
        "ops.configs:4: a tab before the text. Try: use spaces",
    ),
    "an alias of nothing": (
        (SMALL_CONFIGS + "    <<: *x\n",),
        "ops.configs:4: not valid YAML: found undefined alias 'x'. Try: check colons, quotes and indentation",
    ),
    "a secret that is a list": (
        (SMALL_CONFIGS, SMALL_HOSTS, "jupyterhub.prod.designsafe:\n    jupyterhub_oauth_client_secret: [canary]\n"),
        "ops.passwords:2: jupyterhub_oauth_client_secret: not in the form that is expected here (the value "
        "is not shown)",
    ),
    "a long name": (
        tuple(
            x.replace("designsafe", "d" * 40)
            for x in (configs(jupyterhub_tenant_base_url="a.edu"), SMALL_HOSTS, SMALL_PASSWORDS)
        ),
        "jupyterhub.prod.dddddddddddddddddddddddddddddddddddddddd: "
        "`jupyterhub.prod.dddddddddddddddddddddddddddddddddddddddd` is not a hub name. "
        "Try: physics101 or prod.physics: lower-case letters, digits, `-`, dots between parts, 40 at most",
    ),
    "several mistakes at once": (
        (configs(notebook_memory_limit="x", zz="1", jupyter_user_image="a", use_tas_uid="q"),),
        "ops.configs:4: notebook_memory_limit: `x` is not a size. Try: use 2G\n"
        f"ops.configs:5: zz: unknown property. Try: remove it, or {KNOWN}\n"
        "ops.configs:6: jupyter_user_image: `a` means another image every week. "
        "Try: pin a version, such as name:2026-10-01\n"
        "ops.configs:7: use_tas_uid: `q` is neither true nor false. Try: true",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_message(mistake: str, tmp_path: Path) -> None:
    files, message = MISTAKES[mistake]
    with pytest.raises(ConfigError) as caught:
        load(Selection(trio(tmp_path, *files)), {})
    assert str(caught.value) == message.replace("{folder}", str(tmp_path))
    assert caught.value.exit_code == 2
    assert "canary" not in repr(caught.value)

"""Directories with Deployer's files, for tests."""

from __future__ import annotations

from pathlib import Path

CANARY = "canary-5d0e"

CONFIGS = """\
---
mail_host: mail.example.edu

jupyterhub:
    jupyterhub_image: taccsciapps/jupyterhub:0.8.0
    jupyter_user_image: taccsciapps/jupyteruser-ds:1.1.0
    use_stock_nfs: false
    jupyterhub_config_py_template: jupyterhub_config_0.8.py.j2
    worker_tasks_file: designsafe.yml

jupyterhub.prod:
    notebook_memory_limit: 2G
    jupyteruser_uid: 458981

jupyterhub.prod.designsafe:
    jupyterhub_host: jupyter.designsafe-ci.org
    jupyterhub_oauth_client_id: prodid
    volume_mounts:
      - /corral-repl/{tenant_id}/shared/{username}:/home/jupyter/MyData:rw
      - /corral-repl/published:/home/jupyter/NHERI-Published:ro
      - /work/{tas_homeDirectory}:/home/jupyter/tacc-work:rw
    use_tas_uid: yes
    use_tas_gid: yes
    tas_role_account: tas-ds

jupyterhub.prod.sd2e:
    tenant: SD2E
    jupyterhub_tenant_base_url: api.sd2e.org/
    jupyterhub_host: jupyter.sd2e.org
    jupyterhub_oauth_client_id: 12345
    use_stock_nfs: true
    notebook_memory_limit: 8G

jupyterhub.staging.designsafe:
    jupyterhub_host: staging.designsafe-ci.org
    jupyterhub_oauth_client_id: stagingid
    jupyterhub_image: taccsciapps/jupyterhub:0.8.1
    jupyter_user_image: taccsciapps/jupyteruser-ds:1.2.0rc9
    cull_idle_notebook_timeout: 259200
    notebook_memory_limit: 3G
    notebook_offer_lab: True
    jupyteruser_uid: 458981
    jupyteruser_gid: 816877

abaco.prod:
    notebook_memory_limit: 1T
    jupyterhub_hots: typing.example.org
agave:
    agave_mysql_host: 10.0.0.9
"""

HOSTS = """\
---
ssh_user: root
ssh_key: my_ssh.key

jupyterhub.prod.designsafe:
    cloud: roundup
    hosts:
        - host_id: manager1
          ssh_host: 203.0.113.10
          private_ip: 10.0.0.10
          roles:
            - hub
        - host_id: worker1
          ssh_host: 203.0.113.11
          private_ip: 10.0.0.11
          roles:
            - worker
        - host_id: worker2
          ssh_host: 203.0.113.12
          ssh_user: centos
          roles:
            - worker

jupyterhub.prod.sd2e:
    hosts:
        - {host_id: hub, ssh_host: sd2e.example.org, private_ip: 10.1.0.1, roles: [hub, swarm_manager]}
        - {host_id: w, ssh_host: "2001:db8::7", private_ip: 10.1.0.2, roles: [worker]}

jupyterhub.staging:
    cloud: jetstream
    ssh_user: ubuntu
    hosts:
        - host_id: all
          ssh_host: 203.0.113.47
          roles: [hub, worker]

abaco.prod:
    hosts:
        - {host_id: abaco1, ssh_host: 203.0.113.99, roles: [mongo]}
"""

PASSWORDS = f"""\
mysql_root_password: {CANARY}-mysql
jupyterhub:
    jupyterhub_oauth_client_secret: {CANARY}-all
jupyterhub.prod.designsafe:
    jupyterhub_oauth_client_secret: {CANARY}-prod
    tas_role_pass: {CANARY}-tas
abaco.prod:
    jupyterhub_oauth_client_secret: {CANARY}-abaco
"""

# One hub on one machine, for what is the same with all.
SMALL_CONFIGS = """\
jupyterhub.prod.designsafe:
    jupyterhub_host: hub.example.edu
    jupyterhub_oauth_client_id: abc
"""
SMALL_HOSTS = """\
jupyterhub.prod.designsafe:
    hosts:
        - {host_id: hub1, ssh_host: 127.0.0.1, ssh_user: root, roles: [hub, worker]}
"""
SMALL_PASSWORDS = f"jupyterhub.prod.designsafe:\n    jupyterhub_oauth_client_secret: {CANARY}-small\n"


def trio(
    folder: Path,
    configs: str = SMALL_CONFIGS,
    hosts: str = SMALL_HOSTS,
    passwords: str = SMALL_PASSWORDS,
    name: str = "ops",
    mode: int = 0o600,
) -> Path:
    """Write the files, and a key; the folder."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.configs").write_text(configs)
    (folder / f"{name}.hosts").write_text(hosts)
    (folder / "my_ssh.key").touch(0o600)
    if passwords:
        (folder / f"{name}.passwords").write_text(passwords)
        (folder / f"{name}.passwords").chmod(mode)
    return folder


def small(folder: Path, **properties: str) -> Path:
    """One hub with more properties, each as YAML has it."""
    lines = [f"    {key}: {value}\n" for key, value in properties.items()]
    return trio(folder, SMALL_CONFIGS + "".join(lines))

"""Deployer's files, deployed to real machines by the command that they were written for, and used by somebody.

The hub is on one machine and servers on another, where the file system of everybody's work is mounted.

The tenant and its accounting service are servers of this machine, known by an authority of the site's, which the image
that the files name for the hub trusts. One hub for all, and the tests build on each other.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import dockerd
import pytest
from hubs_there import HubThere
from machines import Lab, Machine
from stock import stocked
from visitors import Visitor

import needs
import providers
import services
from command import Done, run
from hubfleet.config.models import Config
from pairs import Pair, make_pair
from providers import Agave
from services import Tas
from trios import trio

pytestmark = needs.machines()

HUB = "jupyterhub.prod.designsafe"
DEPLOYER = ("deployer", "-p", "jupyterhub", "-i", "prod", "-t", "designsafe", "-a")
SITE_HUB, SITE_USER = "site/hub:1", "site/user:1"
CONFIGS = """\
jupyterhub:
    jupyterhub_image: {SITE_HUB}
    jupyter_user_image: {SITE_USER}
    jupyterhub_config_py_template: jupyterhub_config_0.8.py.j2
    cull_idle_notebook_timeout: 259200
jupyterhub.prod:
    notebook_memory_limit: 256M
    hubfleet: {{network: {{fleet: {{encrypted: false}}}}}}
jupyterhub.prod.designsafe:
    jupyterhub_tenant_base_url: {tenant}
    jupyterhub_host: {address}
    jupyterhub_oauth_client_id: {client}
    jupyterhub_cert: |
{certificate}
    notebook_memory_limit: 512M
    use_tas_uid: yes
    use_tas_gid: yes
    tas_role_account: {account}
    tas_url_base: {tas}
    volume_mounts:
      - /srv/work/{{tas_homeDirectory}}:/home/jupyter/tacc-work:rw
      - /srv/published/{{tenant_id}}:/home/jupyter/Published:ro
"""
HOSTS = """\
ssh_user: root
ssh_key: hub.key
ssh_config: ssh_config
jupyterhub.prod.designsafe:
    hosts:
        - {{host_id: hub1, ssh_host: {address}, private_ip: {address}, roles: [hub]}}
        - {{host_id: worker1, ssh_host: {worker}, private_ip: {worker}, roles: [worker]}}
"""
PASSWORDS = """\
jupyterhub.prod.designsafe:
    jupyterhub_oauth_client_secret: {secret}
    tas_role_pass: {password}
    jupyterhub_key: |
{key}
"""
MADE = """\
mkdir /tmp/site && cat >/tmp/site/ours.crt
printf '%s\\n' 'FROM {base}' 'COPY ours.crt /ours.crt' 'RUN cat /ours.crt >>$SSL_CERT_FILE' >/tmp/site/Dockerfile
docker build --quiet --tag {hub} /tmp/site
"""
MOUNTED = """\
mkdir /srv/work && mount -t tmpfs work /srv/work
install -d -o 458981 -g 816877 -m 700 /srv/work/01234/ada
install -d /srv/published/designsafe && echo read >/srv/published/designsafe/note
"""


@dataclass(frozen=True)
class Site:
    """Machines, and what else there is where they stand. ``ours``: its authority."""

    machine: Machine
    worker: Machine
    tenant: Agave
    tas: Tas
    ours: Pair


@pytest.fixture(scope="module")
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    machine, place = stocked(lab), tmp_path_factory.mktemp("site")
    worker = lab.start("worker1", docker_installed=True)
    tenant, tas, ours = Agave(), Tas(), make_pair("authority of the site", authority=True)
    tenant.host = tas.host = f"{machine.address.rpartition('.')[0]}.1"
    certificate, key = make_pair(tenant.host, by=ours).write(place)
    tenant.certificate, tenant.callback = (str(certificate), str(key)), f"https://{machine.address}/hub/oauth_callback"
    tas.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tas.tls.load_cert_chain(certificate, key)
    tas.add("ada", 458981, 816877)
    # By the name that it has where nothing else is said.
    machine.docker("tag", dockerd.BASE, Config.model_fields["base_image"].default)
    machine.docker("tag", dockerd.BASE, SITE_USER)
    machine.run(MADE.format(base=dockerd.BASE, hub=SITE_HUB), text=ours.pem.decode())
    worker.run(MOUNTED)
    with providers.running(tenant), services.running(tas):
        yield Site(machine, worker, tenant, tas, ours)


@pytest.fixture(scope="module")
def folder(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place, options = tmp_path_factory.mktemp("deployments"), site.machine.options()
    pairs = [option.replace("=", " ", 1) for word, option in pairwise(options) if word == "-o"]
    (place / "ssh_config").write_text("\n".join(["Host *", *pairs]) + "\n")
    (place / "hub.key").symlink_to(options[options.index("-i") + 1])
    own = make_pair(site.machine.address, by=site.ours)
    given = {"tenant": site.tenant.url, "client": site.tenant.client, "secret": site.tenant.secret}
    given |= {"tas": site.tas.url, "account": site.tas.account, "password": site.tas.password}
    given |= {"certificate": _indented(own.pem), "key": _indented(own.key_pem), "address": site.machine.address}
    given["worker"] = site.worker.address
    texts = [text.format(**given, SITE_HUB=SITE_HUB, SITE_USER=SITE_USER) for text in (CONFIGS, HOSTS, PASSWORDS)]
    return trio(place, *texts)


def _indented(pem: bytes) -> str:
    return "\n".join(f"        {line}" for line in pem.decode().splitlines())


def told(done: Done, code: int = 0) -> str:
    assert done.code == code, done.out + done.err
    assert "canary" not in done.out + done.err
    assert "PRIVATE KEY" not in done.out + done.err
    return done.out


def test_deploy_makes_the_hub_and_again_changes_nothing(folder: Path, site: Site) -> None:
    out = told(run(folder, *DEPLOYER, "deploy"))
    assert f"Hub {HUB} is ready: https://{site.machine.address}" in out
    assert "note: ops.configs:4: jupyterhub_config_py_template: " in out
    assert "nothing to change" in told(run(folder, *DEPLOYER, "plan"))
    assert HUB in told(run(folder, *DEPLOYER, "status"))


def test_somebody_of_the_tenant_works_there_as_the_properties_say(
    folder: Path, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted, machine = tmp_path / "ours.crt", site.machine
    trusted.write_bytes(site.ours.pem)
    for name in ("REQUESTS_CA_BUNDLE", "WEBSOCKET_CLIENT_CA_BUNDLE"):
        monkeypatch.setenv(name, str(trusted))
    there = HubThere(machine, folder)
    there.url = f"https://{machine.address}"
    ada = Visitor(there, "ada")
    assert ada.enter(site.tenant).status_code == 302
    assert ada.start()[-1]["ready"]
    assert "/users/username/ada" in site.tas.asked[-1]
    machines = json.loads(told(run(folder, "-c", ".", "machine", "--json")))["machines"]
    assert {one["name"]: one["servers"] for one in machines} == {"hub1": [], "worker1": ["ada"]}
    (container,) = site.worker.docker("ps", "--quiet", "--filter", "label=hubfleet.server").split()
    (found,) = json.loads(site.worker.docker("inspect", container))
    assert found["Config"]["User"] == "458981:816877"
    assert found["HostConfig"]["Memory"] == 512 * 2**20
    mounts = {mount["Destination"]: (mount["Source"], mount["RW"]) for mount in found["Mounts"]}
    for home in ("jupyter", "ada"):
        assert mounts[f"/home/{home}/tacc-work"] == ("/srv/work/01234/ada", True)
        assert mounts[f"/home/{home}/Published"] == ("/srv/published/designsafe", False)
    ada.kernel().run("open('tacc-work/kept', 'w').write(open('/home/jupyter/Published/note').read())")
    assert site.worker.run("stat -c '%u:%g' /srv/work/01234/ada/kept; cat /srv/work/01234/ada/kept").split() == [
        "458981:816877",
        "read",
    ]
    ada.stop()


def test_secrets_are_in_files_that_nobody_else_may_read(folder: Path, site: Site) -> None:
    for secret in (site.tenant.secret, site.tas.password):
        for machine in (site.machine, site.worker):
            found = machine.run(f"grep -rl {secret} /var/lib/hubfleet /etc /tmp || true").split()
            assert bool(found) == (machine is site.machine)
            assert {machine.run("stat", "-c", "%a", file) for file in found} <= {"600"}
            for line in ("ps -ef", "docker inspect $(docker ps -aq)", "docker ps -aq | xargs -n1 docker logs 2>&1"):
                # A container of a server that has just ended may go while it is looked at.
                assert secret not in machine.run(line, check=False), line


def test_every_other_command_knows_the_hub_by_the_same_files(folder: Path) -> None:
    out = told(run(folder, "-c", ".", "explain", "ada", "--json"))
    rows = {row["setting"]: (row["value"], row["source"]) for row in json.loads(out)["settings"]}
    assert rows["servers.memory.limit"][0] == "512M"
    assert rows["servers.memory.limit"][1].endswith(f" ({HUB})"), "the most local one"
    assert rows["servers.stop_after_idle"] == ("3d", "ops.configs:5 (jupyterhub)")
    assert told(run(folder, "-c", ".", "logs", "hub"))


def test_what_import_writes_is_the_hub_that_is_there(folder: Path, site: Site) -> None:
    told(run(folder, "import", "."))
    before = site.machine.docker("ps", "--no-trunc", "--format", "{{.ID}}")
    assert "nothing to change" in told(run(folder, "plan"))
    told(run(folder, "up", "--yes"))
    assert site.machine.docker("ps", "--no-trunc", "--format", "{{.ID}}") == before, "nothing was started anew"


def test_stop_stops_it(folder: Path) -> None:
    assert f"Hub {HUB} is stopped" in told(run(folder, *DEPLOYER, "stop"))
    assert f"{HUB}  stopped" in told(run(folder, *DEPLOYER, "status"))

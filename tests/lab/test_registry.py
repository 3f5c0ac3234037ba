"""Images out of a registry of the site's own, with an authority of its own, on a machine with a hub that serves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dockerd
import pytest
from hubs_there import HubThere, findings, write_files
from machines import Lab, Machine
from registries import Registry
from stock import stocked

import command
import needs
from hubfleet.machines import SSHMachine
from hubfleet.resources import Image
from pairs import make_pair

pytestmark = [*needs.machines(), needs.command("docker-registry")]

CERTIFICATES = "/etc/docker/certs.d"
SITES = f"""FROM {dockerd.BASE}
RUN head -c 1000000 /dev/urandom >/opt/site-data && echo "from the registry" >/opt/site
"""
"""An image that a site might have: what is in its own layer can only come from the registry."""


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Machine:
    return stocked(lab)


@pytest.fixture(scope="module")
def registry(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """On the machine's network; it has ``ours/base:1`` and ``ours/site:1``, and the machine has neither these nor its
    authority."""
    gateway = f"{machine.address.rpartition('.')[0]}.1"
    folder = tmp_path_factory.mktemp("registry")
    made = Registry(folder, gateway, make_pair("authority", authority=True))
    try:
        trusted = f"{CERTIFICATES}/{made.name}"
        machine.run(f"mkdir -p {trusted} && cat >{trusted}/ca.crt", text=made.authority.read_text())
        machine.docker("tag", dockerd.BASE, f"{made.name}/ours/base:1")
        machine.docker("push", f"{made.name}/ours/base:1")
        machine.docker("rmi", f"{made.name}/ours/base:1")
        machine.docker("build", "--no-cache", "--tag", f"{made.name}/ours/site:1", "-", text=SITES)
        machine.docker("push", f"{made.name}/ours/site:1")
        machine.docker("rmi", f"{made.name}/ours/site:1")
        machine.run(f"rm -r {CERTIFICATES}")
        yield made
    finally:
        made.end()


def test_check_asks_the_registry(machine: Machine, registry: Registry, tmp_path: Path) -> None:
    image = f"{registry.name}/ours/base:1"
    write_files(tmp_path, machine, servers={"image": image})
    (problem,) = findings(tmp_path)["problem"]
    assert f"the certificate of {registry.name}, the registry of {image}, is not trusted there (" in problem
    assert "Try: name its authority's certificate: network: {ca_bundle: site-ca.crt}" in problem

    (tmp_path / "site-ca.crt").write_bytes(registry.authority.read_bytes())
    network = {"ca_bundle": "site-ca.crt"}
    write_files(tmp_path, machine, servers={"image": image}, network=network)
    found = findings(tmp_path)
    assert found["problem"] == []
    assert f"image {image} is in its registry ({registry.name})" in found["ok"]

    write_files(tmp_path, machine, base_image=f"{registry.name}/ours/base:2", network=network)
    (problem,) = findings(tmp_path)["problem"]
    assert f"image {registry.name}/ours/base:2 is not in its registry" in problem
    assert problem.endswith("base_image")
    assert machine.run(f"ls {CERTIFICATES} 2>/dev/null", check=False) == "", "nothing was changed"


def test_an_image_is_pulled_and_its_authority_trusted_for_that_long(machine: Machine, registry: Registry) -> None:
    name = f"{registry.name}/ours/base:1"
    image = Image.of("pulled", name, f"FROM {name}\nRUN true\n")
    there = SSHMachine(machine.name, f"root@{machine.address}", machine.options())
    try:
        change = image.diff(there.observe([image])[image.id])
        assert change
        with pytest.raises(Exception, match="x509: certificate signed by unknown authority"):
            there.apply(change, lambda line: None)
        known = Image(image.tag, image.label, name, image.context, authorities=registry.authority.read_text())
        change = known.diff(None)
        assert change
        assert there.apply(change, lambda line: None)
        machine.docker("rmi", image.tag, name)
    finally:
        there.close()
    assert machine.run(f"ls {CERTIFICATES} 2>/dev/null", check=False) == "", "it is taken back"


def test_an_image_that_does_not_exist_is_noticed_before_anything_serving_is_touched(
    machine: Machine, registry: Registry, tmp_path: Path
) -> None:
    write_files(tmp_path, machine)
    done = command.run(tmp_path, "up", "--yes")
    assert done.code == 0, done.err
    form = "{{.Name}} {{.Id}} {{.State.StartedAt}}"
    parts = machine.run(f"docker inspect --format '{form}' $(docker ps --quiet)")
    files = machine.run("cat /var/lib/hubfleet/lab/*/*.json | sha256sum; ls /var/lib/hubfleet/lab/generations")
    (tmp_path / "site-ca.crt").write_bytes(registry.authority.read_bytes())
    missing = {"image": f"{registry.name}/ours/base:2"}
    write_files(tmp_path, machine, servers=missing, network={"ca_bundle": "site-ca.crt"})
    done = command.run(tmp_path, "up", "--yes")
    assert done.code == 3
    assert f"image {registry.name}/ours/base:2 is not in its registry" in done.err
    assert "Nothing was changed" in done.err
    assert machine.run(f"docker inspect --format '{form}' $(docker ps --quiet)") == parts
    assert machine.run("cat /var/lib/hubfleet/lab/*/*.json | sha256sum; ls /var/lib/hubfleet/lab/generations") == files


def test_up_pulls_an_image_builds_on_it_and_servers_run_there(
    machine: Machine, registry: Registry, tmp_path: Path
) -> None:
    hub, image = HubThere(machine, tmp_path), f"{registry.name}/ours/site:1"
    assert machine.docker("images", "--quiet", image) == ""
    (tmp_path / "site-ca.crt").write_bytes(registry.authority.read_bytes())
    hub.write(servers={"image": image}, network={"ca_bundle": "site-ca.crt"})
    hub.run("up", "--yes", timeout=1200)
    assert machine.docker("images", "--quiet", image)
    assert machine.run(f"ls {CERTIFICATES} 2>/dev/null", check=False) == "", "it is trusted for the pull only"
    ada = hub.person("ada")
    assert ada.start()[-1].get("ready")
    assert ada.kernel().run("print(open('/opt/site').read())").strip() == "from the registry"
    assert hub.changes() == []

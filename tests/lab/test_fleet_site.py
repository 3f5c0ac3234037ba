"""A fleet at a site that has its own: a registry that images go by, an accounting service, and file systems.

An authority of the site's has signed for both services. One fleet for all, and the tests build on each other.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import ssl
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import dockerd
import pytest
from fleet_there import Fleet, started
from harness import Person, expect_failure
from machines import Lab, Machine
from registries import Registry

import needs
from hubfleet.config.fleet import REGISTRY_PORT
from pairs import make_pair
from services import Tas, running
from waiting import soon

pytestmark = [*needs.machines(), needs.command("docker-registry")]

WORKERS = ("worker1", "worker2")
ACCOUNT, PASSWORD = "hubs", f"canary-{secrets.token_hex(8)}"
TAS_PASSWORD = f"canary-{secrets.token_hex(8)}"
ADA, BEN = (810_001, 810_500), (810_002, 810_002)
"""User and group ids: the service knows no group of Ben's."""
START_S = 30.0
"""In this time somebody has a server, whatever the registry does."""
LOOK = """
import os
for path in {paths}:
    found = os.stat(path)
    print(open(path).read(), found.st_uid, found.st_gid, os.getuid(), os.getgid())
"""


@pytest.fixture(scope="module")
def work() -> Iterator[Path]:
    """A file system of the site's, which machines with servers have at /work."""
    place = Path(tempfile.mkdtemp(prefix="hubfleet-site-", dir="/srv"))
    place.chmod(0o755)
    for name, (uid, gid) in {"ada": ADA, "ben": BEN}.items():
        for folder in (place / "01234" / name, place / "people" / name):
            folder.mkdir(parents=True, mode=0o755)
            os.chown(folder, uid, gid)
            folder.chmod(0o700)
    for tenant in ("lab", "other"):
        (place / "tenants" / tenant).mkdir(parents=True)
        (place / "tenants" / tenant / "whose").write_text(f"of {tenant}")
    (place / "staff").mkdir(mode=0o755)
    (place / "staff" / "text").write_text("for staff")
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def place(lab: Lab, shared: Path, work: Path, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """Nothing is deployed; Docker runs on all machines, and nobody is logged in anywhere."""
    # With the site's authority in them, its images are other ones than those that are in stock.
    hub = lab.start("hub1", docker_installed=True, shared=shared)
    hub.start_docker()
    hub.load(dockerd.BASE)
    workers = [lab.start(name, docker_installed=True, shared=shared, more={work: "/work"}) for name in WORKERS]
    for worker in workers:
        worker.start_docker()
    made = Fleet(hub, workers, shared, tmp_path_factory.mktemp("fleet"))
    made.grow(*WORKERS)
    return made


@pytest.fixture(scope="module")
def registry(place: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """It wants an account, and its certificate is the site's. The file names it, and the site's authority."""
    gateway = f"{place.machine.address.rpartition('.')[0]}.1"
    authority = make_pair("authority", authority=True)
    made = Registry(tmp_path_factory.mktemp("registry"), gateway, authority, accounts={ACCOUNT: PASSWORD})
    service = Tas(password=TAS_PASSWORD)
    folder = tmp_path_factory.mktemp("tas")
    certificate, key = make_pair(gateway, by=authority).write(folder, authority)
    service.host, service.tls = gateway, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    service.tls.load_cert_chain(certificate, key)
    service.add("ada", *ADA, home="01234/ada")
    service.add("ben", BEN[0], home="01234/ben")
    try:
        with running(service):
            write(place, made, service)
            yield made
    finally:
        made.end()


def write(fleet: Fleet, registry: Registry, tas: Tas) -> None:
    """All of the site's is in the file; the password is in the one for secrets."""
    (fleet.folder / "site-ca.crt").write_bytes(registry.authority.read_bytes())
    file = fleet.folder / "hubfleet.secrets.yaml"
    file.write_text(f"owner_password: {TAS_PASSWORD}\n")
    file.chmod(0o600)
    mounts = [
        "/work/{tas_homeDirectory}:/home/jupyter/tacc-work:rw",
        "/work/people/{username}:/data:rw",
        "/work/tenants/{tenant_id}:/home/jupyter/community:ro",
    ]
    fleet.more["storage"] = {
        "homes": {"path": str(fleet.homes), "share": "mounted"},
        "owner": {"tas": {"url": tas.url, "account": tas.account}},
        "must_be_mounted": ["/work"],
        "mounts": mounts,
    }
    staff = [*mounts, "/work/staff:/srv/staff:ro"]
    fleet.more["groups"] = {"staff": {"members": ["ben"], "storage": {"mounts": staff}}}
    named(fleet, registry)


def named(fleet: Fleet, registry: Registry, bundle: bool = True) -> None:
    """Write which registry images go by, and whether it can be known."""
    between = {"encrypted": False, "servers": 100, "registry": f"{registry.name}/hubs"}
    fleet.more["network"] = {"fleet": between, **({"ca_bundle": "site-ca.crt"} if bundle else {})}
    fleet.write("")


@pytest.fixture
def fleet(place: Fleet, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """The same; this process trusts its edge's authority, if there is one."""
    place.trusted(monkeypatch)
    return place


@pytest.fixture(scope="module")
def people() -> dict[str, Person]:
    """Who is there already."""
    return {}


def machines(fleet: Fleet) -> list[Machine]:
    return [fleet.machine, *fleet.workers.values()]


def state(fleet: Fleet) -> list[str]:
    """All that a deployment would leave."""
    asked = (
        "docker ps --all --quiet; docker network ls --quiet; docker images --quiet | sort",
        "docker info --format '{{.Swarm.LocalNodeState}}'",
        "ls -lA /var/lib /var/lib/hubfleet /etc/hubfleet /etc/docker /etc/docker/certs.d/* /etc/systemd/system 2>&1",
        "cat /etc/passwd /etc/group /etc/docker/daemon.json 2>&1",
    )
    return [machine.run(line, check=False) for machine in machines(fleet) for line in asked]


def problems(fleet: Fleet, same: bool = True) -> list[str]:
    """What check says is wrong; up says the same, and changes nothing. ``same``: nobody else does, meanwhile."""
    before = state(fleet)
    done = fleet.run("check", "--json", check=False)
    found = [one["text"] for one in json.loads(done.stdout)["findings"] if one["level"] == "problem"]
    if found:
        code, said = fleet.fails("up", "--yes")
        assert (code, "Nothing was changed" in said) == (3, True), said
        assert [text for text in found if text not in said] == []
        assert PASSWORD not in said + done.stdout
    assert not same or state(fleet) == before
    return found


def where_secrets_are(machine: Machine, *words: str) -> list[str]:
    """The files in which one of these words is, on a machine; and what else there is to be seen of it."""
    patterns = " ".join(f"-e {word}" for word in words)
    places = "/etc /root /home /tmp /run /var/lib/hubfleet /var/log /var/tmp"
    found = machine.run(f"grep -rlsF {patterns} {places} || true").split()
    for line in ("ps axeww", "journalctl --no-pager", "docker inspect $(docker ps --all --quiet) 2>/dev/null"):
        said = machine.run(line, check=False)
        assert [word for word in words if word in said] == [], line
    return found


# -- the registry ------------------------------------------------------------------------------------------------------


def test_a_registry_that_is_not_trusted_or_lets_nobody_in_is_found_first(fleet: Fleet, registry: Registry) -> None:
    named(fleet, registry, bundle=False)
    found = problems(fleet)
    assert [text.partition(":")[0] for text in found] == ["hub1", *WORKERS]
    assert all("shows a certificate that is not trusted there" in text for text in found)
    named(fleet, registry)
    found = problems(fleet)
    assert [text.partition(":")[0] for text in found] == ["hub1", *WORKERS]
    assert "refuses to take hubs/hubfleet/" in found[0]
    assert all("refuses to give hubs/hubfleet/" in text for text in found[1:])
    for text in found:
        assert "HTTP 401, and root is not logged in to it" in text
        assert f"Try: put its authority's certificate there as /etc/docker/certs.d/{registry.name}/ca.crt" in text


def test_one_machine_that_is_not_logged_in_is_named(fleet: Fleet, registry: Registry) -> None:
    folder = f"/etc/docker/certs.d/{registry.name}"
    for machine in machines(fleet):
        machine.run(f"mkdir -p {folder} && cat >{folder}/ca.crt", text=registry.authority.read_text())
        if machine.name != "worker2":
            machine.docker("login", "--username", ACCOUNT, "--password-stdin", registry.name, text=PASSWORD)
    (problem,) = problems(fleet)
    assert problem.startswith("worker2: ")
    assert problem.endswith(f"docker login {registry.name}, there, as root")
    worker = fleet.workers["worker2"]
    worker.docker("login", "--username", ACCOUNT, "--password-stdin", registry.name, text=PASSWORD)
    assert problems(fleet) == []
    said = fleet.run("check").stdout
    assert f"hub1: {registry.name}/hubs, by which images go from machine to machine, takes them from here" in said


def test_one_that_is_away_is_found_first(fleet: Fleet, registry: Registry) -> None:
    registry.end()
    found = problems(fleet)
    assert [text.partition(":")[0] for text in found] == ["hub1", *WORKERS]
    assert all("cannot be reached from there (Connection refused)" in text for text in found)
    registry.start()
    assert problems(fleet) == []


def test_images_go_by_it_and_nothing_of_the_password_is_told(fleet: Fleet, registry: Registry) -> None:
    told = fleet.run("plan", "--full").stdout
    assert f"{registry.name}/hubs/hubfleet/users:" in told
    told += fleet.up()
    assert "nothing to change" in fleet.plan()
    assert "registry" not in fleet.machine.docker("ps", "--all", "--format", "{{.Names}}")
    assert f":{REGISTRY_PORT}" not in fleet.machine.run("ss --no-header --listening --tcp --numeric")
    for machine in machines(fleet):
        images = machine.docker("images", "--format", "{{.Repository}}", f"{registry.name}/hubs/hubfleet/*").split()
        assert {one.rpartition("/")[2] for one in images} == {"users", "guard"}, machine.name
        kept = f"/etc/docker/certs.d/{registry.name}/hubfleet-lab.crt"
        assert machine.run("cat", kept) + "\n" == registry.authority.read_text()
        word = base64.b64encode(f"{ACCOUNT}:{PASSWORD}".encode()).decode()
        assert where_secrets_are(machine, PASSWORD, word) == ["/root/.docker/config.json"], machine.name
        told += machine.run(f"cat {fleet.state}/generations/*/* 2>/dev/null", check=False)
    assert PASSWORD not in told + fleet.run("logs", "launcher").stdout


# -- owners, and what is mounted ---------------------------------------------------------------------------------------


def test_files_have_the_ids_of_the_accounting_service_on_every_machine(
    fleet: Fleet, work: Path, people: dict[str, Person]
) -> None:
    ada = people["ada"] = fleet.person("ada")
    fleet.run("machine", "drain", "worker2")
    started(ada)
    assert fleet.where(ada) == "worker1"
    kernel = ada.kernel()
    paths = ["own", "/home/jupyter/tacc-work/new", "/data/new"]
    kernel.run("; ".join(f"open({path!r}, 'w').write('from one')" for path in paths))
    ids = " ".join(map(str, (*ADA, *ADA)))
    assert kernel.run(LOOK.format(paths=paths)).splitlines() == [f"from one {ids}"] * 3
    ada.stop()
    there = [fleet.homes / "ada" / "own", work / "01234" / "ada" / "new", work / "people" / "ada" / "new"]
    assert [(one.stat().st_uid, one.stat().st_gid, one.read_text()) for one in there] == [(*ADA, "from one")] * 3
    found = (fleet.homes / "ada").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (*ADA, 0o700)

    fleet.run("machine", "add", "worker2")
    fleet.run("machine", "drain", "worker1")
    started(ada)
    assert fleet.where(ada) == "worker2"
    kernel = ada.kernel()
    assert kernel.run(LOOK.format(paths=paths)).splitlines() == [f"from one {ids}"] * 3
    kernel.run("; ".join(f"open({path!r}, 'a').write(' and two')" for path in paths))
    assert [one.read_text() for one in there] == ["from one and two"] * 3
    fleet.run("machine", "add", "worker1")


def test_the_tenants_directory_is_there_and_that_of_no_other(fleet: Fleet, people: dict[str, Person]) -> None:
    kernel = people["ada"].kernel()
    assert kernel.run("import os; print(open('/home/jupyter/community/whose').read())").strip() == "of lab"
    said = kernel.run("try: open('/home/jupyter/community/new', 'w')\nexcept OSError as error: print(error.strerror)")
    assert said.strip() == "Read-only file system"
    assert kernel.run("print(os.path.exists('/work'), os.path.exists('/srv/staff'))").strip() == "False False"
    assert kernel.run("print(os.listdir('/data'), os.listdir('/home/jupyter/tacc-work'))").strip() == "['new'] ['new']"


def test_a_group_has_its_own_mounts_and_the_group_id_is_the_users_where_none_is_known(
    fleet: Fleet, people: dict[str, Person]
) -> None:
    ben = people["ben"] = fleet.person("ben")
    started(ben)
    kernel = ben.kernel()
    assert kernel.run("print(open('/srv/staff/text').read())").strip() == "for staff"
    assert kernel.run("import os; print(os.getuid(), os.getgid(), os.getgroups())").strip() == (
        f"{BEN[0]} {BEN[1]} [{BEN[1]}]"
    )
    assert kernel.run("print(os.listdir('/data'))").strip() == "[]", "others' files are others'"
    ben.stop()


def test_who_has_no_account_gets_no_server(fleet: Fleet) -> None:
    eve = fleet.person("eve")
    assert "has no account" in expect_failure(eve)
    assert not (fleet.homes / "eve").exists()


def test_its_password_is_in_one_file_of_roots(fleet: Fleet) -> None:
    kept = f"{fleet.state}/launcher/launcher-secrets.json"
    assert fleet.machine.run("stat", "-c", "%a %u", kept) == "600 0"
    for machine in machines(fleet):
        expected = [kept] if machine is fleet.machine else []
        assert where_secrets_are(machine, TAS_PASSWORD) == expected, machine.name
    assert TAS_PASSWORD not in fleet.run("plan", "--full").stdout + fleet.run("logs", "launcher").stdout


def test_where_the_file_system_is_gone_nobody_starts_there(fleet: Fleet, people: dict[str, Person]) -> None:
    people["ada"].stop()
    for worker in fleet.workers.values():
        worker.run("umount /work")
    said = expect_failure(people["ada"])
    # Whoever looks first: the engine finds no directory, or the server sees that nothing is mounted.
    assert "/work is not mounted there" in said or "bind source path does not exist: /work/" in said


# -- and the registry again: nobody waits for one that is away ---------------------------------------------------------


@pytest.mark.parametrize("how", ["refuses", "says nothing"])
def test_servers_start_while_the_registry_is_away(
    fleet: Fleet, registry: Registry, people: dict[str, Person], how: str
) -> None:
    fleet.more["storage"] = {key: fleet.more["storage"][key] for key in ("homes", "owner")}
    fleet.more.pop("groups", None)
    fleet.write("")
    fleet.up()
    ada = people["ada"]
    rule = f"ip daddr {registry.name.partition(':')[0]} tcp dport {registry.port} drop"
    chain = "'{ type filter hook output priority 0; }'"
    for machine in machines(fleet):
        if how == "says nothing":
            machine.run(
                f"nft add table inet gone; nft add chain inet gone out {chain}; nft add rule inet gone out {rule}"
            )
    if how == "refuses":
        registry.end()
    try:
        begun = time.monotonic()
        started(ada)
        took = time.monotonic() - begun
        assert ada.kernel().run("print(6 * 7)").strip() == "42"
        ada.stop()
        assert took < START_S, took
        found = problems(fleet, same=False)
        assert len(found) == 3
        assert all("cannot be reached from there (" in text for text in found)
    finally:
        if how == "refuses":
            registry.start()
        else:
            for machine in machines(fleet):
                machine.run("nft delete table inet gone")
    soon(lambda: problems(fleet, same=False) == [])
    assert "nothing to change" in fleet.plan()

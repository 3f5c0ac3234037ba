"""Project `services`: what a file says becomes containers without rights; and what is said of mistakes."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

import command
from hubfleet.cli.projectdeployment import opened
from hubfleet.cli.reading import Options
from hubfleet.errors import CheckError, ConfigError
from hubfleet.layout import Layout
from hubfleet.projects import Site
from hubfleet.projects.load import load_project
from hubfleet.projects.schema import PAGE, SCHEMA, main
from hubfleet.projects.services.dockerignore import Ignored
from hubfleet.projects.services.model import Service, ServicesConfig
from hubfleet.resources import Account, Container, Directory, File, Image, Network, Resource

REFERENCE = Path(__file__).parents[3] / "docs/reference"
PAGE_OF_SERVICES = REFERENCE.parent / "how-to/services.md"
HEAD = "project: services\nname: shop\n"
SECRET = "quite-secret-indeed"
STACK = """\
project: services
name: shop
machines:
  web1: {ssh: root@192.0.2.1, roles: [web]}
  data1: {ssh: root@192.0.2.2, roles: [data]}
secrets: {db_password: file}
services:
  worker: {build: worker, role: data, depends_on: [db, queue], secrets: [db_password]}
  db:
    image: postgres:16.4
    role: data
    secrets: [db_password]
    volumes: {db-data: /var/lib/postgresql/data}
    environment: {POSTGRES_PASSWORD_FILE: /run/secrets/db_password}
    health: [pg_isready, -U, postgres]
  queue: {image: "redis:7.4", role: data, user: root, volumes: {queue: /data}, tmpfs: [/var/run/redis], memory: 256M, ports: ["127.0.0.1:6379:6379"]}
  front: {image: "nginx:1.27.2", role: web, ports: ["80:8080"], writable: true}
"""
ONE = "{image: 'nginx:1.27.2'}"
MISTAKES = {
    "no service": ("services: {}", "hubfleet.yaml:3: services: there is no service. Try: services: {api: {image: nginx:1.27.2}}"),
    "no services": ("", "hubfleet.yaml:1: services: is required. Try: services: {'api': {'build': 'api'}}"),
    "unknown key": (
        f"services: {{api: {ONE}}}\nservice: {{}}",
        "hubfleet.yaml:4: `service`: did you mean `services`?",
    ),
    "a path for a name": (
        f"services: {{../api: {ONE}}}",
        "hubfleet.yaml:3: services.../api: `../api` is not a name here. Try: lower-case letters, digits and `-`, 30 at most, such as api",
    ),
    "no image": (
        "services:\n  api: {ports: []}",
        "hubfleet.yaml:4: services.api: needs either `image` or `build`. Try: image: postgres:16.4, or build: ./api",
    ),
    "no version": (
        "services: {api: {image: nginx}}",
        "hubfleet.yaml:3: services.api.image: `nginx` means another image every week. Try: pin a version, such as name:2026-10-01",
    ),
    "nothing to build": (
        "services: {api: {build: ../nowhere}}",
        "hubfleet.yaml:3: services.api.build: there is no Dockerfile in `nowhere` beside this file. Try: ls -l {above}/nowhere",
    ),
    "the system hidden": (
        "services:\n  api:\n    image: nginx:1.27.2\n    volumes: {data: /usr/../etc}",
        "hubfleet.yaml:6: services.api.volumes.data: `/usr/../etc` must be absolute, without `..`. Try: /var/lib/data",
    ),
    "one volume in another": (
        "services:\n  api: {image: 'a:1', volumes: {one: /data, two: /data/two}}",
        "hubfleet.yaml:4: services.api: `/data/two` is inside `/data`. Try: directories beside each other",
    ),
    "a secret in a variable": (
        "services: {api: {image: 'a:1', environment: {DB_PASSWORD: x}}}",
        "hubfleet.yaml:3: services.api.environment.DB_PASSWORD: `DB_PASSWORD` looks like a secret, and whoever may ask the "
        "engine could read it. Try: secrets: [...] for the service; many programs take DB_PASSWORD_FILE: /run/secrets/...",
    ),
    "a secret in an address": (
        "services: {api: {image: 'a:1', environment: {DB: 'postgres://me:hunter2@db/x'}}}",
        "hubfleet.yaml:3: services.api.environment.DB: a password in an address, or a zero byte. Try: secrets: [...] for the service",
    ),
    "a secret that is not there": (
        "secrets: {db_password: file}\nservices: {api: {image: 'a:1', secrets: [db_password, db_pasword]}}",
        "hubfleet.yaml:4: services.api.secrets: no secret `db_pasword`: did you mean `db_password`? Try: secrets: {db_pasword: file}, at the top",
    ),
    "a secret with the name of a map": (
        "secrets:\n  admin_password: file\nservices: {api: {image: 'a:1', secrets: [admin_password]}}",
        "hubfleet.yaml:4: secrets.admin_password: `admin_password` means something else in a secrets file. Try: another name, such as db_password\n"
        "hubfleet.yaml:5: services.api.secrets: `admin_password` means something else in a secrets file. Try: another name, such as db_password",
    ),
    "a secret with the name of another": (
        "secrets:\n  hubs: generate\nservices: {api: {image: 'a:1'}}",
        "hubfleet.yaml:4: secrets.hubs: `hubs` means something else in a secrets file. Try: another name, such as db_password",
    ),
    "everything": (
        "services: {api: {image: 'a:1', user: root, capabilities: [SYS_ADMIN]}}",
        "hubfleet.yaml:3: services.api.capabilities: `SYS_ADMIN` is not among what a service may have. Try: one of CHOWN, "
        "DAC_OVERRIDE, FOWNER, KILL, NET_BIND_SERVICE, SETGID, SETUID, or none",
    ),
    "a port twice": (
        "services:\n  a: {image: 'a:1', ports: ['80:80']}\n  b: {image: 'a:1', ports: ['127.0.0.1:80:80']}",
        "hubfleet.yaml:5: services.b.ports: port 80 is a's already. Try: another port",
    ),
    "a circle": (
        "services:\n  a: {image: 'a:1', depends_on: [b]}\n  b: {image: 'a:1', depends_on: [a]}",
        "hubfleet.yaml:4: services.a.depends_on: a circle: a waits for b waits for a. Try: take one of these out",
    ),
    "nobody to wait for": (
        "services:\n  api: {image: 'a:1', depends_on: [dbb]}\n  db: {image: 'a:1'}",
        "hubfleet.yaml:4: services.api.depends_on: no service `dbb`: did you mean `db`? Try: services: {dbb: ...}",
    ),
    "waits for another machine": (
        "machines: {m: {ssh: m, roles: [a]}, n: {ssh: n, roles: [b]}}\nservices:\n  a: {image: 'a:1', role: a, depends_on: [b]}\n  b: {image: 'a:1', role: b}",
        "hubfleet.yaml:5: services.a.depends_on: `b` is on n, and a on m: no machine waits for another's. Try: the same role, or no depends_on",
    ),
    "no such role": (
        "machines: {m: {ssh: m, roles: [web]}}\nservices: {a: {image: 'a:1', role: webb}}",
        "hubfleet.yaml:4: services.a.role: no machine has the role `webb`: did you mean `web`? Try: roles: [webb] for one of the machines",
    ),
}  # fmt: skip
# ruff: noqa: E501 - whole sentences on one line, to be found by searching for them


def write(folder: Path, text: str) -> Path:
    file = folder / "hubfleet.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("mistake", MISTAKES)
def test_message(mistake: str, tmp_path: Path) -> None:
    text, message = MISTAKES[mistake]
    with pytest.raises(ConfigError) as caught:
        load_project(write(tmp_path, f"{HEAD}{text}\n"), environ={})
    assert str(caught.value) == message.replace("{above}", str(tmp_path.parent))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "Dockerfile").write_text("FROM python:3.12.7-slim\nCOPY app.py /\n")
    (tmp_path / "worker" / "app.py").write_text("print('working')\n")
    return tmp_path


def wanted(folder: Path, text: str = STACK) -> dict[str, tuple[Resource, ...]]:
    project, config, _ = load_project(write(folder, text), environ={})
    private = frozenset({folder / "hubfleet.yaml", folder / "web1.key"})
    site = Site(Layout("shop", Path("/var/lib/hubfleet"), True), folder, {"db_password": SECRET}, private)
    return {name: tuple(items) for name, items in project.desired(config, site).items()}


def containers(items: tuple[Resource, ...]) -> dict[str, Container]:
    return {item.name.partition("_")[2]: item for item in items if isinstance(item, Container)}


def test_services_are_on_the_machine_of_their_role_in_the_order_of_what_they_need(folder: Path) -> None:
    made = wanted(folder)
    assert list(made) == ["web1", "data1"]
    assert list(containers(made["web1"])) == ["front"]
    assert list(containers(made["data1"])) == ["db", "queue", "worker"]
    kinds = [item.kind for item in made["data1"]]
    assert kinds.index("image") < kinds.index("network") < kinds.index("container")


def test_a_container_has_no_rights_unless_it_says_so(folder: Path) -> None:
    made = wanted(folder)
    db, queue, front = (
        containers(made[at])[name] for at, name in (("data1", "db"), ("data1", "queue"), ("web1", "front"))
    )
    for one in (db, queue, front):
        assert one.capabilities == ()
        assert one.network == "hubfleet-shop_services"
        assert one.processes > 0
    assert (db.user, queue.user) == ("hubservice-shop", "")
    assert (db.read_only, front.read_only) == (True, False)
    assert (queue.memory, queue.ports) == (256 * 1024**2, (("127.0.0.1", 6379, 6379),))
    assert [path for path, _ in queue.tmpfs] == ["/tmp", "/var/run/redis"]
    assert (front.ports, db.hostname, db.argv) == ((("0.0.0.0", 80, 8080),), "db", ())
    assert any(isinstance(item, Account) and item.name == db.user for item in made["data1"])
    assert len([item for item in made["data1"] if isinstance(item, Network)]) == 1
    owners = {item.path: (item.owner, item.mode) for item in made["data1"] if isinstance(item, Directory)}
    assert owners["/var/lib/hubfleet/shop/volumes/db-data"] == ("hubservice-shop", 0o700)
    assert owners["/var/lib/hubfleet/shop/volumes/queue"] == ("root", 0o700)


def test_a_secret_is_in_files_of_who_may_read_it_and_nowhere_else(folder: Path) -> None:
    made = wanted(folder)
    files = [item for item in made["data1"] if isinstance(item, File)]
    assert sorted(file.path for file in files) == [
        "/var/lib/hubfleet/shop/secrets/db/db_password",
        "/var/lib/hubfleet/shop/secrets/worker/db_password",
    ]
    assert {(file.owner, file.mode, file.secret) for file in files} == {("hubservice-shop", 0o400, True)}
    assert SECRET not in json.dumps([item.redacted().to_json() for items in made.values() for item in items])
    db = containers(made["data1"])["db"]
    assert ("/var/lib/hubfleet/shop/secrets/db", "/run/secrets", "ro") in db.mounts
    assert db.depends == (files[0].sha256,)
    assert not [mount for mount in containers(made["data1"])["queue"].mounts if "secrets" in mount[0]]


def test_images_are_named_by_what_they_are_made_of(folder: Path) -> None:
    def tags() -> dict[str, str]:
        return {item.label: item.tag for item in wanted(folder)["data1"] if isinstance(item, Image)}

    before = tags()
    assert set(before) == {"shop_db", "shop_queue", "shop_worker"}
    (folder / "worker" / "__pycache__").mkdir()
    (folder / "worker" / "__pycache__" / "app.pyc").write_text("x")
    assert tags() == before
    (folder / "worker" / "app.py").write_text("print('working more')\n")
    assert [label for label, tag in tags().items() if tag != before[label]] == ["shop_worker"]


@pytest.mark.parametrize("text", ["RUN true\n", "FROM $BASE\n", "FROM debian\n"])
def test_what_an_image_is_built_on_has_to_be_said(folder: Path, text: str) -> None:
    (folder / "worker" / "Dockerfile").write_text(text)
    with pytest.raises(CheckError, match="does not begin with an image of a version"):
        wanted(folder)


@pytest.mark.parametrize(
    ("text", "loose"),
    [
        ("FROM python:3.12 AS made\nRUN make\nFROM debian:latest\n", "debian:latest"),
        ("FROM python:3.12\nFROM --platform=linux/amd64 debian\n", "debian"),
        ("FROM python:3.12\nARG V=1\nFROM debian:$V\n", "debian:$V"),
        ("FROM python:3.12\nFROM \\\n# a comment\n  debian\n", "debian"),
        ("FROM python:3.12\nRUN test $((1<<2)) = 4\nFROM debian\n", "debian"),
        ("FROM python:3.12\nFROM \\\n\n  debian\n", "debian"),
        ("FROM python:3.12\nRUN <<END\nx\nEND\nFROM debian\n", "debian"),
        ("FROM python:3.12 AS made\nFROM Made AS more\nFROM more\nFROM scratch\nCOPY --from=made /a /\n", ""),
        ("FROM python:3.12\nRUN psql -c 'SELECT x \\\n FROM people'\n", ""),
        ("FROM python:3.12\nRUN <<-'END' psql\nSELECT x\nFROM people\nEND\n# FROM debian\n", ""),
    ],
)
def test_what_a_later_stage_is_built_on_has_to_be_said_too(folder: Path, text: str, loose: str) -> None:
    (folder / "worker" / "Dockerfile").write_text(text)
    if not loose:
        assert "shop_worker" in {item.label for item in wanted(folder)["data1"] if isinstance(item, Image)}
        return
    words = re.escape(f"a later stage is built on {loose}, which is no image of a version. Nothing was changed")
    with pytest.raises(CheckError, match=words):
        wanted(folder)


def test_a_dockerfile_that_is_no_text_is_said(folder: Path) -> None:
    (folder / "worker" / "Dockerfile").write_bytes("FROM python:3.12\nLABEL by=Jos\xe9\n".encode("latin-1"))
    with pytest.raises(CheckError, match=r"worker/Dockerfile is no text in UTF-8\. Nothing was changed"):
        wanted(folder)


def test_a_link_out_of_a_directory_is_not_followed(folder: Path) -> None:
    os.symlink("/etc/shadow", folder / "worker" / "data")
    with pytest.raises(CheckError, match="data is a link"):
        wanted(folder)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("hubfleet.secrets.yaml", f"db_password: {SECRET}\n", "holds what only you may read"),
        ("other.secrets.yaml", "of_others: quite-secret-too\n", "holds what only you may read"),
        ("hubfleet.yaml", STACK.replace("build: worker", "build: ."), "holds what only you may read"),
        ("web1.key", "-----BEGIN OPENSSH PRIVATE KEY-----\n", "holds what only you may read"),
        ("settings.py", f"PASSWORD = '{SECRET}'\n", "holds the secret db_password"),
    ],
)
def test_what_only_the_operator_may_read_gets_into_no_image(folder: Path, name: str, content: str, words: str) -> None:
    """An image is shown to whoever may ask the engine; unless what it is built of leaves that out."""
    text = STACK.replace("build: worker", "build: .")
    (folder / "Dockerfile").write_text("FROM python:3.12.7-slim\nCOPY . /\n")
    others = "" if name == "hubfleet.yaml" else "hubfleet.yaml\n"
    (folder / ".dockerignore").write_text(others)
    (folder / name).write_text(content)
    (folder / name).chmod(0o600)
    with pytest.raises(CheckError) as caught:
        wanted(folder, text)
    assert f"{folder / name} {words}, and everybody who has the image of worker could read it" in str(caught.value)
    assert SECRET not in str(caught.value)
    (folder / ".dockerignore").write_text(f"{others}{name}\n")
    assert set(context(wanted(folder, text)["data1"], "worker")) == {
        *(".dockerignore", "Dockerfile", "worker/Dockerfile", "worker/app.py")
    }


def context(items: tuple[Resource, ...], service: str) -> dict[str, tarfile.TarInfo]:
    """What the engine is sent, by name."""
    image = next(item for item in items if isinstance(item, Image) and item.label == f"shop_{service}")
    with tarfile.open(fileobj=io.BytesIO(image.archive())) as archive:
        return {member.name: member for member in archive}


def test_a_program_may_be_run_in_the_image_too(folder: Path) -> None:
    def made() -> tuple[str, dict[str, int]]:
        items = wanted(folder)["data1"]
        tag = next(item.tag for item in items if isinstance(item, Image) and item.label == "shop_worker")
        return tag, {name: member.mode for name, member in context(items, "worker").items()}

    (folder / "worker" / "server").write_bytes(b"\x7fELF")
    (folder / "worker" / "entry.sh").write_text("#!/bin/sh\n")
    before, modes = made()
    assert modes == {"Dockerfile": 0o644, "app.py": 0o644, "server": 0o644, "entry.sh": 0o755}
    (folder / "worker" / "entry.sh").chmod(0o755)
    (folder / "worker" / "Dockerfile").chmod(0o755)
    (folder / "worker" / "app.py").chmod(0o654)
    assert made() == (before, modes), "nothing is built anew for what makes no difference"
    (folder / "worker" / "server").chmod(0o700)
    after, modes = made()
    assert modes["server"] == 0o755
    assert after != before


def test_what_a_dockerignore_names_is_not_sent(folder: Path) -> None:
    place = folder / "worker"
    (place / "node" / "deep").mkdir(parents=True)
    for name in ("node/one.js", "node/deep/two.js", "a.log", "node/b.log", "kept.log"):
        (place / name).write_text("x")
    os.symlink("/etc/shadow", place / "node" / "link")
    (place / ".dockerignore").write_text("# what is made anew\nnode\n**/*.log\n!kept.log\nDockerfile\n")
    assert set(context(wanted(folder)["data1"], "worker")) == {".dockerignore", "Dockerfile", "app.py", "kept.log"}
    (place / ".dockerignore").write_text("[z-a]\n")
    with pytest.raises(CheckError, match=re.escape(".dockerignore: `[z-a]` means nothing. Nothing was changed")):
        wanted(folder)


@pytest.mark.parametrize(
    ("lines", "out", "kept"),
    [
        ("*.md", ["README.md"], ["docs/README.md"]),
        ("**/*.md", ["README.md", "a/b/README.md"], ["README.mdx"]),
        ("/data/", ["data", "data/one/two"], ["more/data"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "ab"]),
        ("a/**/z", ["a/z", "a/b/c/z", "a/z/deep"], ["az", "b/a/z"]),
        ("./a/../b", ["b"], ["a"]),
        ("?.txt", ["a.txt"], ["ab.txt", ".txt"]),
        ("[ab].txt", ["a.txt"], ["c.txt"]),
        ("*\n!src", ["x", "x/y"], ["src", "src/deep/file"]),
        ("src\n!src/kept\nsrc/kept/not", ["src/x", "src/kept/not"], ["src/kept", "src/kept/x"]),
        ("#a\n\n  b  \n\\#c", ["b", "#c"], ["#a", "a"]),
        ("a.b", ["a.b"], ["aXb"]),
    ],
)
def test_a_dockerignore_says_what_it_says_to_docker(lines: str, out: list[str], kept: list[str]) -> None:
    ignored = Ignored.of(lines)
    assert [path for path in [*out, *kept] if ignored(path)] == out


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (
            {"listening": {"80": {"name": "apache2", "pid": 7}}},
            "apache2 (pid 7) holds port 80. Try: end it, or another",
        ),
        ({"listening": {"80": {"name": "x", "pid": 7}}, "ports": {"80": "other"}}, "container other holds port 80"),
        ({"listening": {"80": {"name": "x", "pid": 7}}, "ports": {"80": "hubfleet-shop_api"}}, ""),
        ({"docker": {"swarm": True}}, "part of a swarm"),
        ({}, ""),
    ],
)
def test_what_a_machine_says_of_itself_is_looked_at(folder: Path, facts: dict[str, Any], words: str) -> None:
    project, config, _ = load_project(write(folder, STACK), environ={})
    said = [*project.checks(config, "web1", {"listening": {}, "ports": {}, "docker": None, **facts})]
    assert (words in said[0]) if words else said == []


def test_a_secret_that_nobody_has_written_is_told(folder: Path) -> None:
    here = "project: services\nname: shop\nsecrets: {key: file}\nservices: {a: {image: 'a:1', secrets: [key]}}\n"
    write(folder, here)
    done = command.run(folder, "plan")
    assert done.code == 3
    told = "hubfleet.yaml:3: nobody has written the secret key. Try: `key: ...` in hubfleet.secrets.yaml"
    assert told in done.err
    (folder / "hubfleet.secrets.yaml").write_text("kye: x\n")
    (folder / "hubfleet.secrets.yaml").chmod(0o600)
    done = command.run(folder, "plan")
    assert "`kye` is not a secret that the configuration names: did you mean `key`? Try: key" in done.err


def test_the_commands_know_what_is_for_the_operator_alone(folder: Path) -> None:
    here = "project: services\nname: shop\nsecrets: {key: file}\nservices: {a: {build: ., secrets: [key]}}\n"
    write(folder, here).rename(folder / "shop.yaml")
    (folder / "Dockerfile").write_text("FROM python:3.12.7-slim\n")
    (folder / "shop.secrets.yaml").write_text(f"key: {SECRET}\n")
    (folder / "shop.secrets.yaml").chmod(0o600)
    opened_here = opened(Options(folder / "shop.yaml"))
    assert opened_here is not None
    assert opened_here.site.private == {folder / "shop.yaml", folder / "shop.secrets.yaml"}
    with pytest.raises(CheckError, match=r"shop\.secrets\.yaml holds what only you may read"):
        opened_here.project.desired(opened_here.config, opened_here.site)


def test_names_of_two_deployments_never_meet(folder: Path) -> None:
    """Such as service b-c of a, and service c of a-b."""
    text = "project: services\nname: {}\nservices: {{{}: {{image: 'a:1'}}}}\n"
    one = containers(wanted(folder, text.format("a", "b-c"))["this machine"])
    two = containers(wanted(folder, text.format("a-b", "c"))["this machine"])
    assert one["b-c"].name != two["c"].name


def test_the_examples_of_the_page_can_be_deployed(tmp_path: Path) -> None:
    """A health check runs as the service does, whose account the image knows nothing of."""
    texts = re.findall(r"^```yaml\n(.*?)^```", PAGE_OF_SERVICES.read_text(), re.MULTILINE | re.DOTALL)
    assert len(texts) == 2
    checks = []
    for text in texts:
        for name in re.findall(r"build: ([a-z]+)", text):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "Dockerfile").write_text("FROM python:3.12.7-slim\n")
        made = wanted(tmp_path, text)
        checks += [(one.user, one.health) for items in made.values() for one in containers(items).values()]
    asked = [health for user, health in checks if user and "pg_isready" in health]
    assert asked == [("pg_isready", "-U", "postgres")]


def test_the_written_reference_is_up_to_date(tmp_path: Path) -> None:
    main(tmp_path)
    for name in (PAGE, SCHEMA):
        assert (REFERENCE / name).read_text() == (tmp_path / name).read_text(), "run: make docs"


def test_every_setting_is_described_with_examples_that_are_valid() -> None:
    for name, field in Service.model_fields.items():
        usual = {"build": "api"} if name != "build" else {}
        usual = {} if name == "image" else {**usual, "user": "root"} if name == "capabilities" else usual
        assert field.description
        for example in field.examples or []:
            Service.model_validate({**usual, name: example})
    assert all(field.description and field.examples for field in ServicesConfig.model_fields.values())

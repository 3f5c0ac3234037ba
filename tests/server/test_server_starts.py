"""A server that cannot start: its user reads why on the hub's page, and the operator in its log."""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from deployed import Server
from harness import Person, await_that

import needs

pytestmark = needs.machines(1500)

DATA = "/srv/course-data"
SETTINGS = f"""\
storage: {{mounts: ["{DATA}:/data:ro"]}}
users: {{SMALL: {{servers: {{memory: {{limit: 64M}}}}}}}}
"""
FAILED = "Your server did not start"


@pytest.fixture(scope="module")
def small(deployed: Server) -> str:
    """Somebody with less memory than a server needs."""
    return deployed.new_name("minna")


@pytest.fixture
def hub(server: Server, small: str) -> Iterator[Server]:
    """With a mount, and with little for one of its people."""
    server.machine.run("mkdir", "-p", DATA)
    server.write(SETTINGS.replace("SMALL", small))
    server.up()
    yield server
    server.machine.run("mkdir", "-p", DATA)
    server.write("")
    server.up()


def page(person: Person) -> str:
    """What somebody reads, in a browser, who presses Start: the words, less what lays them out."""
    spawn = f"{person.hub.url}/hub/spawn/{person.name}"
    answer = person.session.get(spawn, timeout=60)

    def over() -> str:
        nonlocal answer
        if FAILED not in answer.text:
            assert "spawn-pending" in answer.url, (answer.status_code, answer.url, answer.text)
            answer = person.session.get(answer.url, timeout=60)
        return answer.text if FAILED in answer.text else ""

    return " ".join(html.unescape(await_that("the page tells of it", over, 120)).split())


def configure(hub: Server, person: Person, code: str) -> None:
    """Have this person's own servers run this code as they start. Their home has to be there."""
    folder = f"{hub.homes}/{person.name}/.jupyter"
    owner = f"--reference={hub.homes}/{person.name}"
    hub.machine.run(f"mkdir -p {folder}; cat > {folder}/jupyter_server_config.py; chown -R {owner} {folder}", text=code)


@contextmanager
def without_the_image(hub: Server, person: Person) -> Iterator[str]:
    launcher = hub.machine.run("cat", f"{hub.state}/launcher/launcher.json")
    image = launcher.partition('"image": "')[2].partition('"')[0]
    hub.machine.docker("tag", image, "kept:1")
    hub.machine.docker("rmi", image)
    yield f"the image {image} is not on this machine; an administrator has to run: hubfleet up"
    hub.machine.docker("tag", "kept:1", image)
    hub.machine.docker("rmi", "kept:1")


@contextmanager
def without_the_mount(hub: Server, person: Person) -> Iterator[str]:
    hub.machine.run("rmdir", DATA)
    yield f"{DATA} is missing on this machine; an administrator has to create it"
    hub.machine.run("mkdir", DATA)


@contextmanager
def with_little_memory(hub: Server, person: Person) -> Iterator[str]:
    # Whether a server itself is content with so little depends on the machine; with this of its user's own none is.
    if person.start()[-1].get("ready"):
        person.stop()
    configure(hub, person, "kept = bytearray(256 << 20)")
    yield "the server needs more than its memory limit of 64M"


@contextmanager
def with_settings_that_end_it(hub: Server, person: Person) -> Iterator[str]:
    assert person.start()[-1]["ready"]
    person.stop()
    configure(hub, person, "import sys; sys.exit('words of its own')")
    yield "it exited with code 1. It said last: words of its own"
    hub.machine.run(f"rm {hub.homes}/{person.name}/.jupyter/jupyter_server_config.py")


def test_its_user_and_the_operator_are_told_why(hub: Server, small: str) -> None:
    for name, fault in (
        (hub.new_name("vera"), without_the_image),
        (hub.new_name("olaf"), without_the_mount),
        (small, with_little_memory),
        (hub.new_name("hugo"), with_settings_that_end_it),
    ):
        person = hub.person(name)
        with fault(hub, person) as why:
            shown, said = page(person), " ".join(hub.run("logs", name).stdout.split())
        assert f"Your server could not be started: {why}" in shown, (fault, shown)
        assert "Try again" in shown
        assert f"{name}: {why}" in said, (fault, said)
        if name != small:
            assert person.start()[-1].get("ready"), "it starts once that is mended"
            person.stop()

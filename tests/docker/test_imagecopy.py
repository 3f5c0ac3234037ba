"""Images that go by way of a real registry from one engine's store to another's; here both are one engine."""

from __future__ import annotations

import base64
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import dockerd
import pytest
from registries import Registry

import needs
from hubfleet.agent import imagecopy
from hubfleet.agent.converge import apply, observe
from hubfleet.errors import ApplyError
from hubfleet.resources import Change, ImageGiven, ImageTaken, Resource
from pairs import make_pair

pytestmark = [needs.command("docker-registry"), pytest.mark.usefixtures("reach")]

TAG = "hubfleet/copied:0123456789abcdef"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    made = Registry(tmp_path, "127.0.0.1", make_pair("authority", authority=True))
    yield made
    made.end()


@pytest.fixture
def image(engine: dockerd.Dockerd, registry: Registry, tmp_path: Path) -> Iterator[str]:
    """The name in the registry that a small image of this engine is to have."""
    archive = tmp_path / "image.tar"
    with tarfile.open(archive, "w") as packed:
        packed.add(__file__, "file")
    engine.docker("import", archive, TAG)
    name = f"{registry.name}/{TAG}"
    yield name
    for tag in (TAG, name):
        engine.docker("rmi", "--force", tag, check=False)


def change(resource: Resource) -> Change | None:
    return resource.diff(observe([resource])[resource.id])


def make(resource: Resource) -> list[str]:
    wanted, said = change(resource), []
    assert wanted is not None
    apply(wanted, said.append)
    assert change(resource) is None
    return said


def test_given_and_taken(engine: dockerd.Dockerd, image: str) -> None:
    given, taken = ImageGiven(image, TAG), ImageTaken(image)
    assert change(given) is not None
    said = make(given)
    assert said[0] == f"giving {TAG} to {image.split('/')[0]}"
    before = engine.docker("inspect", "--format", "{{.Id}}", TAG)
    engine.docker("rmi", "--force", image)
    make(taken)
    assert engine.docker("inspect", "--format", "{{.Id}}", image) == before
    removal = taken.removal(observe([taken])[taken.id])
    assert removal is not None
    apply(removal, said.append)
    assert observe([taken])[taken.id] is None
    make(taken)  # giving it once was enough


def test_one_that_a_container_uses_is_not_removed(engine: dockerd.Dockerd, image: str) -> None:
    make(ImageGiven(image, TAG))
    container = engine.docker("create", image, "true").strip()
    try:
        taken = ImageTaken(image)
        assert taken.removal(observe([taken])[taken.id]) is None
    finally:
        engine.docker("rm", container)


def test_what_the_registry_does_not_have(image: str) -> None:
    with pytest.raises(ApplyError, match=r"not found|manifest unknown"):
        make(ImageTaken(image))


def test_no_registry(engine: dockerd.Dockerd, image: str, registry: Registry) -> None:
    registry.end()
    assert change(ImageGiven(image, TAG)) is not None
    with pytest.raises(ApplyError, match="connection refused"):
        make(ImageGiven(image, TAG))


def test_how_somebody_has_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `docker login` writes it down."""
    monkeypatch.setattr(imagecopy, "LOGINS", tmp_path / "config.json")
    reference = "registry.example.edu/hubs/hubfleet/users:1"
    assert json.loads(base64.urlsafe_b64decode(imagecopy.login(reference)["X-Registry-Auth"])) == {}
    known = {"auths": {"registry.example.edu": {"auth": base64.b64encode(b"ada:se:cret").decode()}}}
    imagecopy.LOGINS.write_text(json.dumps(known))
    found = json.loads(base64.urlsafe_b64decode(imagecopy.login(reference)["X-Registry-Auth"]))
    assert (found["username"], found["password"]) == ("ada", "se:cret")
    imagecopy.LOGINS.write_text(json.dumps({"auths": {"registry.example.edu": {}}, "credsStore": "pass"}))
    with pytest.raises(ApplyError, match="kept by another program"):
        imagecopy.login(reference)

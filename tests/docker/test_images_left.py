"""What builds leave in an engine is removed when nothing needs it: five generations, and what failed between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dockerd
import pytest
from converging import converge, own, remove
from registries import Registry

import needs
from hubfleet.agent.imagesleft import FETCHED
from hubfleet.errors import ApplyError
from hubfleet.machines import LocalMachine
from hubfleet.plan import Desired, Generations, apply_plan, make_plan
from hubfleet.resources import Image
from hubfleet.resources.image import PLACE
from pairs import make_pair

pytestmark = [
    needs.root(),
    needs.command("dockerd", package="docker.io"),
    needs.command("mmdebstrap"),
    needs.command("docker-registry"),
    pytest.mark.usefixtures("reach", "builds_alone"),
]

HERE = "127.0.0.1"  # whose certificates an engine does not ask about


class Bases:
    """Images in a registry that the engine has not, each another."""

    def __init__(self, engine: dockerd.Dockerd, registry: Registry, label: str) -> None:
        self.engine, self.registry, self.label = engine, registry, label

    def make(self, version: object) -> str:
        name = f"{self.registry.name}/{self.label}:{version}"
        text = f"FROM {dockerd.BASE}\nRUN echo {self.label} {version} > /version\n"
        self.engine.docker("build", "--quiet", "--tag", name, "-", text=text)
        self.engine.docker("push", "--quiet", name)
        self.engine.docker("rmi", name)
        assert not self.there(name)
        return name

    def there(self, name: str) -> bool:
        return self.engine.docker("images", "--quiet", name) != ""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One for all: what images have in common it is given once."""
    made = Registry(tmp_path_factory.mktemp("registry"), HERE, make_pair("authority", authority=True))
    yield made
    made.end()


@pytest.fixture
def bases(engine: dockerd.Dockerd, registry: Registry) -> Iterator[Bases]:
    made = Bases(engine, registry, own("left"))
    yield made
    for name in (f"hubfleet/{made.label}", f"{registry.name}/{made.label}"):
        for tag in engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}", name).split():
            engine.docker("rmi", "--force", tag)


def built(bases: Bases, base: str, *steps: str, note: str = "") -> Image:
    """An image of ours on this base, as those of a hub are made."""
    lines = [f"FROM {base}", "USER root", f"COPY note {PLACE}/build/", *steps]
    return Image.of(bases.label, base, "\n".join(lines) + "\n", {"note": f"{base} {note}".encode()})


def deploy(state: Path, *images: Image) -> None:
    machine = LocalMachine()
    desired, generations = Desired("test", state, {machine.name: images}), Generations(state)
    for _ in range(2):  # what was in use when the plan was made goes with the second
        plan = make_plan(desired, {machine.name: machine}, generations.known(), generations.images_kept(desired))
        number = generations.begin(plan)
        apply_plan(plan, {machine.name: machine}, lambda event: None)
        generations.switch(number)


def test_what_nobody_needs_of_five_generations_goes_and_hers_stays(
    engine: dockerd.Dockerd, bases: Bases, tmp_path: Path
) -> None:
    names = [bases.make(number) for number in range(1, 8)]
    images = [built(bases, name) for name in names]
    state = tmp_path / "state"

    def there() -> tuple[list[int], list[int]]:
        """Which of ours are there, and which bases."""
        ours = [number for number, image in enumerate(images, 1) if bases.there(image.tag)]
        return ours, [number for number, name in enumerate(names, 1) if bases.there(name)]

    deploy(state, images[0])
    engine.docker("run", "--detach", "--name", bases.label, "--network", "none", images[0].tag, "sleep", "600")
    try:
        for image in images[1:5]:
            deploy(state, image)
        # hers, and the last three, which one can go back to
        assert there() == ([1, 3, 4, 5], [1, 3, 4, 5])
        assert engine.docker("exec", bases.label, "cat", "/version") == f"{bases.label} 1"
        kept = {*engine.docker("images", "--format", "{{.Tag}}", FETCHED).split()}
        assert len(kept) >= 4, "they are known as fetched"
        engine.docker("kill", bases.label)
        deploy(state, images[5])
        assert there() == ([1, 4, 5, 6], [1, 4, 5, 6]), "it has ended, and can be looked at still"
    finally:
        engine.docker("rm", "--force", bases.label)
    deploy(state, images[6])
    assert there() == ([5, 6, 7], [5, 6, 7])
    now = {*engine.docker("images", "--format", "{{.Tag}}", FETCHED).split()}
    assert len(kept - now) == 3, "nor are those of 1, 3 and 4 there by their second name"


def test_a_base_stays_that_others_brought_or_use(engine: dockerd.Dockerd, bases: Bases) -> None:
    brought, used, copied, run = (bases.make(word) for word in ("brought", "used", "copied", "run"))
    engine.docker("pull", "--quiet", brought)
    images = [built(bases, name) for name in (brought, used, copied, run)]
    for image in images:
        converge(image)
    theirs, other = f"{bases.registry.name}/{bases.label}:theirs", f"{bases.registry.name}/{bases.label}:other"
    engine.docker("build", "--quiet", "--tag", theirs, "-", text=f"FROM {used}\nRUN echo theirs > /theirs\n")
    engine.docker("tag", copied, other)
    engine.docker("create", "--name", bases.label, run, "true")
    for image in images:
        remove(image)
    assert [bases.there(name) for name in (brought, used, copied, run)] == [True, True, False, True]
    assert bases.there(other), "its other name, and so its content"
    engine.docker("rm", bases.label)
    engine.docker("rmi", theirs)
    again = built(bases, brought, note="again")
    converge(again)
    assert [bases.there(name) for name in (brought, used, run)] == [True, False, False], "now nobody uses them"


def test_steps_of_builds_that_failed_go_when_one_has_succeeded(engine: dockerd.Dockerd, bases: Bases) -> None:
    base = bases.make(1)
    failing = built(bases, base, f"RUN echo {bases.label} > {PLACE}/large", f"RUN test -e {PLACE}/never")
    with pytest.raises(ApplyError):
        converge(failing)
    left = steps(engine, bases)
    assert left, "the next try begins with them"
    theirs = f"FROM {dockerd.BASE}\nRUN echo {bases.label} > /theirs\nRUN exit 3\n"
    engine.docker("build", "--quiet", "--force-rm", "-", text=theirs, check=False)
    kept = steps(engine, bases)
    assert left < kept
    converge(built(bases, base, f"RUN echo {bases.label} > {PLACE}/other"))
    assert steps(engine, bases) == kept - left
    assert bases.there(base)


def test_the_base_of_a_build_that_failed_goes_with_its_steps(engine: dockerd.Dockerd, bases: Bases) -> None:
    first, second = bases.make(1), bases.make(2)
    with pytest.raises(ApplyError):
        converge(built(bases, first, f"RUN test -e {PLACE}/never"))
    assert bases.there(first)
    converge(built(bases, second))
    assert [bases.there(first), bases.there(second)] == [False, True]


def steps(engine: dockerd.Dockerd, bases: Bases) -> set[str]:
    """Images without a name that nothing is built on, of this test."""
    found = engine.docker("images", "--quiet", "--no-trunc", "--filter", "dangling=true").split()
    return {one for one in found if bases.label in engine.docker("history", "--no-trunc", one)}

"""Images are built by the agent on a real engine, and named by what decides their content."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator

import dockerd
import pytest
from converging import converge, look, own, remove

import needs
from hubfleet.agent import converge as agent
from hubfleet.agent import image as image_agent
from hubfleet.agent.image import WIDTH
from hubfleet.errors import ApplyError
from hubfleet.resources import Image
from waiting import soon

pytestmark = [
    needs.root(),
    needs.command("dockerd", package="docker.io"),
    needs.command("mmdebstrap"),
    pytest.mark.usefixtures("reach", "builds"),
]


@pytest.fixture
def label(engine: dockerd.Dockerd) -> Iterator[str]:
    """A label of this test only; its images are removed."""
    name = own("image")
    yield name
    for tag in engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}", f"hubfleet/{name}").split():
        engine.docker("rmi", "--force", tag)


def made(label: str, *steps: str, **files: str) -> Image:
    lines = [f"FROM {dockerd.BASE}", f"ENV NAME={label}", *steps]
    return Image.of(label, dockerd.BASE, "\n".join(lines) + "\n", {name: text.encode() for name, text in files.items()})


def test_it_is_built_of_its_files_and_removed(engine: dockerd.Dockerd, label: str) -> None:
    image = made(label, "COPY program note /", program="#!/bin/sh\ncat /note\n", note="hello\n")
    said: list[str] = []
    change = converge(image, said)
    assert change
    assert change.detail == (f"built on {dockerd.BASE}", "of 2 files and a Dockerfile")
    assert engine.docker("run", "--rm", "--network", "none", image.tag, "/program") == "hello"
    assert f"building image {label}: step 3 of 3: COPY program note /" in said
    assert converge(image) is None
    remove(image)
    assert not engine.docker("images", "--quiet", image.tag)


def test_it_stays_while_there_are_containers_of_it(engine: dockerd.Dockerd, label: str) -> None:
    image = made(label)
    converge(image)
    engine.docker("create", "--name", label, image.tag, "true")
    try:
        observed = look(image)
        assert observed
        assert observed["users"] == 1
        assert image.removal(observed) is None
    finally:
        engine.docker("rm", label)
    remove(image)


def test_a_step_that_fails_is_told_with_the_end_of_its_output(engine: dockerd.Dockerd, label: str) -> None:
    loud = "RUN seq 100; echo https://ann:canary@example.org/simple; exit 3"
    image = made(label, "RUN echo early", loud)
    said: list[str] = []
    with pytest.raises(ApplyError) as caught:
        converge(image, said)
    text = str(caught.value)
    assert text.startswith(f"building image {label}: step 4 of 4: RUN seq 100; echo https://********@")
    assert "failed:\n    87\n" in text
    assert "    100\n    https://********@example.org/simple\n" in text
    assert "returned a non-zero code: 3" in text
    assert "canary" not in text + "".join(said)
    with pytest.raises(ApplyError) as caught:
        converge(made(label, "RUN echo not kept", "RUN exit 3"))  # and not the cached step of the one above
    assert "not kept" not in caught.value.what.split("failed:")[1]
    assert look(image) is None
    assert not engine.docker("images", "--quiet", image.tag)


def test_a_long_step_is_shown_by_its_beginning_and_gives_signs_of_life(
    label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_agent, "HEARTBEAT_SECONDS", 0.3)
    said: list[str] = []
    converge(made(label, f"RUN sleep 1.5; : {'x' * 200}"), said)
    words = f"building image {label}: step 3 of 3: RUN sleep 1.5; : xxxx"
    steps = [line for line in said if line.startswith(words)]
    assert len(steps) >= 3
    assert steps[0].endswith("...")
    assert len(steps[0].split(": ", 2)[2]) == WIDTH
    assert steps[1].endswith(" s)")


def test_arguments_of_the_build_are_no_part_of_the_name(engine: dockerd.Dockerd, label: str) -> None:
    plain = made(label, "RUN test -z $http_proxy || echo $http_proxy > /proxy")
    through = Image(plain.tag, plain.label, plain.base, plain.context, {"http_proxy": "http://ann:canary@192.0.2.1"})
    converge(through)
    assert engine.docker("run", "--rm", "--network", "none", plain.tag, "cat", "/proxy").endswith("192.0.2.1")
    assert "canary" not in engine.docker("history", "--no-trunc", plain.tag)


def test_killed_in_the_middle_nothing_is_tagged_and_the_next_one_finishes(engine: dockerd.Dockerd, label: str) -> None:
    """The step that was cut off does not go on by itself."""
    image = made(label, "COPY wait /", "RUN sh /wait", wait=f"test -e /never || sleep 30 # {label}\n")
    change = image.diff(None)
    fork = multiprocessing.get_context("fork")
    child = fork.Process(target=agent.apply, args=(change, _nobody))
    child.start()

    def builders(*more: str) -> list[str]:
        listed = engine.docker("ps", "--quiet", *more).split()
        return [one for one in listed if f"NAME={label}" in engine.docker("inspect", one, check=False)]

    soon(builders)
    assert child.pid
    os.kill(child.pid, 9)
    child.join()
    soon(lambda: not builders())
    assert look(image) is None
    quick = made(label, "COPY wait /", "RUN sh /wait", wait="true\n")
    converge(quick)
    assert not builders("--all")


def _nobody(line: str) -> None:
    pass

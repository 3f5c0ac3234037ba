"""The engine that the other tests stand on."""

from __future__ import annotations

import dockerd
import pytest

import needs

pytestmark = [needs.root(), needs.command("dockerd", package="docker.io"), needs.command("mmdebstrap")]


@pytest.mark.timeout(600)  # the image is made of downloaded packages
def test_a_container_of_the_base_image_runs(engine: dockerd.Dockerd) -> None:
    said = engine.docker("run", "--rm", "--network", "none", dockerd.BASE, "python3", "-c", "print(6 * 7)")
    assert said == "42"


def test_a_second_user_shares_the_engine(engine: dockerd.Dockerd) -> None:
    with dockerd.shared() as same:
        assert same.socket == engine.socket
        assert same.inspect(dockerd.BASE)
    assert engine.answers()

"""One server with one deployed hub for all tests of this folder: to build its images takes minutes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import dockerd
import pytest
from deployed import DistantCommandLines, Server
from machines import Lab


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The hub as its first `up` has left it. ``told``: what that said; ``seen``: command lines there meanwhile."""
    with dockerd.shared() as engine, tempfile.TemporaryDirectory() as place:
        lab = Lab(engine, Path(place), owner=str(os.getpid()))
        try:
            machine = lab.start("hub1", docker_installed=True)
            machine.start_docker()
            machine.load(dockerd.BASE)
            server = Server(machine, tmp_path_factory.mktemp("server"))
            server.plant()
            with DistantCommandLines(machine, pause=0.2) as watch:
                server.told = server.up()
            server.seen = watch.seen
            yield server
        finally:
            lab.close()


@pytest.fixture
def server(deployed: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The hub, running, with the settings it began with; this process trusts its authority, and no other."""
    deployed.trusted(monkeypatch)
    deployed.await_answer()
    return deployed

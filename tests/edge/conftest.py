"""What the tests of this group share."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import edges
import pytest

from hubfleet.config import Config


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A directory whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="hfe-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def node(place: Path) -> Path:
    """The environment of a proxy."""
    return edges.node_environment(place)


@pytest.fixture(scope="session")
def behind(place: Path) -> Iterator[edges.Behind]:
    """What the proxy asks for everything."""
    served = edges.Behind(place / "behind.sock")
    yield served
    served.close()


@pytest.fixture(scope="module")
def proxy(node: Path, behind: edges.Behind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[edges.Proxy]:
    """A running proxy."""
    with tempfile.TemporaryDirectory(prefix="hfp-") as folder:
        running = edges.Proxy(node, Path(folder), behind)
        running.start()
        yield running
        running.end()


@pytest.fixture
def new_edge(tmp_path: Path, proxy: edges.Proxy, hub_logs: list[Path]) -> Iterator[Callable[..., edges.Edge]]:
    """Makes edges in front of the proxy (not yet started); all are ended."""
    made: list[edges.Edge] = []

    def make(config: Config, network: edges.Network | None = None, **places: Any) -> edges.Edge:
        made.append(edges.Edge(tmp_path / f"edge{len(made)}", config, proxy.socket, network, **places))
        hub_logs.append(made[-1].log)
        return made[-1]

    yield make
    for edge in made:
        edge.end()

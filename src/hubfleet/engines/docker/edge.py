"""The edge: a Caddy in front of the proxy, which encrypts. Pure: configuration and places in, Caddy's JSON out.

JSON, not a Caddyfile: nothing is left to quoting, or to what Caddy makes of a shorter form. The proxy behind it adds
no forwarding headers of its own (`--no-x-forward`): on a Unix socket it does not know whom they should name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hubfleet
from hubfleet.config import Config
from hubfleet.config.https import PUBLIC_AUTHORITY, Https
from hubfleet.link import NAME

# What else programs believe of a request's origin. Of these the edge sends none, so none may come from outside.
_BELIEVED = (
    *("Forwarded", "X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "X-Scheme", "X-Forwarded-Scheme", "Front-End-Https"),
    *("X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Server", "X-Forwarded-Ssl", "X-Forwarded-Protocol"),
    *("X-Forwarded-User", "X-Remote-User"),
)
_HSTS_S = 180 * 86400
# Nobody's name: the certificate for it is served while an authority has not given the real one.
_SPARE = "hubfleet.invalid"
STOP_SIGNAL = "SIGQUIT"
"""Ends it at once. Asked by SIGTERM it would tell each open websocket that it "goes away", which JupyterLab takes for
the end: its page stays disconnected from its kernel. What breaks off without a word is connected anew."""
_OWN_LIFETIME = "8760h"
"""A year: a browser's exception is for one certificate, and is asked for anew with each."""


@dataclass(frozen=True)
class Places:
    """Where the edge finds what it needs, as paths and ports that it sees itself.

    ``entrance``: the proxy's socket. ``storage``: a directory of the edge's own, kept: certificates and their keys.
    ``certificate``, ``key``, ``ca_bundle``: files, where the configuration has them.
    ``http_port`` and ``https_port`` are listened on; ``public_port`` is where people reach the second of them.
    ``alive``: a socket of its own at which it says that it runs.
    ``names``: what a self-signed certificate is for when there is no domain.
    ``gate``: "address:port" of the gate on the hub's machine, in place of ``entrance``, and ``link`` the directory of
    what is shown there: certificate.pem, key.pem, and gate.pem, the only certificate that the gate may have.
    """

    entrance: str
    storage: str
    gate: str = ""
    link: str = ""
    certificate: str = ""
    key: str = ""
    ca_bundle: str = ""
    http_port: int = 80
    https_port: int = 443
    public_port: int = 443
    names: tuple[str, ...] = ("localhost",)
    alive: str = ""


def command(file: str) -> tuple[str, ...]:
    """The edge's program. ``file`` holds what `caddy_json` returned; a changed one is read after a restart."""
    return ("caddy", "run", "--config", file)


def health(socket: str) -> tuple[str, ...]:
    """A program that succeeds if the edge answers at its ``alive`` socket."""
    return ("curl", "--silent", "--fail", "--max-time", "5", "--unix-socket", socket, "http://edge/")


def caddy_json(config: Config, places: Places) -> str:
    """Caddy's configuration."""
    encrypted = config.https_kind != "off"
    servers = {"http": _redirect(config, places), "https": _https(config, places)} if encrypted else {}
    apps: dict[str, Any] = {
        "http": {
            "http_port": places.http_port,
            "https_port": places.https_port,
            # Whoever replaces the edge waits for it: requests may end, but not for hours.
            "grace_period": "3s",
            "servers": {**(servers or {"http": _plain(config, places)}), **_alive(places.alive)},
        }
    }
    if encrypted:
        apps |= _certificates(config, places)
    return _text(apps, places.storage)


def gate_json(entrance: str, folder: str, port: int, alive: str) -> str:
    """The configuration of the Caddy at the hub's machine that an edge on another one comes in by.

    ``folder`` has its certificate.pem and key.pem, and edge.pem: who has that certificate's key is let in, and nobody
    else. So what it says of whom it asks for is passed on as it is.
    """
    client = {"mode": "require_and_verify", "trusted_ca_certs_pem_files": [f"{folder}/edge.pem"]}
    said = {name: [f"{{http.request.header.{name}}}"] for name in _SAID_BY_EDGE}
    proxy = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"unix/{entrance}"}],
        "headers": {"request": {"set": said}},
        **_PATIENCE,
        "transport": _TO_NODE,
    }
    bare = {"handler": "headers", "response": {"delete": ["Server"], "deferred": True}}
    server = _server(
        port,
        [{"handle": [bare, proxy]}],
        errors={"routes": _error_routes({"handler": "headers", "response": {"delete": ["Server"]}})},
        protocols=["h1"],
        tls_connection_policies=[{"client_authentication": client, "protocol_min": "tls1.3"}],
        # People ask for the hub's name, the edge for the gate's: what they ask for is not who they are.
        strict_sni_host=False,
    )
    pair = {"certificate": f"{folder}/certificate.pem", "key": f"{folder}/key.pem", "format": "pem"}
    servers = {"gate": server, **_alive(alive)}
    apps = {
        # not its usual ones, which it may not take
        "http": {"http_port": 8080, "https_port": port, "grace_period": "3s", "servers": servers},
        "tls": {"disable_ocsp_stapling": True, "certificates": {"load_files": [pair]}},
    }
    return _text(apps, f"{folder}/storage")


def _text(apps: dict[str, Any], storage: str) -> str:
    return json.dumps(
        {
            "admin": {"disabled": True, "config": {"persist": False}},
            "logging": {"logs": {"default": _LOG}},
            "storage": {"module": "file_system", "root": storage},
            "apps": apps,
        },
        indent=1,
    )


# Requests are in no line: addresses may hold tokens. There is no log of accesses.
_LOG: dict[str, Any] = {
    "writer": {"output": "stderr"},
    "level": "INFO",
    "encoder": {
        "format": "filter",
        "wrap": {"format": "console", "time_format": "iso8601", "level_format": "upper"},
        "fields": {"request": {"filter": "delete"}},
    },
}


def _server(port: int, routes: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "listen": [f":{port}"],
        # Long for a head, and no limit for what follows: uploads, websockets, the progress of a start.
        "read_header_timeout": "20s",
        "idle_timeout": "5m",
        "automatic_https": {"disable": True},
        "routes": routes,
        **more,
    }


def _https(config: Config, places: Places) -> dict[str, Any]:
    elsewhere = {
        "match": [{"not": [{"host": [config.domain]}]}],
        "handle": [_to_https(config, places)],
        "terminal": True,
    }
    return _server(
        places.https_port,
        [*([elsewhere] if config.domain else []), *_hub(config, places)],
        errors={"routes": _errors(config)},
        protocols=["h1", "h2"],
        # Without a rule of ours, Caddy has no certificate for a name it does not know, or for no name at all. With it,
        # it takes what there is: the spare one, and browsers say what is wrong with it.
        tls_connection_policies=[{"certificate_selection": {}}],
    )


def _plain(config: Config, places: Places) -> dict[str, Any]:
    return _server(places.http_port, _hub(config, places), errors={"routes": _errors(config)}, protocols=["h1"])


def _redirect(config: Config, places: Places) -> dict[str, Any]:
    return _server(places.http_port, [{"handle": [_to_https(config, places)]}], protocols=["h1"])


def _alive(socket: str) -> dict[str, Any]:
    """Answers whoever looks whether the edge runs, without going through it to the hub."""
    if not socket:
        return {}
    answer = {"handler": "static_response", "status_code": 204}
    listens = {"listen": [f"unix/{socket}"], "automatic_https": {"disable": True}}
    return {"alive": {**listens, "routes": [{"handle": [answer]}], "protocols": ["h1"]}}


def _to_https(config: Config, places: Places) -> dict[str, Any]:
    host = config.domain or "{http.request.host}"
    host = f"[{host}]" if config.domain and ":" in host else host
    port = "" if places.public_port == 443 else f":{places.public_port}"
    target = f"https://{host}{port}{{http.request.uri}}"
    return {"handler": "static_response", "status_code": 308, "headers": {"Location": [target], "Server": []}}


def _hub(config: Config, places: Places) -> list[dict[str, Any]]:
    """The hub's pages: headers in order, the hub's own scripts compressed, all else as it is.

    JupyterLab's scripts are compressed already, and users' downloads keep their length.
    """
    encode = {
        "handler": "encode",
        "encodings": {"gzip": {}},
        "prefer": ["gzip"],
        "match": {"headers": {"Content-Type": ["text/css*", "application/javascript*", "text/javascript*"]}},
    }
    return [
        {"handle": [{**_headers(config, deferred=True), "request": {"delete": list(_BELIEVED)}}]},
        {"match": [{"path": ["/hub/static/*"]}], "handle": [encode]},
        {"handle": [_to_proxy(config, places)]},
    ]


_SAID_BY_EDGE = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host")
# A proxy that is being replaced is waited for, instead of an error for all who ask meanwhile.
_PATIENCE: dict[str, Any] = {"load_balancing": {"try_duration": "5s", "try_interval": "100ms"}}
_TO_NODE: dict[str, Any] = {
    "protocol": "http",
    "versions": ["1.1"],
    "compression": False,
    # The proxy (Node) closes what was idle for 5 s. The edge has to be first: a request that it sends at that very
    # moment would be lost.
    "keep_alive": {"idle_timeout": "4s", "max_idle_conns_per_host": 256},
}


def _to_proxy(config: Config, places: Places) -> dict[str, Any]:
    upstream = places.gate or f"unix/{places.entrance}"
    # The name that was asked for, not the gate's, is what the hub has to know.
    name = {"headers": {"request": {"set": {"Host": ["{http.request.hostport}"]}}}} if places.gate else {}
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": upstream}],
        "trusted_proxies": list(config.listen.trusted_proxies),
        **name,
        **_PATIENCE,
        "transport": _to_gate(places.link) if places.gate else _TO_NODE,
    }


def _to_gate(link: str) -> dict[str, Any]:
    return {
        "protocol": "http",
        "versions": ["1.1"],  # websockets have no other
        "compression": False,
        "dial_timeout": "3s",
        # Far below the time after which the gate closes what is idle.
        "keep_alive": {"idle_timeout": "1m", "max_idle_conns_per_host": 256},
        "tls": {
            "server_name": NAME,
            "root_ca_pem_files": [f"{link}/gate.pem"],
            "client_certificate_file": f"{link}/certificate.pem",
            "client_certificate_key_file": f"{link}/key.pem",
            "handshake_timeout": "5s",
        },
    }


def _headers(config: Config, *, deferred: bool) -> dict[str, Any]:
    """What is added to answers and taken from them. deferred: once the proxy's are known."""
    trusted = config.https_kind in ("auto", "authority", "certificate")
    hsts = {"set": {"Strict-Transport-Security": [f"max-age={_HSTS_S}"]}} if trusted else {}
    response = {"delete": ["Server"], **hsts}
    return {"handler": "headers", "response": {**response, "deferred": True} if deferred else response}


def _errors(config: Config) -> list[dict[str, Any]]:
    return _error_routes(_headers(config, deferred=False))


def _error_routes(headers: dict[str, Any]) -> list[dict[str, Any]]:
    page = Path(hubfleet.__file__).parent / "hub" / "proxy-errors" / "503.html"
    answer = {
        "handler": "static_response",
        "status_code": 503,
        "headers": {"Content-Type": ["text/html; charset=utf-8"], "Cache-Control": ["no-store"], "Retry-After": ["5"]},
        "body": page.read_text(encoding="utf-8"),
    }
    unanswered = "{http.error.status_code} in [502, 503, 504]"
    return [{"handle": [headers]}, {"match": [{"expression": unanswered}], "handle": [answer]}]


def _certificates(config: Config, places: Places) -> dict[str, Any]:
    # A start must not wait for an authority's answer about a certificate.
    tls: dict[str, Any] = {"disable_ocsp_stapling": True}
    if config.https_kind == "certificate":
        files = {"certificate": places.certificate, "key": places.key, "format": "pem"}
        return {"tls": {**tls, "certificates": {"load_files": [files]}}}
    own = {"module": "internal", "lifetime": _OWN_LIFETIME, "sign_with_root": True}
    names = (config.domain,) if config.domain else places.names
    policies = {names: own}
    if config.https_kind != "self-signed":
        policies = {names: _authority(config, places), (_SPARE,): own}
    tls["certificates"] = {"automate": [name for subjects in policies for name in subjects]}
    tls["automation"] = {
        "policies": [
            {"subjects": list(subjects), "issuers": [issuer], "disable_ocsp_stapling": True}
            for subjects, issuer in policies.items()
        ]
    }
    own_authority = {"name": f"hub {config.hub}", "install_trust": False}
    return {"tls": tls, "pki": {"certificate_authorities": {"local": own_authority}}}


def _authority(config: Config, places: Places) -> dict[str, Any]:
    given = config.https if isinstance(config.https, Https) else Https.model_construct()
    ports = {"http": {"alternate_port": places.http_port}, "tls-alpn": {"alternate_port": places.https_port}}
    issuer: dict[str, Any] = {"module": "acme", "ca": given.acme or PUBLIC_AUTHORITY, "challenges": ports}
    if given.email:
        issuer["email"] = given.email
    if given.ca_bundle:
        issuer["trusted_roots_pem_files"] = [places.ca_bundle]
    return issuer

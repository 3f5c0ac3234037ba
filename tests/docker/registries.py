"""A registry of images (Debian's docker-registry) over TLS, and who gives tokens for it as public ones have it."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import bcrypt
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from harness import free_port

from pairs import Pair, make_pair
from waiting import soon

SERVICE, ISSUER = "registry.example.edu", "tokens.example.edu"
OPEN = "open/"
"""What the names of repositories begin with that anybody may pull from."""
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class Registry:
    """A running one on ``address``; ``name`` is what images' names begin with. Its files are in ``folder``.

    tokens: who asks without a token of theirs is sent there. accounts: who else may ask nothing, names and passwords.
    """

    def __init__(
        self,
        folder: Path,
        address: str,
        authority: Pair,
        tokens: Tokens | None = None,
        accounts: Mapping[str, str] | None = None,
    ) -> None:
        self.folder, self.port = folder, free_port()
        self.name = f"{address}:{self.port}"
        self.authority = folder / "authority.crt"
        self.authority.write_bytes(authority.pem)
        place = folder / str(self.port)
        place.mkdir()
        certificate, key = make_pair(address, by=authority).write(place, authority)
        settings = {
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}},
            "http": {"addr": self.name, "tls": {"certificate": str(certificate), "key": str(key)}},
            **({"auth": {"token": tokens.settings(place)}} if tokens else {}),
            **({"auth": {"htpasswd": _htpasswd(place, accounts)}} if accounts else {}),
        }
        self._place = place
        (place / "config.yml").write_text(json.dumps(settings))
        self.start()

    def start(self) -> None:
        """Be there, with what it had before."""
        with (self._place / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", self._place / "config.yml"],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        soon(lambda: self._process.poll() is not None or self._status())
        assert self._process.poll() is None, (self._place / "log").read_text()

    def _status(self) -> int:
        try:
            return requests.get(f"https://{self.name}/v2/", verify=str(self.authority), timeout=5).status_code
        except requests.ConnectionError:
            return 0

    def put(self, repository: str, tag: str) -> str:
        """Have an image of nothing; its name."""
        blob = b"{}"
        digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
        session = requests.Session()
        session.verify, session.trust_env = str(self.authority), False  # which would name another bundle
        begun = session.post(f"https://{self.name}/v2/{repository}/blobs/uploads/")
        session.put(begun.headers["Location"], params={"digest": digest}, data=blob).raise_for_status()
        config = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(blob), "digest": digest}
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": []}
        session.put(
            f"https://{self.name}/v2/{repository}/manifests/{tag}",
            data=json.dumps(manifest),
            headers={"Content-Type": _MANIFEST},
        ).raise_for_status()
        return f"{self.name}/{repository}:{tag}"

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


class Tokens:
    """Gives anybody a token; one that opens what begins with `OPEN`, and for the rest one that opens nothing.

    accounts: headers of who may do more, and what: "pull", "push".
    """

    def __init__(
        self, folder: Path, address: str, authority: Pair, accounts: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._signer = make_pair("signer", authority=True)
        self._accounts = accounts or {}
        self.asked: list[str] = []
        certificate, key = make_pair(address, by=authority).write(folder, authority)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        tokens = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                tokens.asked.append(self.path)
                may = tokens._accounts.get(self.headers.get("Authorization", ""), ())
                body = json.dumps({"token": tokens._token(parse_qs(urlsplit(self.path).query), may)}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words: object) -> None:
                """Nothing."""

        self._server = http.server.ThreadingHTTPServer((address, 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://{address}:{self._server.server_address[1]}/token"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def settings(self, folder: Path) -> dict[str, str]:
        """For the registry."""
        (folder / "signer.pem").write_bytes(self._signer.pem)
        return {
            "realm": self.url,
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": str(folder / "signer.pem"),
        }

    def _token(self, asked: dict[str, list[str]], may: Sequence[str]) -> str:
        kind, name, wanted = asked["scope"][0].split(":")
        actions = [one for one in wanted.split(",") if one in (may or (["pull"] if name.startswith(OPEN) else []))]
        access = [{"type": kind, "name": name, "actions": actions}]
        now = int(time.time())
        der = self._signer.certificate.public_bytes(Encoding.DER)
        head = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
        times = {"iat": now, "nbf": now - 60, "exp": now + 60, "jti": "1"}
        claims = {"iss": ISSUER, "sub": "", "aud": asked["service"][0], "access": access, **times}
        text = ".".join(_plain(json.dumps(part).encode()) for part in (head, claims))
        first, second = decode_dss_signature(self._signer.key.sign(text.encode(), ec.ECDSA(SHA256())))
        return f"{text}.{_plain(first.to_bytes(32, 'big') + second.to_bytes(32, 'big'))}"

    def end(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _htpasswd(folder: Path, accounts: Mapping[str, str]) -> dict[str, str]:
    """For the registry."""
    hashed = {name: bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode() for name, password in accounts.items()}
    (folder / "htpasswd").write_text("".join(f"{name}:{word}\n" for name, word in hashed.items()))
    return {"realm": SERVICE, "path": str(folder / "htpasswd")}


def _plain(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

"""Providers of logins on this machine: a real one of OpenID Connect, and servers that speak as others do."""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import oidc_provider_mock
import requests
import werkzeug.serving
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

CLIENT, SECRET = "hub-client", "canary-client-secret"

Answer = tuple[int, dict[str, str], bytes]


class OpenId:
    """A provider of OpenID Connect with a page on which one says who one is."""

    def __init__(self, token_lasts: timedelta = timedelta(hours=1), refresh: bool = True) -> None:
        self._app = oidc_provider_mock.app(
            require_client_registration=True, access_token_max_age=token_lasts, issue_refresh_token=refresh
        )
        self._server: werkzeug.serving.BaseWSGIServer | None = None
        self._port = 0
        self.url = ""

    def start(self) -> None:
        """Be there, at the same address as before."""
        self._server = werkzeug.serving.make_server("127.0.0.1", self._port, self._app, threaded=True)
        self._port = self._server.server_port
        self.url = f"http://127.0.0.1:{self._port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Be away."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def register(self, callback: str) -> tuple[str, str]:
        """A client's id and secret."""
        body = {"redirect_uris": [callback], "token_endpoint_auth_method": "client_secret_basic"}
        made = requests.post(f"{self.url}/oauth2/clients", json=body, timeout=10)
        made.raise_for_status()
        return made.json()["client_id"], made.json()["client_secret"]

    def add(self, sub: str, **claims: Any) -> None:
        """Somebody with an account, or what is different of them from now on."""
        requests.put(f"{self.url}/users/{sub}", json=claims, timeout=10).raise_for_status()

    def revoke(self, sub: str) -> None:
        """Take all tokens of somebody back."""
        requests.post(f"{self.url}/users/{sub}/revoke-tokens", timeout=10).raise_for_status()


class Provider:
    """What providers of OAuth have in common. Who is asked says yes at once: ``who`` is signed in there.

    ``callback``: what is registered. ``instead``: what everybody gets in place of an answer.
    """

    def __init__(self) -> None:
        self.who = ""
        self.callback = ""
        self.client, self.secret = CLIENT, SECRET
        self.instead: Answer | None = None
        self.asked: list[str] = []
        self.codes: dict[str, dict[str, str]] = {}
        self.tokens: dict[str, str] = {}
        self.refreshes: dict[str, str] = {}
        self.lasts = 3600
        self.url, self.host = "", "127.0.0.1"
        self.certificate: tuple[str, str] | None = None
        """Files with a certificate and its key: it is spoken to by HTTPS then."""
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self._handler: Any = None

    # -- what each does its own way ------------------------------------------------------------------------------------

    authorize_path = ""
    token_path = ""
    basic = False

    def person(self, path: str, query: dict[str, str], token: str | None) -> Answer:
        """The answer of its API to somebody with a token; the token's person is `self.tokens[token]`."""
        raise NotImplementedError

    def token_answer(self, access: str, refresh: str, who: str) -> dict[str, Any]:
        return {"access_token": access, "token_type": "bearer", "expires_in": self.lasts, "refresh_token": refresh}

    def new_token(self, who: str) -> str:
        return f"canary-access-{secrets.token_hex(8)}"

    def token_error(self, code: str) -> Answer:
        return _json({"error": code, "error_description": f"{code}: that is wrong"}, 401 if "client" in code else 400)

    def wrong_callback(self, query: dict[str, str]) -> Answer:
        return 400, {"Content-Type": "text/html"}, b"<h1>Error 400: redirect_uri_mismatch</h1>"

    def wrong_client(self) -> Answer:
        return 400, {"Content-Type": "text/html"}, b"<h1>invalid_client</h1>"

    def token_of(self, headers: Any) -> str | None:
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        return token if scheme.lower() in ("bearer", "token") else None

    # -- the rest ------------------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, str], headers: Any) -> Answer:
        if self.instead:
            return self.instead
        if path == self.authorize_path:
            return self._authorize(query)
        if path == self.token_path and method == "POST":
            return self._token(body, headers)
        token = self.token_of(headers)
        return self.person(path, query, token if token in self.tokens else None)

    def _authorize(self, query: dict[str, str]) -> Answer:
        if query.get("client_id") != self.client:
            return self.wrong_client()
        if query.get("redirect_uri") != self.callback:
            return self.wrong_callback(query)
        if not self.who:
            return self.back({"error": "access_denied", "error_description": "The user said no"}, query)
        code = secrets.token_hex(8)
        self.codes[code] = {**query, "who": self.who}
        return self.back({"code": code}, query)

    def back(self, told: dict[str, str], query: dict[str, str]) -> Answer:
        return 302, {"Location": f"{self.callback}?{urlencode({**told, 'state': query.get('state', '')})}"}, b""

    def _token(self, body: dict[str, str], headers: Any) -> Answer:
        given = body.get("client_id", ""), body.get("client_secret", "")
        scheme, _, coded = headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            name, _, word = base64.b64decode(coded).decode().partition(":")
            given = name, word
        elif self.basic:
            return self.token_error("invalid_client")
        if given != (self.client, self.secret):
            return self.token_error("invalid_client")
        if body.get("grant_type") == "refresh_token":
            who = self.refreshes.pop(body.get("refresh_token", ""), "")
            if not who:
                return self.token_error("invalid_grant")
        else:
            begun = self.codes.pop(body.get("code", ""), None)
            if begun is None or begun["redirect_uri"] != body.get("redirect_uri"):
                return self.token_error("invalid_grant")
            who = begun["who"]
        access, refresh = self.new_token(who), f"canary-refresh-{secrets.token_hex(8)}"
        self.tokens[access], self.refreshes[refresh] = who, who
        return _json(self.token_answer(access, refresh, who))

    def revoke(self) -> None:
        """Take all tokens back, also those that renew others."""
        self.tokens.clear()
        self.refreshes.clear()

    def start(self) -> None:
        """Be there, at the same address as before."""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
                length = int(self.headers.get("Content-Length") or 0)
                text = self.rfile.read(length).decode()
                body = {key: values[-1] for key, values in parse_qs(text).items()}
                provider.asked.append(f"{self.command} {parts.path}")
                status, headers, content = provider.answer(self.command, parts.path, query, body, self.headers)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def do_POST(self) -> None:
                self.do_GET()

            def do_DELETE(self) -> None:
                self.do_GET()

            def log_message(self, *_: Any) -> None:
                pass

        self._handler = Handler
        self._server = ThreadingHTTPServer((self.host, self._port), Handler)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if self.certificate else ''}://{self.host}:{self._port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Be away."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class GitHub(Provider):
    """A GitHub Enterprise server: its API is below /api/v3, a page has two entries at most."""

    authorize_path, token_path = "/login/oauth/authorize", "/login/oauth/access_token"

    def __init__(self) -> None:
        super().__init__()
        self.ids: dict[str, int] = {}
        self.teams: dict[str, list[str]] = {}
        """Of each login, "organization/team"; membership of the organization goes with it."""

    def add(self, login: str, number: int, *teams: str) -> None:
        self.ids[login], self.teams[login] = number, list(teams)

    def wrong_callback(self, query: dict[str, str]) -> Answer:
        return self.back(
            {"error": "redirect_uri_mismatch", "error_description": "The redirect_uri MUST match the registered one."},
            query,
        )

    def wrong_client(self) -> Answer:
        return 404, {"Content-Type": "text/html"}, b"<h1>404</h1>"

    def token_error(self, code: str) -> Answer:
        """With status 200, as GitHub does."""
        words = {"invalid_client": "incorrect_client_credentials", "invalid_grant": "bad_verification_code"}
        return _json({"error": words.get(code, code), "error_description": "The client_id and/or client_secret ..."})

    def token_answer(self, access: str, refresh: str, who: str) -> dict[str, Any]:
        return {"access_token": access, "token_type": "bearer", "scope": "read:org"}

    def person(self, path: str, query: dict[str, str], token: str | None) -> Answer:
        if token is None:
            return _json({"message": "Bad credentials", "documentation_url": "https://docs.github.com/rest"}, 401)
        who = self.tokens[token]
        if path == "/api/v3/user":
            return _json({"login": who, "id": self.ids[who], "type": "User", "name": who.title(), "email": None})
        if path == "/api/v3/user/teams":
            split = [team.split("/") for team in self.teams[who]]
            return self._page(path, query, [{"slug": slug, "organization": {"login": org}} for org, slug in split])
        if path == "/api/v3/user/orgs":
            names = dict.fromkeys(team.split("/")[0] for team in self.teams[who])
            return self._page(path, query, [{"login": name} for name in names])
        return _json({"message": "Not Found"}, 404)

    def _page(self, path: str, query: dict[str, str], found: list[dict[str, Any]]) -> Answer:
        page = int(query.get("page", 1))
        status, headers, body = _json(found[2 * page - 2 : 2 * page])
        if len(found) > 2 * page:
            headers["Link"] = f'<{self.url}{path}?page={page + 1}>; rel="next"'
        return status, headers, body


class Google(Provider):
    """Google's addresses for logins and for groups of a workspace, below one host.

    ``delegated``, ``enabled``: what is clicked for the service account. ``service_lasts``: whether it takes that one's
    tokens. ``page``: how many groups it tells at once.
    """

    authorize_path, token_path = "/o/oauth2/v2/auth", "/oauth2/v4/token"

    def __init__(self) -> None:
        super().__init__()
        self.people: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, list[str]] = {}
        self.account, self.administrator = "hub@project-1.iam.gserviceaccount.example", "admin@example.edu"
        self.delegated, self.enabled, self.service_lasts, self.page = True, True, True, 200
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.service_tokens: set[str] = set()

    def token_answer(self, access: str, refresh: str, who: str) -> dict[str, Any]:
        """It gives nothing to renew a token with to who does not ask for it in words of its own."""
        return {"access_token": access, "token_type": "Bearer", "expires_in": self.lasts}

    def add(self, email: str, number: str, *groups: str, hd: str = "", verified: bool = True) -> None:
        told = {"id": number, "email": email, "verified_email": verified}
        self.people[email] = {**told, "hd": hd} if hd else told
        self.groups[number] = list(groups)

    def key_file(self, **changed: Any) -> str:
        """What its console gives for the service account."""
        told = {
            "type": "service_account",
            "project_id": "project-1",
            "private_key_id": "canary-key-id",
            "private_key": self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
            "client_email": self.account,
            "client_id": "104729",
            "token_uri": "https://oauth2.googleapis.invalid/token",
        }
        return json.dumps({**told, **changed})

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, str], headers: Any) -> Answer:
        if self.instead:
            return self.instead
        if path == "/token" and method == "POST":
            return self._service_token(body)
        if path == "/admin/directory/v1/groups":
            return self._groups_of(query, self.token_of(headers))
        return super().answer(method, path, query, body, headers)

    def _service_token(self, body: dict[str, str]) -> Answer:
        wrong = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
        if body.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return _json({"error": "unsupported_grant_type"}, 400)
        try:
            told = jwt.decode(
                body.get("assertion", ""),
                self.key.public_key(),
                algorithms=["RS256"],
                audience=f"{self.url}/token",
                issuer=self.account,
                options={"require": ["exp", "iat", "sub"]},
            )
        except jwt.InvalidTokenError:
            return _json(wrong, 400)
        if told["exp"] - told["iat"] > 3600:
            return _json(
                {**wrong, "error_description": "Invalid JWT: Token must be a short-lived token (60 minutes)"}, 400
            )
        scope = "https://www.googleapis.com/auth/admin.directory.group.readonly"
        if not self.delegated or told.get("scope") != scope:
            said = "Client is unauthorized to retrieve access tokens using this method, or for any of the scopes."
            return _json({"error": "unauthorized_client", "error_description": said}, 401)
        if told["sub"] != self.administrator:
            return _json({"error": "invalid_grant", "error_description": "Invalid email or User ID"}, 400)
        token = f"canary-service-{secrets.token_hex(8)}"
        if self.service_lasts:
            self.service_tokens.add(token)
        return _json({"access_token": token, "token_type": "Bearer", "expires_in": 3599})

    def _groups_of(self, query: dict[str, str], token: str | None) -> Answer:
        def refused(status: int, reason: str) -> Answer:
            error = {"code": status, "message": f"{reason}!", "errors": [{"reason": reason, "message": f"{reason}!"}]}
            return _json({"error": error}, status)

        if token not in self.service_tokens:
            return refused(401, "authError")
        if not self.enabled:
            return refused(403, "accessNotConfigured")
        asked = query.get("userKey", "")
        number = str(self.people[asked]["id"]) if asked in self.people else asked
        if number not in self.groups and number != self.administrator:
            return refused(404, "notFound")
        begin, size = int(query.get("pageToken", 0)), min(self.page, int(query.get("maxResults", 200)))
        every = self.groups.get(number, [])
        found = [{"kind": "admin#directory#group", "email": group} for group in every[begin : begin + size]]
        told: dict[str, Any] = {"kind": "admin#directory#groups", **({"groups": found} if found else {})}
        more = {"nextPageToken": str(begin + size)} if len(every) > begin + size else {}
        return _json({**told, **more})

    def person(self, path: str, query: dict[str, str], token: str | None) -> Answer:
        if token is None:
            return _json({"error": {"code": 401, "message": "Invalid Credentials", "status": "UNAUTHENTICATED"}}, 401)
        return _json(self.people[self.tokens[token]]) if path == "/oauth2/v1/userinfo" else _json({}, 404)


class CILogon(Provider):
    """CILogon, which tells which identity provider an account is of."""

    authorize_path, token_path = "/authorize", "/oauth2/token"

    def __init__(self) -> None:
        super().__init__()
        self.people: dict[str, dict[str, Any]] = {}
        self.offered: list[str] = []

    def add(self, sub: str, idp: str, **claims: Any) -> None:
        self.people[sub] = {"sub": sub, "idp": idp, **claims}

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, str], headers: Any) -> Answer:
        if path == self.authorize_path:
            self.offered.append(query.get("selected_idp", ""))
        return super().answer(method, path, query, body, headers)

    def person(self, path: str, query: dict[str, str], token: str | None) -> Answer:
        if token is None:
            return _json({"error": "invalid_token"}, 401)
        return _json(self.people[self.tokens[token]]) if path == "/oauth2/userinfo" else _json({}, 404)


class Globus(Provider):
    """Globus, with its groups beside it, which a token of their own opens."""

    authorize_path, token_path = "/v2/oauth2/authorize", "/v2/oauth2/token"

    def __init__(self) -> None:
        super().__init__()
        self.people: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, list[str]] = {}

    def add(self, sub: str, name: str, *groups: str) -> None:
        self.people[sub] = {"sub": sub, "preferred_username": name, "email": name}
        self.groups[sub] = list(groups)

    def token_answer(self, access: str, refresh: str, who: str) -> dict[str, Any]:
        other = f"canary-groups-{secrets.token_hex(8)}"
        self.tokens[other] = f"groups {who}"
        return {
            **super().token_answer(access, refresh, who),
            "resource_server": "auth.globus.org",
            "scope": "openid profile email",
            "other_tokens": [
                {"access_token": other, "resource_server": "groups.api.globus.org", "token_type": "Bearer"}
            ],
        }

    def person(self, path: str, query: dict[str, str], token: str | None) -> Answer:
        if token is None:
            return _json({"error": "UNAUTHORIZED"}, 401)
        who = self.tokens[token]
        if path == "/v2/groups/my_groups" and who.startswith("groups "):
            return _json([{"id": group, "name": group} for group in self.groups[who.removeprefix("groups ")]])
        return _json(self.people[who]) if path == "/v2/oauth2/userinfo" and who in self.people else _json({}, 403)


class Agave(Provider):
    """A tenant of version 2: an envelope about everything but tokens, and clients that one registers by its API."""

    authorize_path, token_path, basic = "/oauth2/authorize", "/oauth2/token", True

    def __init__(self) -> None:
        super().__init__()
        self.account, self.password = "hub-service", "canary-service-password"
        self.clients: dict[str, dict[str, str]] = {}

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, str], headers: Any) -> Answer:
        if path.startswith("/clients/v2") and not self.instead:
            return self._clients(method, path, body, headers)
        return super().answer(method, path, query, body, headers)

    def _clients(self, method: str, path: str, body: dict[str, str], headers: Any) -> Answer:
        right = base64.b64encode(f"{self.account}:{self.password}".encode()).decode()
        if headers.get("Authorization") != f"Basic {right}":
            return _json({"status": "error", "message": "Login failed.", "version": "2.0.0", "result": {}}, 401)
        name = path.removeprefix("/clients/v2").strip("/")
        if method == "GET":
            if not name:
                return self.envelope([self._without(client) for client in self.clients.values()])
            found = self.clients.get(name)
            return self.envelope(self._without(found)) if found else self.envelope({}, "Application not found", 404)
        if method == "DELETE":
            return self.envelope({}, "", 200) if self.clients.pop(name, None) else self.envelope({}, "Not found", 404)
        name = body.get("clientName", "")
        if not name:
            return self.envelope({}, "clientName is required", 400)
        if name in self.clients:
            return self.envelope({}, f"Application with name: {name} already exists for {self.account}", 400)
        made = {
            "name": name,
            "callbackUrl": body.get("callbackUrl", ""),
            "consumerKey": secrets.token_hex(8),
            "consumerSecret": f"canary-consumer-{secrets.token_hex(8)}",
            "description": body.get("description", ""),
            "tier": "Unlimited",
        }
        self.clients[name] = made
        self.client, self.secret, self.callback = made["consumerKey"], made["consumerSecret"], made["callbackUrl"]
        return self.envelope(made, "Client created successfully.", 201)

    def _without(self, client: dict[str, str]) -> dict[str, str]:
        return {key: value for key, value in client.items() if key != "consumerSecret"}

    def envelope(self, result: Any, message: str = "", status: int = 200) -> Answer:
        word = "success" if status < 300 else "error"
        return _json({"status": word, "message": message, "version": "2.0.0", "result": result}, status)

    def wrong_callback(self, query: dict[str, str]) -> Answer:
        """It sends people to a page of its own, which tells them."""
        told = urlencode({"oauthErrorCode": "invalid_callback", "oauthErrorMsg": "Registered callback does not match"})
        return 302, {"Location": f"{self.url}/authenticationendpoint/oauth2_error.do?{told}"}, b""

    def person(self, path: str, query: dict[str, str], token: str | None) -> Answer:
        if token is None:
            return self.envelope({}, "Access token is invalid", 401)
        who = self.tokens[token]
        told = {"username": who, "email": f"{who}@example.edu", "first_name": who.title(), "status": "Active"}
        return self.envelope(told) if path == "/profiles/v2/me" else self.envelope({}, "Not found", 404)


class Tapis(Agave):
    """A tenant of version 3: tokens are in an envelope too, and shown in a header of their own."""

    authorize_path, token_path = "/v3/oauth2/authorize", "/v3/oauth2/tokens"

    def new_token(self, who: str) -> str:
        """In the form that clients take apart; the signature is of no key."""
        told = {"sub": f"{who}@ours", "tapis/tenant_id": "ours", "tapis/username": who, "exp": time.time() + self.lasts}
        head, payload, _ = jwt.encode(told, "of-no-meaning" * 3).split(".")
        return f"{head}.{payload}.{super().new_token(who)}00"

    def envelope(self, result: Any, message: str = "", status: int = 200) -> Answer:
        """Its clients take nothing else for JSON than exactly this type."""
        status, _, content = super().envelope(result, message, status)
        return status, {"Content-Type": "application/json"}, content

    def token_of(self, headers: Any) -> str | None:
        token: str | None = headers.get("X-Tapis-Token")
        return token

    def token_answer(self, access: str, refresh: str, who: str) -> dict[str, Any]:
        lasts = {"expires_in": self.lasts, "expires_at": "2030-01-01T00:00:00+00:00", "jti": secrets.token_hex(8)}
        tokens = {
            "access_token": {"access_token": access, **lasts},
            "refresh_token": {"refresh_token": refresh, **lasts},
        }
        return {"status": "success", "message": "Token created successfully.", "version": "dev", "result": tokens}

    def token_error(self, code: str) -> Answer:
        return self.envelope(None, f"Invalid {code}", 401 if "client" in code else 400)

    def person(self, path: str, query: dict[str, str], token: str | None) -> Answer:
        if token is None:
            return self.envelope(None, "Access token invalid", 401)
        who = self.tokens[token]
        told = {"username": who, "email": f"{who}@example.edu", "given_name": who.title()}
        return self.envelope(told) if path == "/v3/oauth2/userinfo" else self.envelope(None, "Not found", 404)


class Lms(Provider):
    """A learning platform of LTI 1.3: it signs who somebody is, and has the browser send that to the hub."""

    def __init__(self) -> None:
        super().__init__()
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.people: dict[str, dict[str, Any]] = {}

    def add(self, sub: str, course: str, **claims: Any) -> None:
        lti = "https://purl.imsglobal.org/spec/lti/claim"
        self.people[sub] = {
            "sub": sub,
            f"{lti}/version": "1.3.0",
            f"{lti}/message_type": "LtiResourceLinkRequest",
            f"{lti}/deployment_id": "1",
            f"{lti}/target_link_uri": "http://hub",
            f"{lti}/roles": [],
            f"{lti}/resource_link": {"id": "7"},
            f"{lti}/context": {"id": f"id-of-{course}", "label": course, "title": course},
            **claims,
        }

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, str], headers: Any) -> Answer:
        if self.instead:
            return self.instead
        if path == "/certs":
            public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
            return _json({"keys": [{**public, "kid": "1", "use": "sig", "alg": "RS256"}]})
        return _json({}, 404)

    def word(self, sub: str, nonce: str, **changed: Any) -> str:
        """What it signs of somebody; a claim that is changed to None is left out."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": self.client, "iat": now, "exp": now + 300, "nonce": nonce}
        claims |= {**self.people[sub], **changed}
        told = {key: value for key, value in claims.items() if value is not None}
        return jwt.encode(told, self.key, algorithm="RS256", headers={"kid": "1"})


def _json(told: Any, status: int = 200) -> Answer:
    return status, {"Content-Type": "application/json;charset=UTF-8"}, json.dumps(told).encode()


@contextmanager
def at_usual_ports(provider: Provider, host: str, pair: tuple[str, str]) -> Iterator[Provider]:
    """One that runs at an address without a port, by HTTP and by HTTPS: for clients that take no other address."""
    provider.host, provider._port = host, 80
    with running(provider):
        provider.url = f"http://{host}"
        beside = ThreadingHTTPServer((host, 443), provider._handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair)
        beside.socket = context.wrap_socket(beside.socket, server_side=True)
        threading.Thread(target=beside.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield provider
        finally:
            beside.shutdown()
            beside.server_close()


@contextmanager
def running(provider: Any) -> Iterator[Any]:
    provider.start()
    try:
        yield provider
    finally:
        provider.stop()

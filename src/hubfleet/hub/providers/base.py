"""What all logins by OAuth have in common: speaking with the provider, and what is said of its errors."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import urlencode

from jupyterhub.handlers.login import LoginHandler
from oauthenticator.oauth2 import OAuthenticator, OAuthLogoutHandler
from tornado import web
from tornado.httpclient import HTTPClientError
from traitlets import default as traits_default

from hubfleet.admission import Person
from hubfleet.hub.providers.admitting import STATE, Admitting, Ended, Over
from hubfleet.hub.providers.pages import Back, Go
from hubfleet.hub.providers.web import Client, Silent, error_of, parsed
from hubfleet.hub.providers.words import OF_THE_HUB

SINCE = "hubfleet_since"
"""The key of ours in what a token came with: when that was."""
RENEW_S = 600.0
"""How long before its end a server's token is renewed; of one that lasts less than twice as long: half of its time."""
ASK_SOON_S = 60.0
"""How long a server waits before it asks again for one that could not be renewed."""
ASK_AGAIN_S = 300.0
"""How long a server keeps a token at most before it asks whether there is another: its user may have logged in anew."""
_OVER = {"invalid_token", "access_denied", "token_expired", "invalid_grant"}
"""What providers say of a token that is no good any more, where they do not say it by status 401."""


def ends(given: dict[str, Any]) -> float:
    """When a token is over, in seconds of `time.time`; 0 where the provider did not tell."""
    lasts = _lasts(given)
    return given.get(SINCE, 0.0) + lasts if lasts else 0.0


def renew_at(given: dict[str, Any]) -> float:
    """From when on a token is to be renewed; 0 where the provider did not tell how long it lasts."""
    return ends(given) - min(RENEW_S, _lasts(given) / 2)


def _lasts(given: dict[str, Any]) -> float:
    try:
        return max(0.0, float(given.get("expires_in") or 0))
    except (TypeError, ValueError):
        return 0.0


class Vouched(Admitting, OAuthenticator):
    """To be put before one of oauthenticator's classes."""

    login_handler = Go
    callback_handler = Back
    logout_handler = OAuthLogoutHandler

    # -- what each provider has of its own -----------------------------------------------------------------------------

    async def ready(self) -> None:
        """Called before people are sent to the provider. Raises Silent if what that takes cannot be known."""

    def person(self, name: str, told: dict[str, Any], state: dict[str, Any]) -> Person:
        """Somebody, from what the provider told, and all that is kept of it. Raises KeyError if it did not say who."""
        raise NotImplementedError

    # -- logging in ----------------------------------------------------------------------------------------------------

    async def authenticate(self, handler: Any, data: Any = None, **kwargs: Any) -> Any:
        """Who comes back from the provider. The people of a load test have a password instead. Raises HTTPError."""
        if data is not None:
            return self.test_people.known_by(data.get("username", ""), data.get("password", ""))
        try:
            model = await super().authenticate(handler, None)
        except Silent as error:
            self.log.error("Log-in failed: %s", error)
            raise self.words.silent() from error
        except HTTPClientError as error:
            raise self._refused(error) from error
        self.check_name(model["name"])
        return model

    def user_info_to_username(self, user_info: dict[str, Any]) -> str:
        """The name that the provider tells. Raises HTTPError if there is none; its answer is not in the log."""
        name = user_info.get(str(self.username_claim))
        if not isinstance(name, str) or not name.strip():
            self.log.error("Log-in failed: %s told no %s, but: %s", self.provider, self.username_claim, [*user_info])
            raise self.words.unknown()
        return name

    async def update_auth_model(self, auth_model: Any) -> Any:
        """Add what is kept of the person. Raises HTTPError if the provider did not say who it is."""
        auth_model = await super().update_auth_model(auth_model)
        state = auth_model["auth_state"]
        try:
            person = self.person(auth_model["name"], state[self.user_auth_state_key], state)
        except KeyError as error:
            self.log.error("Log-in failed: %s told no %s of the person", self.provider, error)
            raise self.words.unknown() from error
        state |= self.state_of(person)
        return auth_model

    # -- speaking with the provider ------------------------------------------------------------------------------------

    @traits_default("http_client")
    def _client(self) -> Client:
        return Client()

    async def fetch(self, req: Any, label: str = "fetching", parse_json: bool = True, **kwargs: Any) -> Any:
        """As in oauthenticator, but of an error only its code and words are in the log. Raises Silent as well."""
        try:
            response = await self.http_client.fetch(req, **kwargs)
        except HTTPClientError as error:
            code, words = error_of(parsed(error.response)) if error.response else ("", "")
            where = req.url.partition("?")[0]
            self.log.error("%s answered %s to %s %s: %s %s", self.provider, error.code, req.method, where, code, words)
            raise
        if not parse_json:
            return response
        try:
            return json.loads(response.body)
        except ValueError:
            raise Silent(f"{req.url.partition('?')[0]} did not answer in JSON") from None

    def build_access_tokens_request_params(self, handler: Any, data: Any = None) -> dict[str, Any]:
        """As in oauthenticator, less what is no part of OAuth."""
        params: dict[str, Any] = super().build_access_tokens_request_params(handler, data)
        params.pop("data", None)
        return params

    async def get_token_info(self, handler: Any, params: dict[str, Any]) -> dict[str, Any]:
        """The answer to a code or a refresh token. Raises HTTPError with plain words, HTTPClientError and Silent."""
        info = self.unwrapped(
            await self.httpfetch(
                self.token_url,
                "asking for a token",
                method="POST",
                headers=self.build_token_info_request_headers(),
                body=urlencode(params).encode(),
            )
        )
        code, words = error_of(info)
        if code or not isinstance(info.get("access_token"), str):
            self.log.error("%s gave no token: %s %s", self.provider, code or "no error told", words)
            raise self.words.error(code)
        return {"token_type": "Bearer", **info, SINCE: time.time()}

    def unwrapped(self, info: dict[str, Any]) -> dict[str, Any]:
        """The answer of the token's address in OAuth's form."""
        return info

    def _refused(self, error: HTTPClientError) -> web.HTTPError:
        """In plain words. The details are in the log already."""
        code = error_of(parsed(error.response))[0] if error.response else ""
        # Elsewhere it is the person's token that is not accepted.
        ours = error.code == 401 and error.response is not None and error.response.request.url == self.token_url
        return self.words.error(code or ("invalid_client" if ours else f"HTTP {error.code}"))

    async def told_anew(self, user: Any) -> dict[str, Any]:
        """What the provider tells of somebody now, with a new token if the old one is over. Raises Ended too."""
        await self.ready()
        state = await user.get_auth_state()
        if not state or STATE not in state:
            raise Ended("nothing is kept of it")
        given = state["token_response"]
        if not state.get("refresh_token") and 0 < ends(given) < time.time():
            raise Over("its token is over, and cannot be renewed without a log-in")
        try:
            return dict((await self._token_to_auth_model(given))["auth_state"])
        except HTTPClientError as error:
            code = error_of(parsed(error.response))[0] if error.response else ""
            if error.code != 401 and code not in _OVER:
                raise
        if not state.get("refresh_token"):
            raise Ended("its token is not good any more")
        state = await self._renew(user, state)
        return dict((await self._token_to_auth_model(state["token_response"]))["auth_state"])

    # -- people's tokens -----------------------------------------------------------------------------------------------

    async def _renew(self, user: Any, state: dict[str, Any]) -> dict[str, Any]:
        """Somebody's state with a new token, kept before anything else is done: many providers take the token that
        renews another but once. To be called with the person's lock. Raises Ended, Silent, HTTPClientError, HTTPError.
        """
        token = state["refresh_token"]
        info = await self._renewed(token)
        now = await user.get_auth_state()
        if now and now.get("refresh_token") != token:
            return dict(now)  # the person has logged in meanwhile
        info = {**info, "refresh_token": info.get("refresh_token") or token}
        new = {**state, **{key: info[key] for key in ("access_token", "refresh_token")}, "token_response": info}
        await user.save_auth_state(new)
        return new

    async def token_for(self, user: Any) -> dict[str, Any]:
        """Somebody's token for the person's own server, one that holds for a while, and what goes with it.

        Raises Ended where there is none without a log-in, Silent where there is none now.
        """
        async with self._locks[user.name]:
            state = await user.get_auth_state()
            if not state or state.get(STATE, {}).get("provider") != self.provider:
                raise Ended("nothing is kept of it")
            end = ends(state["token_response"])
            if end and state.get("refresh_token") and time.time() >= renew_at(state["token_response"]):
                try:
                    await self.ready()
                    state = await self._renew(user, state)
                except (Ended, Silent, HTTPClientError, web.HTTPError) as error:
                    self.log.warning("The token of %s could not be renewed: %s", user.name, error)
                    if end < time.time():
                        raise error if isinstance(error, Ended) else Silent("its token is over") from error
            given = state["token_response"]
            if 0 < ends(given) < time.time():
                raise Ended("its token is over")
        soon = renew_at(given) - time.time()
        return {
            **self.beside_token(state),
            "access_token": given["access_token"],
            "created_at": int(given.get(SINCE, time.time())),
            "expires_at": int(ends(given)),
            # One that should have been renewed by now is asked for soon; one without an end, as ever.
            "ask_again_s": max(1.0, min(soon, ASK_AGAIN_S)) if soon > 0 else ASK_SOON_S if end else ASK_AGAIN_S,
        }

    def beside_token(self, state: dict[str, Any]) -> dict[str, Any]:
        """What a server is told beside the token, so that programs know where to show it."""
        raise NotImplementedError

    async def _renewed(self, token: str) -> dict[str, Any]:
        """What a refresh token is exchanged for. Raises Ended if it is no good; as `get_token_info` otherwise.

        That the hub's own secret is no good any more says nothing of the people who are logged in.
        """
        try:
            return await self.get_token_info(None, self.build_refresh_token_request_params(token))
        except HTTPClientError as error:
            code = error_of(parsed(error.response))[0] if error.response else ""
            if error.code not in (400, 401) or code in OF_THE_HUB:
                raise
            raise Ended("its token cannot be renewed") from error
        except web.HTTPError as error:  # some tell of an error with status 200
            if error.status_code not in (400, 403):
                raise
            raise Ended("its token cannot be renewed") from error

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        """As in oauthenticator; at the page of the log-in a load test's people send their password."""
        return [("/login", LoginHandler), *super().get_handlers(app)]

"""People who come from the courses of a learning platform, by LTI 1.3."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import jwt
from jupyterhub.handlers.login import LoginHandler
from ltiauthenticator.lti13.auth import LTI13Authenticator
from ltiauthenticator.lti13.constants import LTI13_CUSTOM_CLAIM
from ltiauthenticator.lti13.error import ValidationError
from ltiauthenticator.lti13.handlers import LTI13CallbackHandler, LTI13LoginInitHandler
from tornado import web

from hubfleet.admission import Person
from hubfleet.hub.providers.admitting import Admitting
from hubfleet.hub.providers.names import domain_of

CONTEXT = "https://purl.imsglobal.org/spec/lti/claim/context"


class Begin(LTI13LoginInitHandler):
    """The platform says that somebody wants to come, and is asked who."""

    authenticator: Any

    def post(self) -> None:
        """Only for the one platform; the answer comes to the one address, whatever is asked here."""
        if self.get_argument("iss", "").rstrip("/") != self.authenticator.issuer:
            self.log.warning("Log-in refused: it is of another platform")
            raise self.authenticator.words.state()
        super().post()

    get = post

    def authorize_redirect(self, *args: Any, **kwargs: Any) -> None:
        """As in ltiauthenticator, in our own name."""
        super().authorize_redirect(*args, **{**kwargs, "client_id": self.authenticator.told["client"]})

    def get_redirect_uri(self) -> str:
        """The one that is registered."""
        return str(self.authenticator.told["callback"])

    def _set_oauth_cookie(self, key: str, value: str) -> None:
        # The answer is a form that another site's page sends: browsers send cookies along with it only if these say so.
        crossing = {"samesite": "None", "secure": True} if self.get_redirect_uri().startswith("https:") else {}
        self._set_cookie(key, value, expires_days=1, httponly=True, encrypted=True, **crossing)


class Launch(LTI13CallbackHandler):
    """The platform's answer: a signed word of who it is, and from which course.

    ``launched``: that word, once it has been found to be right.
    """

    authenticator: Any
    launched: dict[str, Any] | None = None

    async def post(self) -> None:
        """Log in, and go on to where the link led."""
        words = self.authenticator.words
        try:
            # It fetches the platform's keys, and waits for them.
            self.launched = await asyncio.to_thread(self.decode_and_validate_launch_request)
        except ValidationError as error:
            self.log.error("Log-in failed: %s", error)
            if isinstance(error.__context__, jwt.PyJWKClientConnectionError):
                raise words.silent() from error
            raise words.launch() from error
        except web.HTTPError as error:
            self.log.warning("Log-in refused: %s", error.log_message)
            raise words.state() from error
        user = await self.login_user({})
        if user is None:
            raise web.HTTPError(403, "You may not enter. Ask whoever runs this hub.")
        self.redirect(self.get_next_url(user))


class Lti(Admitting, LTI13Authenticator):
    """People are known by `sub`; the course is a group."""

    login_handler = Begin
    callback_handler = Launch

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.issuer, self.client_id = self.told["issuer"], {self.told["client"]}
        self.authorize_url, self.jwks_endpoint = self.told["authorize_url"], self.told["jwks_url"]
        self.uri_scheme = urlsplit(self.told["callback"]).scheme

    async def authenticate(self, handler: Any, data: Any = None, **kwargs: Any) -> Any:
        """Who is in the platform's word; never what stands in a form. Raises HTTPError."""
        if not isinstance(handler, Launch):
            data = data or {}
            return self.test_people.known_by(data.get("username", ""), data.get("password", ""))
        told = handler.launched
        if told is None:
            return None
        claim = str(self.told["username_claim"])
        own = claim.startswith("custom_")
        found = told.get(LTI13_CUSTOM_CLAIM) or {} if own else told
        typed = found.get(claim.removeprefix("custom_") if own else claim) if isinstance(found, dict) else None
        if not isinstance(typed, str) or not typed.strip() or not told.get("sub"):
            self.log.error("Log-in failed: %s told no %s, but: %s", self.provider, claim, [*told])
            raise self.words.unknown()
        name = self.normalize_username(typed)
        self.check_name(name)
        course = told.get(CONTEXT) or {}
        groups = (str(course[key]) for key in ("id", "label") if course.get(key))
        person = Person(
            name, str(told["sub"]), groups=frozenset(groups), domains=domain_of(str(told.get("email") or ""))
        )
        return {"name": name, "auth_state": self.state_of(person)}

    async def told_anew(self, user: Any) -> dict[str, Any]:
        """Nothing: a platform tells of people when they come, and cannot be asked."""
        return dict(await user.get_auth_state() or {})

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        """As in ltiauthenticator; at the page of the log-in a load test's people send their password."""
        return [("/login", LoginHandler), *super().get_handlers(app)]

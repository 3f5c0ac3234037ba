"""What people read when a log-in does not succeed; all that is known of it is in the hub's log."""

from __future__ import annotations

from dataclasses import dataclass

from tornado import web

_OPERATOR = "Please tell whoever runs this hub"

_SECRET = {"invalid_client", "unauthorized_client", "incorrect_client_credentials", "bad_client", "client_not_found"}
_CALLBACK = {"redirect_uri_mismatch", "invalid_redirect_uri", "invalid_redirect", "invalid_callback"}
OF_THE_HUB = _SECRET | _CALLBACK
"""Errors that are the same for everybody."""
_ANEW = {"invalid_grant", "bad_verification_code", "bad_refresh_token", "expired_token"}
_SAID_NO = {"access_denied", "consent_required", "interaction_required", "login_required"}
_BUSY = {"temporarily_unavailable", "server_error", "slow_down"}


@dataclass(frozen=True)
class Words:
    """Refusals in the name of one provider. ``callback``: where it has to send people back to."""

    title: str
    callback: str

    def silent(self) -> web.HTTPError:
        """It does not answer."""
        return web.HTTPError(
            503,
            f"{self.title} does not answer at the moment, so nobody can log in. "
            "Whoever is logged in can go on working. Please try again in a few minutes.",
        )

    def error(self, code: str) -> web.HTTPError:
        """It answered with an error of OAuth's, or of its own."""
        if code in _SECRET:
            return web.HTTPError(
                500,
                f"{self.title} does not accept this hub's own id and secret, so nobody can log in. {_OPERATOR}: "
                "client_id in the configuration, or client_secret among the secrets, is not what it has.",
            )
        if code in _CALLBACK:
            return web.HTTPError(
                500,
                f"{self.title} would send people back to another address than this hub's, so nobody can log in. "
                f"{_OPERATOR}: the callback that is registered there has to be {self.callback}",
            )
        if code in _ANEW:
            return web.HTTPError(
                400, f"This log-in took too long, or was used already. Please log in with {self.title} once more."
            )
        if code in _SAID_NO:
            return web.HTTPError(
                403,
                f"{self.title} did not let you in here: you did not agree to it, or your account may not use this hub.",
            )
        if code in _BUSY:
            return self.silent()
        return web.HTTPError(
            500, f"{self.title} answered with an error ({code or 'it did not say which'}). {_OPERATOR}."
        )

    def unknown(self) -> web.HTTPError:
        """It let somebody in, and did not say who."""
        return web.HTTPError(
            500, f"{self.title} did not tell your user name, without which you have no files here. {_OPERATOR}."
        )

    def unverified(self) -> web.HTTPError:
        """The name is an e-mail address that anybody could have written there."""
        return web.HTTPError(
            403, f"{self.title} has not verified your e-mail address. Please verify it there, then log in once more."
        )

    def elsewhere(self) -> web.HTTPError:
        """An account of another institution."""
        return web.HTTPError(
            403, "Accounts of the institution that you chose may not be used on this hub. Please choose another one."
        )

    def launch(self) -> web.HTTPError:
        """The platform's word does not hold: the signature, the time, or for whom it is."""
        return web.HTTPError(
            400,
            f"What {self.title} said of you is not to be trusted, or is too old. Please open the link in your course "
            f"once more; if it happens again: {_OPERATOR[0].lower()}{_OPERATOR[1:]}.",
        )

    def state(self) -> web.HTTPError:
        """The log-in that comes back is not one that this browser began."""
        return web.HTTPError(
            400,
            "This log-in was not begun in this browser, or too long ago. Please log in once more; "
            "if it happens again, let your browser keep cookies of this page.",
        )

    def groups(self) -> web.HTTPError:
        """It said who it is, and not in which groups."""
        return web.HTTPError(
            503,
            f"{self.title} does not tell at the moment in which groups you are, and without that you may not enter. "
            f"Please try again in a few minutes; if it happens again: {_OPERATOR[0].lower()}{_OPERATOR[1:]}.",
        )

    def name(self, name: str) -> web.HTTPError:
        """A name that nobody can have here."""
        return web.HTTPError(403, f"Your name at {self.title}, {name[:40]!r}, cannot be a user name here. {_OPERATOR}.")

    def taken(self, name: str) -> web.HTTPError:
        """The name is another account's."""
        return web.HTTPError(
            403,
            f"The name {name} belongs to another account of {self.title} here, and so do its files. "
            f"{_OPERATOR}, or log in with the account that you had before.",
        )

    def refused(self, name: str, *, blocked: bool) -> web.HTTPError:
        """The rules do not let somebody in."""
        if blocked:
            return web.HTTPError(403, f"You may not enter: {name} is blocked on this hub. Ask whoever runs it.")
        return web.HTTPError(
            403, f"You may not enter: {name} is not on this hub's list, nor in a group that is. Ask whoever runs it."
        )

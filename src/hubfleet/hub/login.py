"""Who may enter: people sign up with a password of their own, behind the class password or an admin's approval.

Accounts and the limit on wrong passwords are NativeAuthenticator's. Ours are the class password, the admins'
first passwords, pages that change nothing on a mere GET, and one rule: a name belongs to a home for good. A removed
user's name can be neither signed up again nor given to another account, for that would hand over the files.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
from pathlib import Path
from typing import Any

import bcrypt
from jupyterhub import orm
from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.handlers.login import LoginHandler
from jupyterhub.scopes import needs_scope
from nativeauthenticator import NativeAuthenticator
from nativeauthenticator.handlers import ChangePasswordHandler, LocalBase, SignUpHandler
from nativeauthenticator.orm import UserInfo
from sqlalchemy import event
from tornado import web
from traitlets import Dict, Unicode

from hubfleet.hub import passwords
from hubfleet.hub.line import ticket_of
from hubfleet.hub.testpeople import TestPeople
from hubfleet.names import TEST_PREFIX, valid_login

MINIMUM_PASSWORD = 8
MAXIMUM_PASSWORD_BYTES = 72  # what bcrypt takes
PASSWORD_LENGTH = f"{MINIMUM_PASSWORD} to {MAXIMUM_PASSWORD_BYTES} characters"
TAKEN = "This user name is taken. Please choose another."
TRIES, PAUSE_S = 10, 60
REMOVED = b"!"  # ends the password's hash of somebody who was deleted: no password's hash does, so none is right


class PeopleAuthenticator(NativeAuthenticator):
    """NativeAuthenticator with a class password or approval, and names that stay with their homes."""

    kind = Unicode("approval", help="'password': the class password admits; 'approval': an admin does.").tag(
        config=True
    )
    class_password = Unicode(help="What a newcomer must know when kind is 'password'.").tag(config=True)
    first_passwords = Dict(help="Admins' names and the passwords they start with.").tag(config=True)
    first_passwords_note = Unicode(help="File that notes which first passwords were set.").tag(config=True)
    test_people_note = Unicode(help="File that notes the people of a load test.").tag(config=True)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.check_common_password = True
        self.minimum_password_length = MINIMUM_PASSWORD
        self.allowed_failed_logins = TRIES
        self.seconds_before_next_try = PAUSE_S
        self._set_first_passwords()
        self.test_people = TestPeople(Path(self.test_people_note))

    def _set_first_passwords(self) -> None:
        """Give admins the passwords of the secrets file: once, and again whenever the file has another one.

        In between an admin may choose an own password in the browser. What was set is noted (as a hash) beside the
        database, so that deleting a line of the secrets file is the way out for an admin who forgot.
        """
        note = Path(self.first_passwords_note)
        known: dict[str, str] = json.loads(note.read_text()) if note.exists() else {}
        for name, password in self.first_passwords.items():
            if name in known and bcrypt.checkpw(password.encode(), known[name].encode()) and self.user_exists(name):
                continue
            hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt())
            self._set_account(name, hashed, authorized=True)
            known[name] = hashed.decode()
            note.write_text(json.dumps(known))

    def _set_account(self, name: str, hashed: bytes, *, authorized: bool) -> UserInfo:
        """Make or change an account."""
        info = self.get_user(name)
        if info is None:
            info = UserInfo(username=self.normalize_username(name), password=hashed)
            self.db.add(info)
        info.password, info.is_authorized = hashed, authorized
        self.db.commit()
        return info

    async def add_test_people(self, names: list[str]) -> str:
        """Accounts for a load test, which `refresh_user` and the list let in; returns the one password they share."""
        password = secrets.token_urlsafe(32)
        hashed = await passwords.hashed(password)
        self.db.add_all(UserInfo(username=name, password=hashed, is_authorized=True) for name in names)
        self.db.commit()
        return password

    def remove_test_people(self) -> None:
        """Remove their accounts and forget them, so that there can be others of their names."""
        names = self.test_people.names
        self.db.query(UserInfo).filter(UserInfo.username.in_(names)).delete(synchronize_session=False)
        self.db.commit()
        self.test_people.end()

    def validate_username(self, username: str) -> bool:
        return valid_login(username) and bool(super().validate_username(username))

    def is_password_strong(self, password: str) -> bool:
        return len(password.encode()) <= MAXIMUM_PASSWORD_BYTES and bool(super().is_password_strong(password))

    async def sign_up(self, name: str, password: str, ticket: str | None = None) -> UserInfo | None:
        """Make a newcomer's account; None if the name or the password cannot be, or the name is taken.

        Where admins approve, they approve everybody, listed names as well. ``ticket``: the newcomer's, in the line.
        """
        if not self.validate_username(self.normalize_username(name)) or not self.is_password_strong(password):
            return None
        hashed = await passwords.hashed(password, ticket)
        if self.user_exists(name):  # perhaps since a moment ago
            return None
        return self._set_account(name, hashed, authorized=self.kind == "password")

    def may_sign_up(self, name: str, class_password: str) -> str | None:
        """Why a newcomer is turned away, or None."""
        if self.normalize_username(name).startswith(TEST_PREFIX):
            return f"Names that begin with {TEST_PREFIX} are kept for load tests. Please choose another."
        if self.kind == "password" and not hmac.compare_digest(class_password.encode(), self.class_password.encode()):
            return "That is not the class password. Ask whoever runs the class for it."
        if self.allowed_users and self.normalize_username(name) not in self.allowed_users:
            return f"The name {name} is not on this hub's list. Ask whoever runs it."
        return None

    def mistakes(self, name: str, password: str, again: str, class_password: str) -> list[str]:
        """All that is wrong with a newcomer's form, a sentence each.

        Whether a name is taken is told only to somebody who may sign up.
        """
        turned_away = self.may_sign_up(name, class_password)
        found = [turned_away] if turned_away is not None else []
        if not self.validate_username(self.normalize_username(name)):
            found.append("Choose a user name without spaces, commas and slashes.")
        elif turned_away is None and self.user_exists(name):
            found.append(TAKEN)
        if password != again:
            found.append("The two passwords are not the same.")
        if not self.is_password_strong(password):
            found.append(f"Choose a password of {PASSWORD_LENGTH} that is not on everybody's list.")
        return found

    async def authenticate(self, handler: Any, data: dict[str, str]) -> str | None:
        """The name of somebody with the right password; one who may not enter is told why."""
        name: str = self.normalize_username(data["username"])
        password = data["password"]
        if len(password.encode()) > MAXIMUM_PASSWORD_BYTES:
            return None
        if self.is_blocked(name):
            raise web.HTTPError(429, "Too many wrong passwords. Please wait a minute, then try again.")
        info = self.get_user(name)
        if info is not None:
            self.add_login_attempt(name)  # before it is known to be wrong: many may be sent at the same time
        known = passwords.NOBODY if info is None else info.password
        right = await passwords.matches(password, known, ticket_of(handler))
        info = self.get_user(name)
        if not right or info is None or info.password != known:  # it may have been changed meanwhile
            return None
        self.successful_login(name)
        if not info.is_authorized:
            raise web.HTTPError(403, "You may not enter: an administrator has to approve you first.")
        if not self._listed(name):
            raise web.HTTPError(403, "You may not enter: your name is not on this hub's list. Ask whoever runs it.")
        return name

    async def replace_password(self, name: str, old: str, new: str) -> str | None:
        """Change somebody's own password; returns what is wrong with the old or the new one, or None."""
        if len(old.encode()) > MAXIMUM_PASSWORD_BYTES:
            raise web.HTTPError(400, f"Passwords have {MAXIMUM_PASSWORD_BYTES} characters at most.")
        if not self.is_password_strong(new):
            return f"The new password is on everybody's list, or has not {PASSWORD_LENGTH}."
        hashed, known = await passwords.hashed(new), self.get_user(name).password
        right = await passwords.matches(old, known)
        info = self.get_user(name)
        if not right or info.password != known:  # it may have been changed meanwhile
            return "Your current password was incorrect. Please try again."
        self._set_account(name, hashed, authorized=info.is_authorized)
        return None

    def _listed(self, name: str) -> bool:
        return bool(self.allow_all or name in self.allowed_users or self.test_people.admitted(name))

    def check_allowed(self, username: str, authentication: Any = None) -> bool:
        return self._listed(username)

    async def refresh_user(self, user: Any, handler: Any = None) -> Any:
        """Somebody blocked or taken off the list is asked to log in again, and is refused there."""
        info = self.get_user(user.name)
        return bool(info is not None and info.is_authorized and self._listed(user.name))

    def set_authorized(self, name: str, authorized: bool) -> bool:
        """Let in or block; False for a name that never signed up."""
        info = self.get_user(name)
        if info is None:
            return False
        info.is_authorized = authorized
        self.db.commit()
        return True

    async def reset_password(self, name: str) -> str | None:
        """Give an account a new random password and return it; None for a name that never signed up.

        It opens nothing: somebody who is blocked stays so.
        """
        password = secrets.token_urlsafe(12)
        hashed = await passwords.hashed(password)
        info = self.get_user(name)
        if info is None:
            return None
        self._set_account(name, hashed, authorized=info.is_authorized)
        self.successful_login(info.username)  # forgets the wrong passwords
        return password

    async def delete_user(self, user: Any) -> None:
        """Retire the account: it stays, locked, so that nobody can sign up under the name and inherit the home.

        JupyterHub stops the default server of somebody it deletes; the named ones are stopped here.
        The accounts of a load test's people go with the test: there will be others of their names, without their files.
        """
        if user.name not in self.test_people:
            self._set_account(user.name, passwords.NOBODY + REMOVED, authorized=False)
        for name, spawner in user.spawners.items():
            if spawner.active:
                await user.stop(name)

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        return [
            ("/login", LoginHandler),
            ("/signup", SignUp),
            ("/change-password", ChangePassword),
        ]


class SignUp(SignUpHandler):
    """The sign-up page, with the class password asked for and checked."""

    async def post(self) -> None:
        name, password, again, class_password = (
            self.get_body_argument(field, "", strip=False)
            for field in ("username", "signup_password", "signup_password_confirmation", "class_password")
        )
        alert, messages = "alert-danger", self.authenticator.mistakes(name, password, again, class_password)
        if self.authenticator.may_sign_up(name, class_password) is not None:
            self.set_status(403)
        if not messages:
            alert, message = self._outcome(await self.authenticator.sign_up(name, password, ticket_of(self)))
            messages = [message]
        self.finish(await self.render_template("signup.html", messages=messages, alert=alert, username=name))

    def _outcome(self, info: UserInfo | None) -> tuple[str, str]:
        if info is None:
            return "alert-danger", TAKEN  # a moment ago
        if info.is_authorized:
            return "alert-success", "You are signed up. Now log in."
        return "alert-info", "You are signed up. An administrator has to approve you before you can log in."


class ChangePassword(ChangePasswordHandler):
    """NativeAuthenticator's page."""

    @web.authenticated
    async def post(self) -> None:
        name = self.current_user.name
        old, new, again = (
            self.get_body_argument(field, strip=False)
            for field in ("old_password", "new_password", "new_password_confirmation")
        )
        if new != again:
            wrong: str | None = "The two new passwords are not the same."
        else:
            wrong = await self.authenticator.replace_password(name, old, new)
        alert = "alert-danger" if wrong else "alert-success"
        message = wrong or "Your password has been changed successfully!"
        html = await self.render_template("change-password.html", user_name=name, result_message=message, alert=alert)
        self.finish(html)


async def block(handler: Any, name: str) -> bool:
    """Lock an account out now: no session, no token, no server. False for an unknown name."""
    if not handler.authenticator.set_authorized(name, False):
        return False
    user = handler.find_user(name)
    if user is not None:
        for token in list(user.orm_user.api_tokens):
            handler.db.delete(token)
        user.orm_user.cookie_id = orm.new_token()
        handler.db.commit()
        for server, spawner in list(user.spawners.items()):
            if spawner.pending == "spawn" and spawner._spawn_future:
                await asyncio.wait([spawner._spawn_future])  # it comes up, or fails for want of its token
            if spawner.active and not spawner.pending:
                await handler.stop_single_user(user, server)
    return True


def removed(info: UserInfo) -> bool:
    """Whether somebody was deleted: the name stays, so that nobody inherits the home."""
    return bool(info.password.endswith(REMOVED))


class PeoplePage(LocalBase):
    """Who has signed up; admins approve and block here. Changes are POSTs with JupyterHub's cross-site check."""

    @web.authenticated
    @needs_scope("admin:users")
    async def get(self) -> None:
        people = sorted(UserInfo.all_users(self.db), key=lambda info: (info.is_authorized, info.username))
        me = self.current_user.name
        self.finish(await self.render_template("people.html", people=people, removed=removed, me=me))

    @needs_scope("admin:users")
    async def post(self) -> None:
        name, action = self.get_body_argument("name"), self.get_body_argument("action")
        if action == "block" and name == self.current_user.name:
            raise web.HTTPError(400, "You cannot block yourself.")
        if action == "approve":
            known = self.authenticator.set_authorized(name, True)
        elif action == "block":
            known = await block(self, name)
        else:
            raise web.HTTPError(400, "Choose approve or block.")
        if not known:
            raise web.HTTPError(404, "Nobody has signed up under this name.")
        self.redirect(self.hub.base_url + "people")


class PeopleAPI(APIHandler):
    """The same for the command line, and new passwords, which only the machine's operator can hand out.

    An admin in the browser cannot: whoever sets a user's password can enter as that user.
    """

    @needs_scope("admin:users")
    async def get(self) -> None:
        people = [
            {"name": info.username, "approved": bool(info.is_authorized), "removed": removed(info)}
            for info in UserInfo.all_users(self.db)
        ]
        self.write({"people": people})

    @needs_scope("admin:users")
    async def post(self) -> None:
        body = self.get_json_body() or {}
        name, action = str(body.get("name")), body.get("action")
        answer: dict[str, Any] = {}
        if action == "approve":
            known = self.authenticator.set_authorized(name, True)
        elif action == "block":
            known = await block(self, name)
        elif action == "reset-password" and isinstance(self.current_user, orm.Service):
            answer["password"] = await self.authenticator.reset_password(name)
            known = answer["password"] is not None
        else:
            raise web.HTTPError(403, "not for this account")
        if not known:
            raise web.HTTPError(404, "nobody has signed up under this name")
        self.write(answer)


HANDLERS = [("/people", PeoplePage), ("/api/hubfleet/people", PeopleAPI)]


@event.listens_for(orm.User.name, "set")
def _names_stay(target: orm.User, value: str, old: object, initiator: object) -> None:
    """Refuse to rename a user: the home belongs to the name, so a rename would swap homes."""
    if isinstance(old, str) and old != value:
        raise web.HTTPError(400, "Names cannot be changed: a person's files belong to the name.")

"""JupyterHub's options for a hub of ours. Sets, never changes, so that the order of lines means nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jupyterhub.roles import get_default_roles

from hubfleet import __version__
from hubfleet.hub import database, login, testpeople
from hubfleet.hub.culler import SOCKET_VARIABLE
from hubfleet.hub.login import PeopleAuthenticator
from hubfleet.hub.providers import choose, tokens
from hubfleet.hub.providers import people as vouched
from hubfleet.hub.proxy import WatchedProxy
from hubfleet.hub.settings import HubSettings
from hubfleet.hub.spawner import LauncherSpawner

TEMPLATES = Path(__file__).with_name("templates")

# Manages people and servers, and opens nobody's server: JupyterHub's own `admin` role can (scope `access:servers`).
OPERATOR_SCOPES = ["admin-ui", "admin:users", "admin:servers", "list:users", "list:groups", "read:hub"]
GROUP_SCOPE = "admin:groups"
"""Only where the configuration has a use for the hub's own groups. They have no roles: none decides what one may do."""

NOT_KEPT = "Files are not kept on this hub: download what you need before you stop your server."
NOT_ISOLATED = "This hub runs under one account: people on it are not isolated from each other."


def unix_url(path: Path) -> str:
    """How JupyterHub writes the address of a Unix socket."""
    return f"http+unix://{quote(str(path), safe='')}"


def announcement(settings: HubSettings) -> str:
    """What every page of the hub says at its top; empty when there is nothing to say."""
    notices = [] if settings.homes_kept else [NOT_KEPT]
    if not settings.isolated:
        notices.append(NOT_ISOLATED)
    return " ".join(notices)


def _passwords(c: Any, settings: HubSettings) -> type[PeopleAuthenticator]:
    """Where people have passwords of this hub's own."""
    hub_dir = settings.layout.hub_dir
    c.Authenticator.auth_refresh_age = 60
    if settings.allow is None:
        c.Authenticator.allow_all = True
    else:
        c.Authenticator.allowed_users = {*settings.allow, *settings.admins}
    c.PeopleAuthenticator.kind = settings.login_kind
    c.PeopleAuthenticator.class_password = settings.secrets.get("class_password", "")
    c.PeopleAuthenticator.first_passwords_note = str(hub_dir / "first-passwords.json")
    c.PeopleAuthenticator.test_people_note = str(hub_dir / "load-test.json")
    c.PeopleAuthenticator.first_passwords = {
        name: settings.secrets[f"admin_password.{name}"] for name in settings.admins
    }
    return PeopleAuthenticator


def configure(c: Any, settings: HubSettings) -> None:
    """Fill JupyterHub's configuration object."""
    layout = settings.layout
    c.JupyterHub.bind_url = f"http://{settings.address}:{settings.port}"
    c.JupyterHub.hub_bind_url = unix_url(layout.hub_socket)
    c.JupyterHub.hub_connect_url = unix_url(layout.hub_socket)
    c.JupyterHub.hub_socket_mode = 0o666  # users' servers ask the hub who knocks; the hub answers by token only
    c.JupyterHub.db_url = f"sqlite:///{layout.database}"
    c.JupyterHub.db_kwargs = database.OPTIONS
    c.JupyterHub.cookie_secret_file = str(layout.hub_dir / "cookie_secret")
    c.JupyterHub.pid_file = ""
    c.JupyterHub.cleanup_servers = False  # servers and proxy outlive the hub
    c.JupyterHub.cleanup_proxy = False
    c.JupyterHub.template_paths = [str(TEMPLATES)]
    c.JupyterHub.template_vars = {
        "announcement": announcement(settings),
        "hub_name": layout.hub,
        "login_kind": settings.login_kind,
        "login_title": settings.provider["title"] if settings.provider else "",
        "login_provider": settings.provider["kind"] if settings.provider else "",
        "isolated": settings.isolated,
        "homes_kept": settings.homes_kept,
    }
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 1}
    c.JupyterHub.allow_named_servers = settings.named_servers > 0
    c.JupyterHub.named_server_limit_per_user = settings.named_servers
    people_handlers = [*vouched.HANDLERS, *tokens.HANDLERS] if settings.provider else login.HANDLERS
    c.JupyterHub.extra_handlers = [*people_handlers, *testpeople.HANDLERS]

    c.JupyterHub.proxy_class = WatchedProxy
    c.WatchedProxy.should_start = False
    c.WatchedProxy.api_url = unix_url(layout.proxy_socket)
    c.WatchedProxy.auth_token = settings.secrets["proxy_token"]

    c.JupyterHub.spawner_class = LauncherSpawner
    c.LauncherSpawner.launcher_socket = str(layout.launcher_socket)
    if settings.fleet_address:
        c.Hub.fleet_address = settings.fleet_address
        c.LauncherSpawner.hub_url = f"http://{settings.fleet_address}"
    c.Spawner.poll_interval = 10
    # What a server's token may do: as ever, but not looked up at each start.
    c.Spawner.server_token_scopes = next(role["scopes"] for role in get_default_roles() if role["name"] == "server")
    # How many start at once, who waits, and when to give up, is for the launcher: it knows the machine and says why.
    c.JupyterHub.concurrent_spawn_limit = 0
    c.Spawner.start_timeout = 3600

    c.Authenticator.refresh_pre_spawn = True
    c.Authenticator.auth_refresh_strict = True  # tokens of somebody taken off the list are no good either
    c.Authenticator.allow_existing_users = False
    c.JupyterHub.authenticator_class = choose.configure(c, settings) if settings.provider else _passwords(c, settings)

    c.JupyterHub.services = [
        {"name": "hubfleet", "api_token": settings.secrets["operator_token"]},
        {
            "name": "idle-culler",
            "api_token": settings.secrets["culler_token"],
            "command": [sys.executable, "-m", "hubfleet.hub.culler", "--url=http://hub/hub/api"],
            "environment": {"PATH": os.defpath, SOCKET_VARIABLE: str(layout.hub_socket)},
        },
    ]
    c.JupyterHub.load_roles = [
        {
            "name": "operator",
            "scopes": [*OPERATOR_SCOPES, *([GROUP_SCOPE] if settings.hub_groups else [])],
            "users": list(settings.admins),
        },
        {"name": "hubfleet", "scopes": OPERATOR_SCOPES, "services": ["hubfleet"]},
        {
            "name": "idle-culler",
            "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers", "admin:server_state"],
            "services": ["idle-culler"],
        },
    ]
    c.JupyterHub.log_format = f"%(levelname)s %(asctime)s hubfleet/{__version__} %(message)s"

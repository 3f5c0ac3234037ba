"""The authenticator of a hub whose people a provider vouches for, and how it is set up."""

from __future__ import annotations

from typing import Any

from hubfleet.hub.providers.admitting import Admitting
from hubfleet.hub.settings import HubSettings


def configure(c: Any, settings: HubSettings) -> type[Admitting]:
    """Fill JupyterHub's configuration object with what concerns the provider; returns the authenticator."""
    told, layout = settings.provider, settings.layout
    if told is None:
        raise ValueError("nobody vouches for people here")
    chosen = of_kind(told["kind"])
    mine = c[chosen.__name__]
    mine.told = told
    if "client_id" in told:
        mine.client_id, mine.client_secret = told["client_id"], settings.secrets["client_secret"]
        mine.oauth_callback_url = told["callback"]
        if told["endpoints"]:
            mine.authorize_url, mine.token_url, mine.userdata_url = (
                told["endpoints"][name] for name in ("authorize", "token", "person")
            )
        if told["kind"] == "google":
            mine.workspace_key = settings.secrets.get("google_key", "")
    elif told["kind"] == "ldap":
        mine.bind_password = settings.secrets.get("ldap_password", "")
    mine.rules_file = str(layout.rules)
    mine.claims_file = str(layout.hub_dir / "names.json")
    mine.test_people_note = str(layout.hub_dir / "load-test.json")
    mine.enable_auth_state = True
    c.CryptKeeper.keys = [settings.secrets["auth_state_key"]]
    # The rules are looked at with each request: what is asked of the provider has an age of its own.
    c.Authenticator.auth_refresh_age = 1
    return chosen


def of_kind(kind: str) -> type[Admitting]:
    """The authenticator for one kind of provider. Only its own code is loaded."""
    if kind == "github":
        from hubfleet.hub.providers.github import GitHub

        return GitHub
    if kind == "google":
        from hubfleet.hub.providers.google import Google

        return Google
    if kind == "cilogon":
        from hubfleet.hub.providers.cilogon import CILogon

        return CILogon
    if kind == "globus":
        from hubfleet.hub.providers.globus import Globus

        return Globus
    if kind == "oidc":
        from hubfleet.hub.providers.oidc import Oidc

        return Oidc
    if kind == "tapis":
        from hubfleet.hub.providers.tapis import Tapis

        return Tapis
    if kind == "ldap":
        from hubfleet.hub.providers.directory import Ldap

        return Ldap
    if kind == "lti":
        from hubfleet.hub.providers.platform import Lti

        return Lti
    raise ValueError(f"no such provider: {kind}")

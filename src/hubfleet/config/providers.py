"""The settings of each provider of logins by OAuth."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import PlainValidator, model_validator

from hubfleet.config.fields import BadValue, Flag, Form, Line, did_you_mean
from hubfleet.config.https import Domain, Email
from hubfleet.config.section import Section, setting
from hubfleet.config.vouching import (
    BASE,
    BaseUrl,
    Claim,
    ClientId,
    Endpoints,
    Issuer,
    Provider,
    Scope,
    address_of,
    host_name,
)

_TENANT = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*", re.ASCII)

TENANTS = {
    "3dem": "https://api.3dem.org",
    "agave.prod": "https://public.agaveapi.co",
    "araport.org": "https://api.araport.org",
    "bridge": "https://api.bridge.tacc.cloud",
    "designsafe": "https://agave.designsafe-ci.org",
    "iplantc.org": "https://agave.iplantc.org",
    "irec": "https://irec.tenants.prod.tacc.cloud",
    "portals": "https://portals-api.tacc.utexas.edu",
    "sd2e": "https://api.sd2e.org",
    "sgci": "https://sgci.tacc.cloud",
    "tacc.prod": "https://api.tacc.utexas.edu",
    "vdjserver.org": "https://vdj-agave-api.tacc.utexas.edu",
}
"""Addresses of the standard tenants of version 2."""

INSTITUTIONS = {
    "google": "http://google.com/accounts/o8/id",
    "github": "http://github.com/login/oauth/authorize",
    "microsoft": "http://login.microsoftonline.com/common/oauth2/v2.0/authorize",
    "orcid": "http://orcid.org/oauth/authorize",
}
"""Short words for identity providers that CILogon has beside universities."""


def _institution(raw: object) -> str:
    text = raw if isinstance(raw, str) else ""
    if text in INSTITUTIONS.values() or text in INSTITUTIONS:
        return INSTITUTIONS.get(text, text)
    parts = text.partition(":")
    if parts[0] in ("https", "http", "urn") and parts[2] and " " not in text:
        return text
    raise BadValue(
        f"`{raw}` is not an identity provider{did_you_mean(text, INSTITUTIONS)}",
        f"its entity id, such as https://idp.example.edu/shibboleth, or {', '.join(INSTITUTIONS)}",
    )


def _tenant(raw: object) -> str:
    if isinstance(raw, str) and _TENANT.fullmatch(raw.lower()):
        return raw.lower()
    raise BadValue(f"`{raw}` is not the id of a tenant", "tenant: designsafe")


Institution = Annotated[str, PlainValidator(_institution), Form("entity id, or a short word")]
Tenant = Annotated[str, PlainValidator(_tenant), Form("tenant id")]


class GitHub(Provider):
    """Accounts of GitHub, or of a GitHub Enterprise server."""

    title_ = "GitHub"
    tells = ("teams", "organizations")

    host: Annotated[str, host_name("github.example.edu"), Form("host name")] = setting(
        "github.com", "The server, for GitHub Enterprise.", "github.example.edu"
    )

    def endpoints(self) -> Endpoints:
        at = address_of(self.host)
        return Endpoints(f"{at}/login/oauth/authorize", f"{at}/login/oauth/access_token", f"{self._api}/user")

    def told(self) -> dict[str, Any]:
        return {"api": self._api}

    @property
    def _api(self) -> str:
        return "https://api.github.com" if self.host == "github.com" else f"{address_of(self.host)}/api/v3"


class Workspace(Section):
    """How a Google Workspace is asked for people's groups: by a service account, in the name of an administrator."""

    administrator: Email = setting(
        ..., "The administrator, who may read groups. The service account's key is `google_key`.", "admin@example.edu"
    )


class Google(Provider):
    """Accounts of Google. People are called by their e-mail address."""

    title_ = "Google"
    tells = ("groups", "domains")

    strip_domain: Domain | None = setting(
        None, "People of this domain are called by what is before the `@`.", "example.edu"
    )
    groups: Workspace | None = setting(
        None,
        "Who is asked for people's groups, with the secret `google_key`. Without it, Google tells of none.",
        {"administrator": "admin@example.edu"},
    )
    host: Annotated[str, host_name("accounts.google.com"), Form("host name")] | None = setting(
        None, "Another server that speaks as Google's do.", "accounts.example.edu"
    )

    @property
    def secrets(self) -> tuple[str, ...]:
        return ("client_secret", "google_key") if self.groups else ("client_secret",)

    def endpoints(self) -> Endpoints:
        if self.host is None:
            api = "https://www.googleapis.com"
            return Endpoints(
                "https://accounts.google.com/o/oauth2/v2/auth", f"{api}/oauth2/v4/token", f"{api}/oauth2/v1/userinfo"
            )
        at = address_of(self.host)
        return Endpoints(f"{at}/o/oauth2/v2/auth", f"{at}/oauth2/v4/token", f"{at}/oauth2/v1/userinfo")

    def told(self) -> dict[str, Any]:
        return {"strip_domain": self.strip_domain, "workspace": self.workspace()}

    def workspace(self) -> dict[str, str] | None:
        """Who is asked for groups, and in whose name. ``token``: where a token for that is, "" if the key tells it."""
        if self.groups is None:
            return None
        at = address_of(self.host) if self.host else "https://admin.googleapis.com"
        return {
            "administrator": self.groups.administrator,
            "groups": f"{at}/admin/directory/v1/groups",
            "token": f"{at}/token" if self.host else "",
        }


class IdentityProvider(Section):
    """How people of one identity provider are called."""

    username_claim: Claim = setting(..., "The claim with the login name.", "eppn")
    strip_domain: Domain | None = setting(
        None, "People of this domain are called by what is before the `@`.", "example.edu"
    )


class CILogon(Provider):
    """Accounts of universities and others, by way of CILogon."""

    title_ = "CILogon"
    tells = ("domains",)

    identity_providers: dict[Institution, IdentityProvider] = setting(
        ...,
        f"Whose accounts may be used: entity ids, or {', '.join(INSTITUTIONS)}; the first one is offered first.",
        {"https://idp.example.edu/shibboleth": {"username_claim": "eppn"}},
    )
    host: Annotated[str, host_name("cilogon.org"), Form("host name")] = setting(
        "cilogon.org", "The server, if it is another.", "test.cilogon.org"
    )

    @model_validator(mode="after")
    def _some(self) -> CILogon:
        if not self.identity_providers:
            raise BadValue("nobody's accounts may be used", "identity_providers: {https://...: {username_claim: eppn}}")
        return self

    def endpoints(self) -> Endpoints:
        at = address_of(self.host)
        return Endpoints(f"{at}/authorize", f"{at}/oauth2/token", f"{at}/oauth2/userinfo")

    def told(self) -> dict[str, Any]:
        # A list, since the first one is offered first.
        return {"identity_providers": [{"id": key, **one.model_dump()} for key, one in self.identity_providers.items()]}


class Globus(Provider):
    """Accounts of Globus. People are called by their whole name there, unless it is of `identity_provider`."""

    title_ = "Globus"
    tells = ("groups", "domains")

    identity_provider: Domain | None = setting(
        None, "Only accounts of this domain; they are called by what is before the `@`.", "example.edu"
    )
    host: Annotated[str, host_name("auth.globus.org"), Form("host name")] = setting(
        "auth.globus.org", "The server, if it is another.", "auth.test.globus.org"
    )

    def endpoints(self) -> Endpoints:
        at = f"{address_of(self.host)}/v2/oauth2"
        return Endpoints(f"{at}/authorize", f"{at}/token", f"{at}/userinfo")

    def told(self) -> dict[str, Any]:
        usual = self.host == "auth.globus.org"
        # A server of another name has its groups beside it: such is only set up to try things out.
        groups = "https://groups.api.globus.org" if usual else address_of(self.host)
        return {"identity_provider": self.identity_provider, "groups_url": f"{groups}/v2/groups/my_groups"}


class Oidc(Provider):
    """Any provider of OpenID Connect: Keycloak, Entra ID, Okta, Dex, and those of universities."""

    tells = ("groups", "domains")

    issuer: Issuer = setting(
        ..., "Its address, below which it has `.well-known/openid-configuration`.", "https://login.example.edu"
    )
    username_claim: Claim = setting(
        "preferred_username",
        "The claim with the login name. Of `email`, only an address that the provider does not call unverified.",
        "email",
    )
    groups_claim: Claim | None = setting(None, "The claim with the names of a person's groups.", "groups")
    scopes: tuple[Scope, ...] = setting(
        ("openid", "profile", "email"), "What is asked for.", ["openid", "profile", "email", "groups"]
    )
    title: Line | None = setting(None, "Its name on the button. Default: the host's.", "Example University")
    tokens: Flag = setting(
        False,
        "People's servers get their own token of the provider. Most renew it only with `offline_access` among the "
        "scopes.",
        True,
    )

    @property
    def called(self) -> str:
        return self.title or urlsplit(self.issuer).hostname or ""

    @property
    def place(self) -> str:
        return self.issuer

    def endpoints(self) -> None:
        return None

    def asked(self) -> tuple[str, ...]:
        return (self.issuer,)

    def told(self) -> dict[str, Any]:
        names = ("issuer", "username_claim", "groups_claim", "tokens")
        return {**{name: getattr(self, name) for name in names}, "scopes": list(self.scopes)}

    @model_validator(mode="after")
    def _openid(self) -> Oidc:
        if "openid" not in self.scopes:
            raise BadValue("`scopes` has no `openid`, without which nothing is told", "scopes: [openid, profile]")
        return self


class Tapis(Provider):
    """The accounts of a Tapis tenant (of an Agave tenant, with version 2)."""

    client_id: ClientId | None = setting(  # type: ignore[assignment]
        None,
        "The id that the tenant gave this hub. `hubfleet oauth register` gets one, and writes it here.",
        "4f1c0a9e7b",
    )
    tenant: Tenant = setting(..., "The tenant's id.", "designsafe")
    version: Literal[2, 3] = setting(3, "Of the tenant's services.", 2)
    base_url: BaseUrl | None = setting(
        None, f"Its address. Known of version 3, and with version 2 of {', '.join(TENANTS)}.", BASE
    )
    account: Line | None = setting(
        None,
        "The service account that `hubfleet oauth register` asks with; its password is the secret `oauth_password`.",
        "hub-service",
    )
    tokens: Flag = setting(
        True, "People's servers get their own token of the tenant, for its command line and its Python clients.", False
    )

    @property
    def called(self) -> str:
        return f"your {self.tenant} account"

    @property
    def base(self) -> str:
        """The tenant's address, without a slash at its end."""
        known = TENANTS.get(self.tenant, "") if self.version == 2 else f"https://{self.tenant}.tapis.io"
        return self.base_url or known

    @model_validator(mode="after")
    def _known(self) -> Tapis:
        if not self.base:
            what = f"`{self.tenant}` is none of the standard tenants{did_you_mean(self.tenant, TENANTS)}"
            raise BadValue(what, f"base_url: {BASE}")
        if self.version == 3 and "." in self.tenant and not self.base_url:
            raise BadValue(
                f"`{self.tenant}` is the id of a tenant of version 2", "version: 2, or base_url: https://..."
            )
        return self

    def endpoints(self) -> Endpoints:
        if self.version == 2:
            return Endpoints(
                f"{self.base}/oauth2/authorize", f"{self.base}/oauth2/token", f"{self.base}/profiles/v2/me"
            )
        at = f"{self.base}/v3/oauth2"
        return Endpoints(f"{at}/authorize", f"{at}/tokens", f"{at}/userinfo")

    def told(self) -> dict[str, Any]:
        return {"tenant": self.tenant, "version": self.version, "base_url": self.base, "tokens": self.tokens}

"""The properties of project jupyterhub: how each is read, and what it becomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hubfleet.config.fields import MIN_IDLE, BadValue
from hubfleet.config.owner import MINIMUM
from hubfleet.units import Duration

TAS_URL = "https://tas.tacc.utexas.edu/api/v1"
"""TACC's own accounting service."""
SETTINGS = "hubfleet"
"""The property that holds settings of hubfleet's own."""
CLIENT = ("jupyterhub_oauth_client_id", "jupyterhub_oauth_client_secret")
"""What a tenant gives a hub that it is to know. `hubfleet oauth register` gets both."""
HUB_IMAGE = "taccsciapps/jupyterhub"
"""The hub of the original, with what ours does in other ways; its Python is too old for any other use."""
PEM = "-----BEGIN "
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
"""What the original's YAML takes for yes and no; passwords are all text, too."""


@dataclass(frozen=True)
class Property:
    """One property.

    read:    its value, or BadValue; a number comes as the text that it is written with. What settings it becomes
             judge it again, so a text may be taken as it is.
    becomes: for the reference, settings of hubfleet.yaml and when.
    secret:  the name that hubfleet has for it, if it is one.
    note:    said to the operator wherever it is written.
    """

    form: str
    meaning: str
    becomes: str
    read: Callable[[Any], Any]
    example: str
    required: bool = False
    secret: str = ""
    note: str = ""


def _text(raw: Any) -> str:
    if isinstance(raw, str) and raw.strip():
        return raw.strip()
    raise BadValue("must be text", None)


def _secret(raw: Any) -> str:
    """As it is written: spaces count."""
    return raw if isinstance(raw, str) and raw else _text(raw)


def _flag(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    word = raw.lower() if isinstance(raw, str) else ""
    if word in _WORDS:
        return _WORDS[word]
    raise BadValue(f"`{raw}` is neither true nor false", "true")


def _number(raw: Any) -> int:
    text = str(raw).strip().replace("_", "").removeprefix("+")
    if isinstance(raw, bool) or not (text.isascii() and text.isdigit()):
        raise BadValue(f"`{raw}` is not a whole number", "a number such as 259200")
    return int(text)


def _id(raw: Any) -> int:
    number = _number(raw)
    if number < MINIMUM:
        raise BadValue(f"`{raw}` is below {MINIMUM}, where machines have accounts of their own", "458981")
    return number


def _seconds(raw: Any) -> str:
    number = _number(raw)
    if number == 0:
        return "never"
    if number < MIN_IDLE:
        raise BadValue(
            f"`{raw}` is below the hub's 5-minute activity interval", f"{MIN_IDLE:.0f} seconds or more, or 0 for never"
        )
    return str(Duration(number))


def _address(raw: Any) -> str:
    text = _text(raw)
    return (text if "://" in text else f"https://{text}").rstrip("/")


def _pem(raw: Any) -> str:
    if isinstance(raw, str) and (PEM in raw or raw.startswith("!command ")):
        return raw.strip() + "\n"
    raise BadValue(f"not in PEM form, which begins with {PEM}...", "the file's whole content, in lines below `|`")


def _mounts(raw: Any) -> list[str]:
    if isinstance(raw, list) and all(isinstance(item, str) for item in raw):
        return raw
    raise BadValue("must be a list of texts", "- /host/path:/path/in/server:ro, one in a line")


def _settings(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise BadValue("must hold settings of a hubfleet.yaml", "{network: {fleet: {encrypted: false}}}")
    if "hub" in raw:
        raise BadValue("the name of a hub is that of its stanza", "remove `hub`")
    return raw


def _anything(raw: Any) -> Any:
    return raw


PROPERTIES: dict[str, Property] = {
    "tenant": Property(
        "tenant id",
        "The tenant whose accounts people log in with, and `{tenant_id}` in mounts. Default: the tenant of the stanza.",
        "`login.tapis.tenant`, with `login.allow: {everybody: true}` and nobody under `login.admins`",
        _text,
        "designsafe",
    ),
    "jupyterhub_tenant_base_url": Property(
        "address",
        "The tenant's OAuth server. Default: known for TACC's standard tenants.",
        "`login.tapis.base_url`; and `login.tapis.version`: 3 below tapis.io, else 2",
        _address,
        "https://agave.example.edu",
    ),
    "jupyterhub_host": Property(
        "domain name", "The name people come to, without `https://`.", "`domain`", _text, "hub.example.edu", True
    ),
    "jupyterhub_oauth_client_id": Property(
        "text",
        "The id of the hub's OAuth client; `hubfleet oauth register` can get it.",
        "`login.tapis.client_id`",
        _text,
        "4f1c0a9e7b",
        True,
    ),
    "jupyterhub_oauth_client_secret": Property(
        "secret",
        "The secret of that client; got with the id.",
        "the secret `client_secret`",
        _secret,
        "...",
        True,
        "client_secret",
    ),
    "jupyterhub_cert": Property(
        "text in PEM form",
        "The hub's certificate, and those between it and its authority. Without it: self-signed.",
        "`https: secrets`, and the secret `https_certificate`; without it `https: self-signed`",
        _pem,
        "|",
    ),
    "jupyterhub_key": Property(
        "secret, text in PEM form", "The certificate's key.", "the secret `https_key`", _pem, "|", secret="https_key"
    ),
    "volume_mounts": Property(
        "list of host:container:ro|rw",
        "Directories that servers show. Variables: `{username}`, `{tenant_id}`, and with TAS `{tas_homeDirectory}`.",
        "`storage.mounts`, with the tenant's id put in; what is below `/home/jupyter` also in the person's own home, "
        "unless homes come by NFS",
        _mounts,
        '["/corral/{tenant_id}/{username}:/home/jupyter/MyData:rw"]',
    ),
    "jupyterhub_image": Property(
        "image",
        "What the hub's own parts are built on; it needs Python 3.10 or newer, or `apt-get`. The original's "
        f"(`{HUB_IMAGE}`) holds a hub that hubfleet's takes the place of. Default: hubfleet's own.",
        "`hub_image`; the original's: nothing, and `check`, `plan` and `deploy` note it",
        _text,
        "quay.io/jupyterhub/jupyterhub:5.4.0",
    ),
    "jupyter_user_image": Property(
        "image with version",
        "What users' servers are made of; it needs Python 3.10 or newer. Default: hubfleet's own.",
        "`servers.image`",
        _text,
        "quay.io/jupyter/scipy-notebook:2026-10-01",
    ),
    "jupyteruser_uid": Property(
        "id",
        "Everybody's user id, unless TAS knows them. Default: an id of each person's own.",
        "`storage.owner.uid`",
        _id,
        "458981",
    ),
    "jupyteruser_gid": Property(
        "id",
        "Everybody's group id, unless TAS knows them. Default: the number of the user id.",
        "`storage.owner.gid`",
        _id,
        "816877",
    ),
    "use_tas_uid": Property(
        "true or false", "Whether TAS knows everybody's user id.", "`storage.owner.tas`", _flag, "true"
    ),
    "use_tas_gid": Property(
        "true or false",
        "Whether it knows the group id, too. Default: as `use_tas_uid`.",
        "nothing; `false` with `jupyteruser_gid`: `storage.owner.gid`",
        _flag,
        "true",
    ),
    "tas_role_account": Property("text", "Who asks TAS.", "`storage.owner.tas.account`", _text, "hub-role"),
    "tas_role_pass": Property(
        "secret",
        "The password of that account.",
        "the secret `owner_password`",
        _secret,
        "...",
        secret="owner_password",
    ),
    "tas_url_base": Property(
        "address",
        "Where TAS is, up to `/users`. An addition of hubfleet's; default: TACC's own.",
        "`storage.owner.tas.url`",
        _address,
        TAS_URL,
    ),
    "use_stock_nfs": Property(
        "true or false",
        "Whether homes are kept: on the hub's machine, exported to the others. Default: mounts keep what is kept.",
        "`storage.homes`: `{share: nfs}`, or the default on one machine; `false`: `none`",
        _flag,
        "false",
    ),
    "cull_idle_notebook_timeout": Property(
        "seconds",
        "A server unused for this long is stopped; 0: never, the default.",
        "`servers.stop_after_idle`",
        _seconds,
        "259200",
    ),
    "notebook_memory_limit": Property("size", "Most memory of one server.", "`servers.memory.limit`", _text, "3G"),
    "notebook_offer_lab": Property(
        "true or false",
        "Whether JupyterLab opens first. Both are there either way; default: the notebook's own page.",
        "`servers.default_url`: `/lab` or `/tree`",
        _flag,
        "true",
    ),
    "jupyterhub_config_py_template": Property(
        "text",
        "Nothing: the hub's configuration is made by hubfleet.",
        "nothing; `check`, `plan` and `deploy` note it",
        _anything,
        "jupyterhub_config_0.8.py.j2",
        note="The hub's configuration is made by hubfleet; no template is used.",
    ),
    "worker_tasks_file": Property(
        "text",
        "Nothing: hubfleet runs no tasks of Ansible.",
        "nothing; `check`, `plan` and `deploy` note it",
        _anything,
        "designsafe.yml",
        note="hubfleet runs no tasks of Ansible. What these did on workers, such as mounts, has to be there.",
    ),
    SETTINGS: Property(
        "settings of hubfleet.yaml",
        "What the original has no property for. An addition of hubfleet's. What less local stanzas have here holds on, "
        "but for what is said anew: maps merge.",
        "the same, over all that follows from the other properties",
        _settings,
        "{network: {fleet: {encrypted: false}}}",
    ),
}
"""By name, in the order of the reference."""

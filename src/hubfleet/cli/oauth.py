"""`hubfleet oauth register`: make the hub a client of its tenant, and write down what the tenant gives it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hubfleet.cli.console import as_typed, say
from hubfleet.cli.reading import Options, given_file, hubs_only
from hubfleet.config import Config, Secrets, load
from hubfleet.config.document import Place, read_document
from hubfleet.config.edit import set_value, write
from hubfleet.config.providers import Tapis
from hubfleet.deployer.files import is_deployer
from hubfleet.deployer.properties import CLIENT
from hubfleet.engines.logins import callback
from hubfleet.errors import ConfigError
from hubfleet.sshcommand import CONFIGURATIONS
from hubfleet.units import Secret

if TYPE_CHECKING:
    from hubfleet.tenantclients import Client

Keep = Callable[[str], None]
"""What is done with the id that the tenant gave."""
PASSWORD, SECRET = "oauth_password", "client_secret"


def register(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The client's name there [default: hubfleet-HUB].")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Make it anew if it is there already: its secret is told only once.")
    ] = False,
) -> None:
    """Register the hub as a client of its Tapis tenant (version 2), with the service account of `login.tapis`.

    The client's id goes into the configuration, its secret into the file of secrets. Again, it changes nothing.
    Files of Deployer stay as they are: it prints the line for the id.

    Example: hubfleet oauth register
    """
    # Only here: what asks by HTTP takes its time to be imported.
    from hubfleet.tenantclients import Tenant

    options: Options = context.obj
    deployer = options.config is not None and is_deployer(options.config)
    config, secrets, keep = _of_deployer(options) if deployer else _of_file(options)
    line = "hubfleet: {login: {tapis: {account: ...}}}" if deployer else "account: ..."
    tapis, account, password = _wanted(config, secrets, line)
    name, back = name or f"hubfleet-{config.hub.replace('.', '-')}", callback(config)
    tenant, secret = Tenant(config, tapis.base, account, password), secrets.get(SECRET)
    found = tenant.clients()
    client = _known(found, tapis, name, secret, back, replace=replace)
    if client is None:
        secrets.check_put(SECRET)
        if any(one.name == name for one in found):
            tenant.remove(name)
        client = tenant.register(name, back)
        say(f"Registered {client.name} at {tapis.base}, which sends people back to {back}")
    if client.secret is not None:
        # First the secret: nobody tells it again.
        secrets.put(SECRET, client.secret.reveal())
        say(f"Its secret is {SECRET} in {secrets.path}.")
    if tapis.client_id != client.identifier:
        keep(client.identifier)
        say(as_typed(f"{'Then' if deployer else 'Now'}: hubfleet up"))
    elif client.secret is None:
        say(f"{client.name} is registered already, with the callback {back}. Nothing was changed.")


def _of_file(options: Options) -> tuple[Config, Secrets, Keep]:
    """The hub of a hubfleet.yaml."""
    hubs_only(options)
    file = given_file(options)
    config = load(options.config, options.hub)
    file = file or Path(CONFIGURATIONS[0])
    several = "hubs" in read_document(file).data

    def keep(identifier: str) -> None:
        place: Place = ("hubs", config.hub) if several else ()
        write(file, set_value(file, (*place, "login", "tapis", "client_id"), identifier))
        say(f"Its id is client_id under login.tapis in {file}.")

    return config, Secrets.beside(file, config.hub if several else None), keep


def _of_deployer(options: Options) -> tuple[Config, Secrets, Keep]:
    """The hub of Deployer's files, which others than hubfleet write."""
    from hubfleet.deployer.load import load as load_deployer
    from hubfleet.deployer.load import selected

    loaded = load_deployer(selected(options.config or Path(), options.hub))

    def keep(identifier: str) -> None:
        say(f"Its id is not written down yet. Write this line into {loaded.file}, below `{loaded.stanza}:`")
        say(f"    {CLIENT[0]}: {identifier}")

    return loaded.config, loaded.secrets, keep


def _wanted(config: Config, secrets: Secrets, line: str) -> tuple[Tapis, str, Secret]:
    """The settings that this takes. ``line``: how to write an account. Raises ConfigError for each missing one."""
    tapis = config.login.tapis
    at = config.where("login.tapis") or config.where("login")
    if tapis is None:
        raise ConfigError("the hub is registered at a Tapis tenant only", where=at, remedy="login: {tapis: {...}}")
    if tapis.version != 2:
        raise ConfigError(
            "login.tapis: clients of version 3 are registered by hand",
            where=at,
            remedy=f"make one at {tapis.base} with the callback {callback(config)}, then write client_id here "
            f"and {SECRET} among the secrets",
        )
    if tapis.account is None:
        raise ConfigError("login.tapis.account: who registers it is not written", where=at, remedy=line)
    password = secrets.get(PASSWORD)
    if password is None:
        raise ConfigError(
            f"login.tapis.account needs the secret {PASSWORD}",
            where=config.where("login.tapis.account"),
            remedy=f"write `{PASSWORD}: ...` into {secrets.path.name}",
        )
    return tapis, tapis.account, password


def _known(
    found: list[Client], tapis: Tapis, name: str, secret: Secret | None, back: str, *, replace: bool
) -> Client | None:
    """The client that this hub is already; None for one that is to be made. Raises ConfigError where it is unclear."""
    if replace:
        return None
    state = "Nothing was changed"
    mine = next((one for one in found if one.identifier == tapis.client_id), None) if tapis.client_id else None
    if tapis.client_id and mine is None:
        theirs = ", ".join(one.name for one in found) or "it has none"
        what = f"login.tapis.client_id is none of the account's clients ({theirs})"
        raise ConfigError(what, state=state, remedy="remove client_id, or use the account that registered it")
    mine = mine or next((one for one in found if one.name == name), None)
    if mine is None and secret is not None:
        what = f"there is a {SECRET} already, and no client_id that it belongs to"
        raise ConfigError(what, state=state, remedy=f"write that client_id, or remove the {SECRET}")
    if mine is not None and secret is None:
        what = f"{mine.name} is registered there, and its secret is not told again"
        raise ConfigError(what, state=state, remedy=f"write {SECRET} among the secrets, or make it anew: --replace")
    if mine is not None and mine.callback != back:
        what = f"{mine.name} is registered there with another callback, {mine.callback}"
        raise ConfigError(what, state=state, remedy=f"make it anew for {back}: --replace")
    return mine

"""Properties and hosts become the settings of a hubfleet.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from hubfleet.config.document import dig, leaves
from hubfleet.config.fields import BadValue, did_you_mean
from hubfleet.config.inherit import dotted
from hubfleet.config.paths import HOME, Mount, parse_mount
from hubfleet.config.providers import TENANTS
from hubfleet.deployer.build import Build
from hubfleet.deployer.hosts import HOSTS, Host, machine
from hubfleet.deployer.properties import CLIENT, HUB_IMAGE, PROPERTIES, SETTINGS, TAS_URL
from hubfleet.deployer.stanzas import Written

MOUNTS = "volume_mounts"
_IMAGE_HOME = re.compile(r"/home/jupyter((?:/.+)?)", re.ASCII)
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)


def translate(build: Build, hosts: Sequence[Host]) -> None:
    """Put all that there is into the build."""
    _machines(build, hosts)
    if build.get("jupyterhub_host"):
        build.put("domain", build.get("jupyterhub_host"), "jupyterhub_host")
    _https(build)
    _hub(build)
    _login(build, _tenant(build))
    _servers(build)
    _homes(build, hosts)
    _mounts(build, _tenant(build))
    _owner(build)
    build.overlay(SETTINGS)
    _required(build)


def _required(build: Build) -> None:
    """Say what is missing. A client can be had by a service account, which makes it once the rest is there."""
    account = dig(build.tree.data, ("login", "tapis", "account"))
    for key, known in PROPERTIES.items():
        if known.required and not (account and key in CLIENT):
            build.require(key)
    if account and not all(build.has(key) for key in CLIENT):
        file = build.files.configs.file.name
        build.notes.append(f"{file}: the hub is no client of its tenant yet: `hubfleet oauth register` makes it one.")


def _machines(build: Build, hosts: Sequence[Host]) -> None:
    alone = len(hosts) == 1
    build.put("engine", "docker" if alone else "swarm")
    origins = build.tree.provenance.origins
    build.put("machines", {})
    origins["engine"] = origins["machines"] = Written(None, build.files.hosts, ()).origin(HOSTS)
    for host in hosts:
        settings = machine(host, build.files)
        if alone:
            # With engine docker there are no roles: one machine has all.
            _, key = settings.pop("roles")
            if missing := [role for role in ("hub", "worker") if role not in host.roles]:
                what = f"{key}: {host.name} is the only host, and has not the role `{missing[0]}`"
                build.problems.append(host.said[key].problem(what, "roles: [hub, worker]"))
        place = ("machines", host.name)
        build.tree.data["machines"][host.name] = {name: value for name, (value, _) in settings.items()}
        origins[dotted(place)] = host.place.origin(HOSTS)
        for name, (value, key) in settings.items():
            origins[dotted((*place, name))] = host.said[key].origin(key)
            for inner, _ in leaves(value, (*place, name)):
                origins[dotted(inner)] = host.said[key].origin(key)


def _https(build: Build) -> None:
    pair = {"jupyterhub_cert": "https_certificate", "jupyterhub_key": "https_key"}
    given = [key for key in pair if build.has(key)]
    if len(given) == 1:
        (missing,) = [key for key in pair if key not in given]
        build.wrong(given[0], f"is there without `{missing}`", f"{missing}: |, or neither: self-signed")
    build.put("https", "secrets" if given else "self-signed", given[0] if given else "jupyterhub_host")
    for key, name in pair.items():
        build.secret(name, key)


def _hub(build: Build) -> None:
    image = build.get("jupyterhub_image")
    if image and re.fullmatch(rf"(docker\.io/)?{HUB_IMAGE}([:@].*)?", image):
        build.note("a hub of the original, which is not used: hubfleet has its own.", "jupyterhub_image")
    elif image:
        build.put("hub_image", image, "jupyterhub_image")


def _tenant(build: Build) -> str:
    """The tenant's id: a property, or else the tenant of the hub's own stanza."""
    if build.has("tenant"):
        return str(build.get("tenant") or "")
    return build.name[2] if len(build.name) == 3 else ""


def _login(build: Build, tenant: str) -> None:
    if not tenant:
        if not build.has("tenant"):
            build.wrong("tenant", "is required for a hub without a tenant in its name", "tenant: designsafe")
        return
    base = build.get("jupyterhub_tenant_base_url")
    of_tapis = f".{urlsplit(base or '').hostname}".endswith(".tapis.io")
    if not build.has("jupyterhub_tenant_base_url") and tenant.lower() not in TENANTS:
        hidden = build.has("tenant") and build.written["tenant"].hidden
        called = "it is" if hidden else f"`{tenant}` is"
        close = "" if hidden else did_you_mean(tenant.lower(), TENANTS)
        what = f"{called} none of the standard tenants, and its OAuth server is not named{close}"
        build.wrong("tenant", what, "jupyterhub_tenant_base_url: https://agave.example.edu")
        return
    build.put("login.tapis.tenant", tenant, "tenant")
    build.put("login.tapis.version", 3 if of_tapis else 2, "jupyterhub_tenant_base_url")
    if base:
        build.put("login.tapis.base_url", base, "jupyterhub_tenant_base_url")
    if build.get("jupyterhub_oauth_client_id"):
        build.put("login.tapis.client_id", build.get("jupyterhub_oauth_client_id"), "jupyterhub_oauth_client_id")
    address = "jupyterhub_tenant_base_url" if base else "jupyterhub_oauth_client_id"
    build.about("login.tapis", address)
    build.put("login.allow.everybody", True)
    build.put("login.admins", [])
    build.secret("client_secret", "jupyterhub_oauth_client_secret")


def _servers(build: Build) -> None:
    if build.get("jupyter_user_image"):
        build.put("servers.image", build.get("jupyter_user_image"), "jupyter_user_image")
    if build.get("notebook_memory_limit"):
        build.put("servers.memory.limit", build.get("notebook_memory_limit"), "notebook_memory_limit")
    idle, lab = build.get("cull_idle_notebook_timeout"), build.get("notebook_offer_lab")
    build.put("servers.stop_after_idle", idle or "never", "cull_idle_notebook_timeout")
    build.put("servers.default_url", "/lab" if lab else "/tree", "notebook_offer_lab")


def _homes(build: Build, hosts: Sequence[Host]) -> None:
    if not build.get("use_stock_nfs"):
        build.put("storage.homes", "none", "use_stock_nfs")
    elif len(hosts) > 1:
        build.put("storage.homes.share", "nfs", "use_stock_nfs")
        apart = any("storage" in host.roles for host in hosts)
        for host in hosts:
            if "worker" in host.roles and ("storage" if apart else "hub") in host.roles:
                what = f"{host.name} would have the homes and users' servers, and cannot mount its own disk by NFS"
                build.wrong("use_stock_nfs", what, f"no role worker for {host.name}")


def _mounts(build: Build, tenant: str) -> None:
    mounts: list[str] = build.get(MOUNTS) or []
    sound: dict[int, str] = {}
    for index, text in enumerate(mounts):
        if "{tenant_id}" in text and not _PART.fullmatch(tenant):
            build.wrong(MOUNTS, "{tenant_id} is not the name of a directory", "tenant: designsafe", item=index)
        elif f"{{{HOME}}}" in text and not build.get("use_tas_uid"):
            build.wrong(MOUNTS, f"{{{HOME}}} needs TAS, which knows it", "use_tas_uid: true", item=index)
        else:
            sound[index] = text.replace("{tenant_id}", tenant)
    shown = [*sound.items(), *_in_the_home(build, sound)]
    if shown:
        build.put("storage.mounts", [text for _, text in shown], MOUNTS, [index for index, _ in shown])
        if build.has("tenant") and build.written["tenant"].hidden:
            origins = build.tree.provenance.origins
            for number, (index, _) in enumerate(shown):
                if "{tenant_id}" in mounts[index]:
                    place = dotted(("storage", "mounts", str(number)))
                    origins[place] = replace(origins[place], secret=True)
    written = any(text.endswith(":rw") for text in mounts)
    if written and not build.get("use_tas_uid") and not build.has("jupyteruser_uid"):
        build.note("files there will belong to an id of each person's own, unless there is jupyteruser_uid.", MOUNTS)


def _in_the_home(build: Build, mounts: Mapping[int, str]) -> Iterator[tuple[int, str]]:
    """Once more, in each person's own home, what is below the home of the image's user.

    That is where a server's pages begin, and what is not in there is not found by who looks for it. The first place
    stays, for notebooks name it.
    """
    by_nfs = isinstance(dig(build.tree.data, ("storage", "homes")), dict)
    sound: dict[int, Mount] = {}
    for index, text in mounts.items():
        with suppress(BadValue):  # which is told when the settings are judged
            sound[index] = parse_mount(text)
    taken = {mount.container for mount in sound.values()}
    for index, mount in sound.items():
        found = _IMAGE_HOME.fullmatch(mount.container)
        own = f"/home/{{username}}{found[1]}" if found else mount.container
        called = "the directory" if build.written[MOUNTS].hidden else mount.container
        if found and not found[1]:
            build.note(f"servers do not begin in {called}: a person's home is /home/<name>.", MOUNTS)
        elif found and by_nfs:
            what = "is not in people's own homes, too: nothing can be mounted inside homes that come by NFS."
            build.note(f"{called} {what}", MOUNTS)
        elif own not in taken:
            taken.add(own)
            yield index, str(replace(mount, container=own))


def _owner(build: Build) -> None:
    uid, gid = build.get("jupyteruser_uid"), build.get("jupyteruser_gid")
    if build.get("use_tas_uid"):
        _tas(build, gid)
        return
    if build.get("use_tas_gid"):
        build.wrong("use_tas_gid", "goes with use_tas_uid", "use_tas_uid: true, or remove it")
    if uid is not None:
        build.put("storage.owner", {"uid": uid}, "jupyteruser_uid")
    elif gid is not None and not build.has("jupyteruser_uid"):
        build.wrong("jupyteruser_gid", "goes with jupyteruser_uid", "jupyteruser_uid: 458981")
        return
    if gid is not None:
        build.put("storage.owner.gid", gid, "jupyteruser_gid")


def _tas(build: Build, gid: Any) -> None:
    account, url = build.get("tas_role_account"), build.get("tas_url_base")
    for key in ("tas_role_account", "tas_role_pass"):
        if not build.has(key):
            remedy = "tas_role_account: hub-role" if key == "tas_role_account" else "write it into a .passwords file"
            build.wrong("use_tas_uid", f"needs `{key}`", remedy)
    if account:
        build.put("storage.owner", {}, "use_tas_uid")
        build.put("storage.owner.tas.account", account, "tas_role_account")
        build.put("storage.owner.tas.url", url or TAS_URL, "tas_url_base" if url else "use_tas_uid")
    build.secret("owner_password", "tas_role_pass")
    if build.get("use_tas_gid") is False:
        if gid is not None:
            build.put("storage.owner.gid", gid, "jupyteruser_gid")
        elif not build.has("jupyteruser_gid"):
            build.wrong("use_tas_gid", "no other group id is known", "use_tas_gid: true, or jupyteruser_gid: 816877")

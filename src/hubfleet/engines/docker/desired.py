"""Everything that engine ``docker`` wants on its machine. Pure: configuration and site in, resources out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hubfleet.config import Config
from hubfleet.engines import logins, services
from hubfleet.engines.accounts import Accounts, accounts_of
from hubfleet.engines.base import Site
from hubfleet.engines.disks import disks
from hubfleet.engines.docker import front, homes, parts, trial
from hubfleet.engines.docker.common import PATH, PYTHON, alive, as_json, confined, reading, shown
from hubfleet.engines.docker.images import (
    CERTIFICATE_VARIABLES,
    CERTIFICATES,
    ENVIRONMENT,
    PACKAGES,
    by_base,
    edge_image,
    hub_image,
    proxies,
    user_images,
)
from hubfleet.engines.docker.skeleton import folder as skeletons
from hubfleet.engines.docker.skeleton import skeleton
from hubfleet.engines.settings import hub_places, hub_settings
from hubfleet.layout import Layout
from hubfleet.resources import (
    Account,
    Container,
    Directory,
    DockerEngine,
    File,
    Firewall,
    Image,
    Network,
    Resource,
    Skeleton,
    Trial,
)
from hubfleet.resources.dockerengine import SOCKET

_LAUNCHER_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE")
"""To give servers the directories of their sockets, and to clean these up; its power over them is the engine's socket.
"""


@dataclass(frozen=True)
class Form:
    """What is different where users' servers are not all on the hub's machine.

    engine:   what the launcher's engine is told, beside what it always is.
    hub:      what the hub is told, beside what it always is.
    network:  that between the machines; "" where there is one machine.
    attached: by part, its fixed address in that.
    """

    engine: Mapping[str, Any]
    hub: Mapping[str, Any] = field(default_factory=dict)
    network: str = ""
    attached: Mapping[str, str] = field(default_factory=dict)

    def networks(self, part: str, usual: str) -> dict[str, Any]:
        """Of a `Container`: the networks it is on. One that is on none cannot be put on another."""
        address = self.attached.get(part)
        if address is None:
            return {"network": usual}
        return {"network": self.network if usual == "none" else usual, "networks": ((self.network, address),)}


def here(network: str) -> Form:
    """All servers are on this machine, on this network."""
    return Form({"network": network})


def desired_state(config: Config, site: Site) -> tuple[Resource, ...]:
    """All resources, in the order in which they are made: what takes long and disturbs nobody comes first."""
    who = accounts_of(config.hub, True)
    hub, door, users = hub_image(config, site), edge_image(config), user_images(config, site)
    form = here(parts.users_network(config.hub))
    return (
        DockerEngine(),
        hub,
        door,
        *users,
        *accounts(config, who),
        *directories(config, site, who),
        *disks(config, site.layout),
        *networks(config),
        *serving(config, site, form, form, hub, door, users),
    )


def accounts(config: Config, who: Accounts) -> Iterator[Account]:
    """Those of the hub's own parts."""
    yield Account(who.hub, f"hub {config.hub}")
    yield Account(who.proxy, f"proxy of hub {config.hub}")
    yield Account(who.edge, f"edge of hub {config.hub}")


def serving(
    config: Config, site: Site, form: Form, tried: Form, hub: Image, door: Image, users: Sequence[Image]
) -> Iterator[Resource]:
    """The hub itself, of which people notice something: it is tried out first, in another form.

    hub, door, users: the images of its own parts, of the edge, and of users' servers.
    """
    who, homes_begin = accounts_of(config.hub, True), skeleton(config, site.layout)
    files = _files(config, site, who, users, homes_begin, form)
    if homes_begin:
        yield homes_begin
    # Before the files: those who serve would read them if they had to start again.
    yield _trial(config, site, who, hub, users, homes_begin, tried)
    yield from (file for file in files.values() if not file.returns)
    keeper = "homes" in parts.here(config)
    for container in (
        *((homes.container(config, site, hub, files, {"network": "none"}),) if keeper else ()),
        *_containers(config, site, who, hub, files, form),
        front.container(config, site, who, door, files),
    ):
        # Right before it: where one part does not come up, those not yet replaced keep the files they read.
        yield from (file for file in files.values() if file.path in container.reads)
        yield container


def edge_state(config: Config, site: Site) -> tuple[Resource, ...]:
    """The same for a machine that has the edge only."""
    return front.alone(config, site, accounts_of(config.hub, True), edge_image(config))


def _trial(
    config: Config,
    site: Site,
    who: Accounts,
    hub: Image,
    users: Sequence[Image],
    homes_begin: Skeleton | None,
    form: Form,
) -> Trial:
    """The same once more, with another place."""
    config, second = trial.beside(config, site)
    files = _files(config, second, who, users, homes_begin, form)
    containers = _containers(config, second, who, hub, files, form)
    return trial.trial(site, second, who, directories(config, second, who), files, containers)


def directories(config: Config, site: Site, who: Accounts) -> list[Directory]:
    """Those of the hub's own parts, and of homes."""
    layout, root = site.layout, "root"
    wanted = [
        Directory(str(layout.base), root, root, 0o755),
        Directory(str(layout.state), root, root, 0o711),
        Directory(str(layout.state / "generations"), root, root, 0o700),
        Directory(str(layout.hub_dir), who.hub, who.hub, 0o700),
        Directory(str(parts.proxy_dir(layout)), who.proxy, who.proxy, 0o700),
        Directory(str(layout.launcher_dir), root, root, 0o700),
        Directory(str(layout.secrets_dir), root, root, 0o700),
        Directory(str(layout.logs), root, root, 0o700),
        Directory(str(layout.logs / "servers"), root, root, 0o700),
        Directory(str(layout.run), root, root, 0o711),
        Directory(str(layout.hub_socket.parent), who.hub, who.hub, 0o755),
        # The group sticks to what is made inside, so that the hub can speak to the proxy, and the edge too.
        Directory(str(layout.proxy_socket.parent), who.proxy, who.hub, 0o2710),
        Directory(str(parts.entrance(layout).parent), who.proxy, who.edge, 0o2710),
        Directory(str(layout.launcher_socket.parent), root, who.hub, 0o710),
        Directory(str(layout.servers_run), root, root, 0o711),
        *front.directories(config, layout, who),
    ]
    if config.storage.homes is not None and config.storage.homes.skeleton is not None:
        wanted.append(Directory(str(skeletons(layout)), root, root, 0o700))
    wanted += homes.directories(config, layout) if not config.homes_apart else ()
    if config.homes_apart:
        wanted.append(Directory(str(homes.launcher_dir(layout)), root, root, 0o700))
    return wanted


def _files(
    config: Config, site: Site, who: Accounts, users: Sequence[Image], homes_begin: Skeleton | None, form: Form
) -> dict[str, File]:
    """The files that hub, proxy, launcher and edge read at start, by short name.

    All are in directories closed to others. What is no secret has an open mode, so that a plan shows its changes.
    """
    layout, kept = site.layout, config.storage.homes is not None
    settings = {**hub_settings(config, layout), **form.hub}
    launcher = {
        **hub_places(layout),
        "hub_account": who.hub,
        "config": config.dump(),
        "engine": {
            **hub_places(layout),
            **by_base(users, lambda image: image.tag),
            "python": ENVIRONMENT,
            "keeper": homes.line(config, layout),
            "skeleton": homes_begin.path if homes_begin and not kept else None,
            "hub_account": who.hub,
            "host_root": parts.HOST,
            "ids": [config.storage.owner.ids.first, config.storage.owner.ids.last],
            "variables": {**proxies(config), **config.servers.environment},
            **form.engine,
        },
    }

    def secret(path: Path, content: str, owner: str) -> File:
        return File(str(path), content, owner, owner, 0o600, secret=True, returns=True)

    def program(name: str, owner: str, spec: dict[str, Any]) -> File:
        return File(str(_folder(layout, name) / "program.json"), as_json(spec), owner, owner, 0o644, returns=True)

    token = parts.proxy_dir(layout) / "token"
    tokens = secret(layout.secrets_dir / "tokens.json", as_json(dict(site.tokens)), "root")
    return {
        "tokens": replace(tokens, returns=False),
        "hub": File(str(layout.hub_dir / "hub.json"), as_json(settings), who.hub, who.hub, 0o644, returns=True),
        **logins.file(config, site, who.hub),
        "hub_secrets": secret(layout.hub_dir / "hub-secrets.json", as_json({**site.tokens, **site.passwords}), who.hub),
        "hub_program": program("hub", who.hub, _hub_program(config, layout)),
        "proxy_token": secret(token, site.tokens["proxy_token"], who.proxy),
        "proxy_program": program("proxy", who.proxy, _proxy_program(layout, token)),
        "launcher": File(
            str(layout.launcher_dir / "launcher.json"), as_json(launcher), "root", "root", 0o644, returns=True
        ),
        **services.files(config, site, returns=True),
        **homes.launcher_files(config, site),
        **(homes.files(config, site, homes_begin) if not config.homes_apart else {}),
        **front.files(config, site, who),
    }


def _folder(layout: Layout, part: str) -> Path:
    return {"hub": layout.hub_dir, "proxy": parts.proxy_dir(layout)}[part]


def _hub_program(config: Config, layout: Layout) -> dict[str, Any]:
    return {
        "argv": [PYTHON, "-m", "hubfleet.hub.preflight"],
        "environment": {
            "HUBFLEET_HUB_SETTINGS": str(layout.hub_dir / "hub.json"),
            "PATH": f"{ENVIRONMENT}/bin:{PATH}",
            "HOME": str(layout.hub_dir),
            "LANG": "C.UTF-8",
            **_outside(config),
        },
        "directory": str(layout.hub_dir),
        "remove": [str(layout.hub_socket)],
        "umask": 0o077,
    }


def _outside(config: Config) -> dict[str, str]:
    """What programs need to know of the site to reach the outside."""
    return {
        **proxies(config),
        **(dict.fromkeys(CERTIFICATE_VARIABLES, CERTIFICATES) if config.network.ca_bundle else {}),
    }


def _proxy_program(layout: Layout, token: Path) -> dict[str, Any]:
    ours = f"{PACKAGES}/hubfleet/hub"
    return {
        "argv": [
            f"{ENVIRONMENT}/proxy/node",
            *("--require", f"{ours}/proxy-keep-alive.cjs"),
            f"{ENVIRONMENT}/proxy/node_modules/configurable-http-proxy/bin/configurable-http-proxy",
            *("--socket", str(parts.entrance(layout))),
            *("--api-socket", str(layout.proxy_socket)),
            *("--error-path", f"{ours}/proxy-errors", "--log-level", "warn", "--no-x-forward"),
            *("--storage-backend", f"{ours}/proxy-routes.cjs"),
        ],
        "environment": {
            "PATH": PATH,
            "LANG": "C.UTF-8",
            "NODE_ENV": "production",
            "HUBFLEET_PROXY_ROUTES": str(layout.proxy_routes),
        },
        "secret_files": {"CONFIGPROXY_AUTH_TOKEN": str(token)},
        "remove": [str(layout.proxy_socket), str(parts.entrance(layout))],
        "umask": 0o007,
    }


def networks(config: Config) -> list[Resource]:
    """Of the hub's machine: for hub and edge, and for users' servers there."""
    users, out = parts.users_network(config.hub), parts.way_out(config.hub)
    return [
        Network(out, bridge=parts.bridge(out)),
        Network(users, bridge=parts.bridge(users), isolated=True),
        Firewall(config.hub, interface=parts.bridge(users), allow=config.network.allow),
    ]


def _containers(
    config: Config, site: Site, who: Accounts, image: Image, files: dict[str, File], form: Form
) -> list[Container]:
    """Launcher, proxy and hub."""
    layout, common = site.layout, confined(image)
    entered = (PYTHON, "-I", "-S", f"{PACKAGES}/hubfleet/engines/local/sandbox.py")
    place = config.homes(layout.homes)
    # What it sees of homes is to be read only, where it sees them at all.
    kept = shown(place) if place is not None and layout.base in place.parents and not config.homes_apart else ()
    more = ("launcher_secrets", "owner_command", "line_certificate", "line_key", "line_keeper")
    sockets = (layout.hub_socket.parent, layout.proxy_socket.parent, layout.launcher_socket.parent, layout.servers_run)
    return [
        Container(
            name=parts.container(layout.hub, "launcher"),
            argv=(PYTHON, "-m", "hubfleet.launcher.daemon", files["launcher"].path),
            environment={"PATH": PATH, "LANG": "C.UTF-8", **(_outside(config) if config.storage.asks else {})},
            **reading(files, "launcher", *(name for name in more if name in files)),
            mounts=(
                *shown(layout.base, mode="rw"),
                *kept,
                (SOCKET, SOCKET, "rw"),
                *shown(Path("/etc/passwd"), Path("/etc/group")),
                ("/", parts.HOST, "ro"),
            ),
            # What it asks there is who owns files: were the hub to ask, it could say root.
            **form.networks("launcher", parts.way_out(config.hub) if config.storage.asks else "none"),
            capabilities=_LAUNCHER_CAPABILITIES,
            **alive(layout.launcher_socket),
            impact="nobody can start a server for a few seconds; running servers go on",
            **common,
        ),
        Container(
            name=parts.container(layout.hub, "proxy"),
            argv=(*entered, files["proxy_program"].path),
            **reading(files, "proxy_token", "proxy_program"),
            user=who.proxy,
            groups=(who.hub,),  # whose way into the directories of servers' sockets is
            mounts=(
                *shown(parts.proxy_dir(layout), layout.hub_socket.parent, layout.servers_run),
                *shown(layout.proxy_socket.parent, parts.entrance(layout).parent, mode="rw"),
            ),
            **form.networks("proxy", "none"),
            **alive(layout.proxy_socket),
            impact="open pages reconnect after a few seconds; running servers go on",
            **common,
        ),
        Container(
            name=parts.container(layout.hub, "hub"),
            argv=(*entered, files["hub_program"].path),
            **reading(files, "hub", "hub_secrets", "hub_program"),
            database=str(layout.database),
            database_copy=str(layout.secrets_dir / f"{layout.database.name}.before"),
            user=who.hub,
            mounts=(*shown(*sockets[1:]), *shown(layout.hub_dir, sockets[0], mode="rw")),
            **form.networks("hub", parts.way_out(config.hub)),
            **alive(layout.hub_socket),
            impact="nobody can log in for a few seconds; running servers go on",
            **common,
        ),
    ]

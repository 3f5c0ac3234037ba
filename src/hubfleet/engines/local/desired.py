"""Everything that engine ``local`` wants on its machine. Pure: configuration and site in, resources out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hubfleet.config import Config
from hubfleet.engines import logins, services
from hubfleet.engines.accounts import Accounts, accounts_of
from hubfleet.engines.base import Site
from hubfleet.engines.disks import disks
from hubfleet.engines.local import sandbox
from hubfleet.engines.settings import hub_places, hub_settings, keeping
from hubfleet.environments import lock_text
from hubfleet.forkserver.client import distributions
from hubfleet.homes import HOMES_MARKER
from hubfleet.resources import Account, Directory, Environment, File, Process, Resource

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def desired_state(config: Config, site: Site) -> tuple[Resource, ...]:
    """All resources, in the order in which they are made."""
    who = accounts_of(config.hub, site.layout.privileged)
    environments = _environments(config, site)
    files = _files(config, site, who, environments)
    processes = _processes(config, site, environments, files)
    accounts = [Account(who.hub, f"hub {config.hub}"), Account(who.proxy, f"proxy of hub {config.hub}")]
    return (
        *(accounts if who.hub else ()),
        *_directories(config, site, who),
        *disks(config, site.layout),
        *environments,
        *files.values(),
        *processes,
    )


def _directories(config: Config, site: Site, who: Accounts) -> list[Resource]:
    layout, root = site.layout, "root" if site.layout.privileged else ""
    # Others may pass through a privileged hub's directories, for its accounts are others; they may list none of them.
    passable = 0o711 if root else 0o700
    wanted = [
        Directory(str(layout.base), root, root, 0o755 if root else 0o700),
        Directory(str(layout.state), root, root, passable),
        Directory(str(layout.state / "generations"), root, root, 0o700),
        Directory(str(layout.environments), root, root, 0o755 if root else 0o700),
        Directory(str(layout.hub_dir), who.hub, who.hub, 0o700),
        Directory(str(layout.launcher_dir), root, root, 0o700),
        Directory(str(layout.secrets_dir), root, root, 0o700),
        Directory(str(layout.supervisor_dir), root, root, 0o700),
        Directory(str(layout.logs), root, root, 0o700),
        Directory(str(layout.logs / "servers"), root, root, 0o700),
        # Possibly below /tmp, where somebody else could have made it first: the owner is checked in any case.
        Directory(str(layout.run), site.account, root, passable),
        Directory(str(layout.hub_socket.parent), who.hub, who.hub, 0o755 if root else 0o700),
        # The group sticks to what is made inside, so that the hub can speak to the proxy's socket.
        Directory(str(layout.proxy_socket.parent), who.proxy, who.hub, 0o2710 if root else 0o700),
        Directory(str(layout.launcher_socket.parent), root, who.hub, 0o710 if root else 0o700),
        Directory(str(layout.servers_run), root, root, passable),
    ]
    homes = config.homes(site.layout.homes)
    if homes is not None:
        wanted.append(Directory(str(homes), root, root, passable))
    return list(wanted)


def _environments(config: Config, site: Site) -> tuple[Environment, Environment]:
    parent = str(site.layout.environments)
    hub = Environment(
        path="",
        label="hub",
        python=site.python,
        lock=lock_text("hub.txt"),
        build_constraints=lock_text("build.txt"),
        copies=((str(site.package), "hubfleet"),),
        copies_digest=site.package_digest,
        node_package=lock_text("proxy/package.json"),
        node_lock=lock_text("proxy/package-lock.json"),
    )
    user = Environment(
        path="",
        label="users",
        python=site.python,
        lock=lock_text("user.txt"),
        constraints=lock_text("user.txt"),
        packages=config.servers.packages,
        requirements_text=site.requirements,
        copies=((str(site.package / "singleuser"), "hubfleet_singleuser"),),
        copies_digest=site.singleuser_digest,
        system_site=True,  # lets `pip install` in a notebook put packages into the user's own home
    )
    return hub.placed(parent), user.placed(parent)


def _files(config: Config, site: Site, who: Accounts, environments: tuple[Environment, Environment]) -> dict[str, File]:
    """The files that hub, proxy and launcher read at start, by short name.

    All are in directories closed to others. What is no secret has an open mode, so that a plan shows its changes.
    """
    layout, root = site.layout, "root" if site.layout.privileged else ""
    homes = config.storage.homes
    launcher = {
        **hub_places(layout),
        "hub_account": who.hub,
        "config": config.dump(),
        "engine": {
            **hub_places(layout),
            "environment": environments[1].path,
            "interpreter": str(site.interpreter),
            "keeper": keeping(config, site.layout, homes.skeleton) if homes else None,
            "hide": _hidden(config, site),
            "ids": [config.storage.owner.ids.first, config.storage.owner.ids.last],
            "distributions": distributions(environments[1].lock),
            "variables": dict(config.servers.environment),
            "hub_account": who.hub,
        },
    }

    def secret(path: Path, content: str, owner: str) -> File:
        return File(str(path), content, owner, owner, 0o600, secret=True)

    files = {
        "tokens": secret(layout.secrets_dir / "tokens.json", _json(dict(site.tokens)), root),
        "proxy_token": secret(layout.secrets_dir / "proxy_token", site.tokens["proxy_token"], root),
        "hub": File(str(layout.hub_dir / "hub.json"), _json(hub_settings(config, layout)), who.hub, who.hub, 0o644),
        **logins.file(config, site, who.hub),
        "hub_secrets": secret(layout.hub_dir / "hub-secrets.json", _json({**site.tokens, **site.passwords}), who.hub),
        "launcher": File(str(layout.launcher_dir / "launcher.json"), _json(launcher), root, root, 0o644),
        **services.files(config, site),
        "hub_sandbox": _sandbox(config, site, "hub", _hub_program(site, environments[0]), who.hub, who.hub),
        "proxy_sandbox": _sandbox(
            config, site, "proxy", _proxy_program(config, site, environments[0]), who.proxy, who.hub
        ),
    }
    kept = config.homes(site.layout.homes)
    if kept is not None:
        files["homes"] = File(str(kept / HOMES_MARKER), f"Homes of hub {config.hub}.\n", root, root)
    if site.supervision == "systemd":
        files["unit"] = File(str(layout.unit_file), _unit(config, site, environments[0]), root, root)
    return files


def _hidden(config: Config, site: Site) -> list[str]:
    """Host directories of which a server sees what is shown to it, and the hub nothing.

    Mounts are among them, of all groups: what only some may have must not be found by the others under its own path.
    """
    fixed = [mount.fixed for mounts in config.all_mounts().values() for mount in mounts]
    fixed += [config.storage.projects.path] if config.storage.projects else []
    homes = config.homes(site.layout.homes)
    return sorted({*sandbox.HIDDEN, str(site.layout.base), *([str(homes)] if homes else []), *fixed})


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=1, sort_keys=True) + "\n"


def _hub_program(site: Site, environment: Environment) -> dict[str, Any]:
    return {
        "argv": [f"{environment.path}/bin/python", "-m", "hubfleet.hub.preflight"],
        "environment": {
            "HUBFLEET_HUB_SETTINGS": str(site.layout.hub_dir / "hub.json"),
            "PATH": f"{environment.path}/bin:{_PATH}",
            "HOME": str(site.layout.hub_dir),
            "LANG": "C.UTF-8",
        },
        "directory": str(site.layout.hub_dir),
        "umask": 0o077,
        "writable": [str(site.layout.hub_dir)],
    }


def _proxy_program(config: Config, site: Site, environment: Environment) -> dict[str, Any]:
    modules = f"{environment.path}/proxy/node_modules/configurable-http-proxy"
    ours = f"{environment.path}/{site_packages(site)}/hubfleet/hub"
    return {
        "argv": [
            f"{environment.path}/proxy/node",
            *("--require", f"{ours}/proxy-keep-alive.cjs"),
            f"{modules}/bin/configurable-http-proxy",
            *("--ip", config.listen.address, "--port", str(config.listen.port)),
            *("--api-socket", str(site.layout.proxy_socket)),
            *("--error-path", f"{ours}/proxy-errors", "--log-level", "warn"),
            *("--storage-backend", f"{ours}/proxy-routes.cjs"),
        ],
        "environment": {
            "PATH": _PATH,
            "LANG": "C.UTF-8",
            "NODE_ENV": "production",
            "HUBFLEET_PROXY_ROUTES": str(site.layout.proxy_routes),
        },
        "secret_files": {"CONFIGPROXY_AUTH_TOKEN": str(site.layout.secrets_dir / "proxy_token")},
        "remove": [str(site.layout.proxy_socket)],
        "umask": 0o007,
        "writable": [],
    }


def site_packages(site: Site) -> str:
    """Where an environment keeps its packages, relative to it."""
    return f"lib/python{site.python_version}/site-packages"


def _sandbox(config: Config, site: Site, name: str, program: dict[str, Any], account: str, group: str) -> File:
    """The specification of a confined process of the hub itself: see ``sandbox.py``."""
    layout = site.layout
    writable = program.pop("writable")
    spec = {**program, "parent_death": 15}
    if layout.privileged:
        shown = [[str(layout.environments), False], [str(site.interpreter), False], [str(layout.run), True]]
        shown += [[path, True] for path in writable]
        spec.update(
            account=account,
            shared_group=group,
            hide=_hidden(config, site),
            hide_processes=True,
            scratch=[["/tmp", "64m"]],
            show=[[path, path, mode] for path, mode in shown],
        )
    root = "root" if layout.privileged else ""
    return File(str(layout.supervisor_dir / f"{name}.sandbox.json"), _json(spec), root, root, 0o644)


def _processes(
    config: Config, site: Site, environments: tuple[Environment, Environment], files: dict[str, File]
) -> list[Resource]:
    layout, hub_environment = site.layout, environments[0]
    python = f"{hub_environment.path}/bin/python"
    sandbox = f"{hub_environment.path}/{site_packages(site)}/hubfleet/engines/local/sandbox.py"
    common: dict[str, Any] = {
        "directory": str(layout.supervisor_dir),
        "supervisor": (python, "-m", "hubfleet.supervisor.daemon", str(layout.supervisor_dir)),
        "unit": layout.unit if site.supervision == "systemd" else "",
        "attached": site.supervision == "attached",
    }

    def confined(name: str) -> tuple[str, ...]:
        return (python, "-I", "-S", sandbox, files[f"{name}_sandbox"].path)

    def digests(*names: str) -> tuple[str, ...]:
        return tuple(files[name].sha256 for name in names)

    return [
        Process(
            name="launcher",
            order=1,
            argv=(python, "-m", "hubfleet.launcher.daemon", files["launcher"].path),
            environment={"PATH": _PATH, "LANG": "C.UTF-8"},
            depends=digests("launcher", *(name for name in ("launcher_secrets", "owner_command") if name in files)),
            log=str(layout.logs / "launcher.log"),
            ready=str(layout.launcher_socket),
            impact="nobody can start a server for a few seconds; running servers go on",
            **common,
        ),
        Process(
            name="proxy",
            order=2,
            argv=confined("proxy"),
            depends=digests("proxy_token", "proxy_sandbox"),
            log=str(layout.logs / "proxy.log"),
            ready=str(layout.proxy_socket),
            impact="open pages reconnect after a few seconds; running servers go on",
            **common,
        ),
        Process(
            name="hub",
            order=3,
            argv=confined("hub"),
            depends=digests("hub", "hub_secrets", "hub_sandbox"),
            log=str(layout.logs / "hub.log"),
            ready=str(layout.hub_socket),
            impact="nobody can log in for a few seconds; running servers go on",
            **common,
        ),
    ]


def _unit(config: Config, site: Site, environment: Environment) -> str:
    paths = " ".join(str(path) for path in (site.layout.state, config.homes(site.layout.homes)) if path)
    # KillMode=process: stopping the unit ends the supervisor, which ends its three; users' servers stay.
    return f"""[Unit]
Description=JupyterHub {config.hub} (hubfleet)
After=network-online.target
Wants=network-online.target
RequiresMountsFor={paths}

[Service]
ExecStart={environment.path}/bin/python -m hubfleet.supervisor.daemon {site.layout.supervisor_dir}
Restart=always
RestartSec=1
KillMode=process
StandardOutput=append:{site.layout.logs}/supervisor.log
StandardError=append:{site.layout.logs}/supervisor.log

[Install]
WantedBy=multi-user.target
"""

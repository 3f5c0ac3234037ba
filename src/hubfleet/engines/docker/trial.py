"""The second hub that a new generation is tried out with: the same parts, with files, sockets and homes of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hubfleet.config import Config
from hubfleet.config.owner import OwnerOptions
from hubfleet.engines.accounts import Accounts
from hubfleet.engines.base import Site
from hubfleet.engines.docker import parts
from hubfleet.engines.docker.images import ENVIRONMENT
from hubfleet.resources import Container, Directory, File, Trial

_FILES = ("hub", "hub_secrets", "hub_program", "proxy_token", "proxy_program", "launcher")


def beside(config: Config, site: Site) -> tuple[Config, Site]:
    """What a second hub would be made from. Its homes are not kept, and its secrets are marks: see `Trial`.

    Mounts that each person has of their own are left out: nobody has made the test user's. Nor has the test user an
    account at the site, or projects. It is on one machine always, with no edge on another, and its servers too: where
    that machine has no users' servers otherwise, nothing of the site needs to be there, and nothing is shown of it.
    """
    apart = config.engine == "swarm" and config.hub_machine not in config.worker_machines
    there = None if apart else config.storage
    shared = there.mounts if there else ()
    own = {
        "homes": None,
        "mounts": tuple(mount for mount in shared if "{username}" not in str(mount) and not mount.for_home),
        "must_be_mounted": there.must_be_mounted if there else (),
        "owner": OwnerOptions(),
        "projects": None,
    }
    storage = config.storage.model_copy(update=own)
    marked = replace(site, layout=site.layout.trial, tokens=_marks(site.tokens), passwords=_marks(site.passwords))
    # Another list of who may log in is no reason for a trial: the test user is let in by the hub itself.
    marked = replace(marked, listed=())
    return config.model_copy(update={"storage": storage, "machines": {}, "engine": "docker"}), marked


def _marks(secrets: Mapping[str, str]) -> dict[str, str]:
    return {name: f"@@{name}@@" for name in secrets}


def trial(
    site: Site,
    second: Site,
    who: Accounts,
    directories: Sequence[Directory],
    files: Mapping[str, File],
    containers: Sequence[Container],
) -> Trial:
    """The trial of these: launcher, proxy and hub of the second one, and all there would be beside them.

    What of that is not needed is left out here.

    There is no edge: the test user comes in by the socket that the edge would use.
    """
    real, layout = site.layout, second.layout
    launcher, proxy, hub = containers
    given = {"socket": str(parts.entrance(layout)), "token": second.tokens["operator_token"]}
    person = File(
        str(parts.edge_dir(layout) / "person.json"), json.dumps(given) + "\n", who.edge, who.edge, 0o600, secret=True
    )
    shown = [parts.entrance(layout).parent, parts.edge_dir(layout)]
    return Trial(
        hub=real.hub,
        serving=parts.container(real.hub, "hub"),
        beside=layout.hub,
        place=str(layout.state),
        note=str(real.state / "trial"),
        database=str(real.database),
        copy=str(layout.database),
        logs=str(layout.logs / "servers"),
        directories=tuple(one for one in directories if layout.state in (Path(one.path), *Path(one.path).parents)),
        files=(*(files[name] for name in (*_FILES, "rules") if name in files), person),
        # nobody waits for the engine's own checks
        containers=tuple(replace(one, health=()) for one in (proxy, launcher, hub)),
        person=Container(
            name=parts.container(layout.hub, "person"),
            image=hub.image,
            argv=(f"{ENVIRONMENT}/bin/python", "-m", "hubfleet.loadtest.trial", person.path),
            user=who.edge,
            mounts=tuple((str(path), str(path), "ro") for path in shown),
            network="none",
            read_only=True,
            tmpfs=(("/tmp", 64 * 1024**2),),
        ),
    )

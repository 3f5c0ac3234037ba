"""What one user gets: servers < groups in file order < user < chosen profile. Maps merge, lists replace."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

from hubfleet.config.belonging import NOWHERE, Belonging, memberships, told_of
from hubfleet.config.document import Place
from hubfleet.config.fields import did_you_mean, valid_user
from hubfleet.config.models import Config, User
from hubfleet.config.owner import Owner
from hubfleet.config.paths import Mount
from hubfleet.config.servers import Profile, ServerOptions
from hubfleet.errors import ConfigError
from hubfleet.units import Bytes, Cores, Duration


@dataclass(frozen=True)
class Effective:
    """The options of one user's server. None: no limit. Mounts have their variables replaced.

    ``owner``: of the user's files; None where the engine hands out ids. ``projects``: mounts that a server does without
    when their directories are missing, all in ``projects_at``, where nothing else is. ``must_be_mounted``: directories
    of the host below which nothing is shown unless they have a file system of their own. ``image``: what the server's
    image is built on; None for everybody's. ``home_limit``: bytes that the
    user's home may hold; ``home_limit_by``: the group that has it so, where others than the file know who is in it.
    ``homes_counted``: some home has a limit, so all are counted.
    """

    memory_limit: Bytes | None
    memory_guarantee: Bytes | None
    cpu_limit: Cores | None
    cpu_guarantee: Cores | None
    processes: int | None
    stop_after_idle: Duration | Literal["never"]
    environment: dict[str, str]
    default_url: str
    fast_start: bool
    mounts: tuple[Mount, ...]
    groups: tuple[str, ...]
    profile: str | None
    owner: Owner | None = None
    projects: tuple[Mount, ...] = ()
    projects_at: str | None = None
    must_be_mounted: tuple[str, ...] = ()
    home_limit: Bytes | None = None
    home_limit_by: str | None = None
    image: str | None = None
    homes_counted: bool = False


@dataclass(frozen=True)
class ExplainRow:
    """One setting as a user gets it. source: "hubfleet.yaml:12 (groups.staff)" or "default"."""

    path: str
    value: str
    source: str


@dataclass(frozen=True)
class _Layer:
    options: ServerOptions
    options_at: Place
    mounts: tuple[Mount, ...] | None
    mounts_at: Place
    label: str
    quota: Bytes | None = None
    quota_at: Place = ()


@dataclass(frozen=True)
class _Found:
    value: Any
    place: Place
    label: str


_OPTIONS = (
    *("memory.limit", "memory.guarantee", "cpu.limit", "cpu.guarantee"),
    *("processes", "stop_after_idle", "default_url", "fast_start", "image"),
)
_MOUNTS, _QUOTA, _VARIABLE = "storage.mounts", "storage.homes.quota", "environment."
_OF_STORAGE = (_MOUNTS, _QUOTA)


def effective(
    config: Config,
    user: str,
    profile: str | None = None,
    owner: Owner | None = None,
    belonging: Belonging = NOWHERE,
) -> Effective:
    """The options of `user`'s server, with the chosen profile if one is named; for ``owner``'s files, if that is known.

    ``belonging``: what provider and hub tell of the user.

    Raises ConfigError for an invalid user name, and for a profile that is unknown or not for this user.
    """
    user = valid_user(user)
    found = _resolve(config, user, profile, belonging)
    options: dict[str, Any] = {path.replace(".", "_"): found[path].value for path in _OPTIONS}
    environment = {path[len(_VARIABLE) :]: item.value for path, item in found.items() if path.startswith(_VARIABLE)}
    home = owner.home if owner else None
    return Effective(
        **options,
        environment=environment,
        mounts=tuple(mount.expand(user, config.hub, home) for mount in found[_MOUNTS].value),
        groups=groups_of(config, user, belonging),
        profile=profile,
        owner=owner,
        must_be_mounted=config.storage.must_be_mounted,
        home_limit=found[_QUOTA].value,
        home_limit_by=_told_group(config, user, found[_QUOTA].place, belonging),
        homes_counted=bool(config.all_quotas()),
    )


def _told_group(config: Config, user: str, place: Place, belonging: Belonging) -> str | None:
    """The group that a setting comes from, if not the file but the provider or the hub has the user in it."""
    if place[:1] != ("groups",):
        return None
    group = str(place[1])
    return None if memberships(config, user, belonging)[group] == "members" else group


def home_limit(config: Config, user: str) -> Bytes | None:
    """The most that the home of `user` may hold; None for no limit. Raises ConfigError for an invalid user name."""
    limit: Bytes | None = _resolve(config, valid_user(user), None, NOWHERE)[_QUOTA].value
    return limit


def groups_of(config: Config, user: str, belonging: Belonging = NOWHERE) -> tuple[str, ...]:
    """The names of the user's groups, in file order."""
    return tuple(memberships(config, user, belonging))


def visible_profiles(config: Config, user: str, belonging: Belonging = NOWHERE) -> list[tuple[str, Profile]]:
    """The profiles that the user may choose, with their keys, in file order."""
    mine = set(groups_of(config, valid_user(user), belonging))
    return [(key, item) for key, item in config.servers.profiles.items() if not item.groups or mine & set(item.groups)]


def explain(
    config: Config,
    user: str,
    profile: str | None = None,
    listed: Collection[str] = (),
    belonging: Belonging | None = None,
) -> list[ExplainRow]:
    """Every option of the user's server, its value and the line that decided it. Raises as `effective`.

    ``listed``: the names of `login.allow.file`. ``belonging``: None where nobody can tell.
    """
    user = valid_user(user)
    rows = []
    if config.login.provider:
        word, path = config.login.entry(user, listed)
        rows.append(ExplainRow("may log in", word, f"{config.where(path) or 'default'} ({path})"))
    rows += _group_rows(config, user, belonging)
    for path, item in _resolve(config, user, profile, belonging or NOWHERE).items():
        if path == "image" and item.value is None:
            continue  # not every engine has images
        setting = path if path in _OF_STORAGE else f"servers.{path}"
        rows.append(ExplainRow(setting, _shown(item.value), _source(config, item.place, item.label)))
    rows.append(ExplainRow("storage.owner", str(config.storage.owner), _source(config, ("storage", "owner"), "")))
    return rows


def _group_rows(config: Config, user: str, belonging: Belonging | None) -> list[ExplainRow]:
    """The groups; where others than the file are listened to, also who says of each that the user is in it."""
    heard, mine = told_of(config), memberships(config, user, belonging or NOWHERE)
    rows = [ExplainRow("groups", ", ".join(mine) or "none", _source(config, ("groups",), ""))]
    if heard and belonging is None:
        what = f"not known, the hub does not answer: what {' and '.join(f'the {who}' for who in heard)} says"
        rows.append(ExplainRow("more groups", what, "default"))
    words = {"members": "yes", "provider": "yes, by the provider", "hub": "yes, by the hub's admins"}
    for name, why in mine.items() if heard else ():
        rows.append(ExplainRow(f"in groups.{name}", words[why], _source(config, ("groups", name, why), "")))
    return rows


def _resolve(config: Config, user: str, profile: str | None, belonging: Belonging) -> dict[str, _Found]:
    """For each option the last layer that sets it; for mounts too; environment variables one by one."""
    found: dict[str, _Found] = {}
    for layer in _layers(config, user, profile, belonging):
        values = {path: attrgetter(path)(layer.options) for path in _OPTIONS}
        values |= {f"{_VARIABLE}{name}": value for name, value in layer.options.environment.items()}
        for path, value in values.items():
            if value is not None or path not in found:
                found[path] = _Found(value, (*layer.options_at, *path.split(".")), layer.label)
        if layer.mounts is not None:
            found[_MOUNTS] = _Found(layer.mounts, layer.mounts_at, layer.label)
        if layer.quota is not None or _QUOTA not in found:
            found[_QUOTA] = _Found(layer.quota, layer.quota_at, layer.label)
    _cap(found, "memory")
    _cap(found, "cpu")
    return found


def _layers(config: Config, user: str, profile: str | None, belonging: Belonging) -> list[_Layer]:
    mounts, homes = ("storage", "mounts"), config.storage.homes
    usual = homes.quota if homes else None
    layers = [
        _Layer(config.servers, ("servers",), config.storage.mounts, mounts, "", usual, ("storage", "homes", "quota"))
    ]
    mine = groups_of(config, user, belonging)
    parts: list[tuple[Place, User]] = [(("groups", name), config.groups[name]) for name in mine]
    if user in config.users:
        parts.append((("users", user), config.users[user]))
    for at, part in parts:
        own, quota_at = part.storage, (*at, "storage", "quota")
        layers.append(
            _Layer(part.servers, (*at, "servers"), own.mounts, (*at, *mounts), ".".join(at), own.quota, quota_at)
        )
    if profile is not None:
        at = ("servers", "profiles", profile)
        layers.append(_Layer(_chosen(config, user, profile, belonging), at, None, at, f"profiles.{profile}"))
    return layers


def _chosen(config: Config, user: str, profile: str, belonging: Belonging) -> Profile:
    visible = dict(visible_profiles(config, user, belonging))
    if profile in visible:
        return visible[profile]
    what = f"no profile `{profile}` for {user}{did_you_mean(profile, visible)}"
    raise ConfigError(what, where=config.where("servers.profiles"), remedy=" or ".join(visible) or "no profile")


def _cap(found: dict[str, _Found], resource: str) -> None:
    # A group may lower the limit below the guarantee that everybody has.
    limit, guarantee = found[f"{resource}.limit"], found[f"{resource}.guarantee"]
    if limit.value is not None and guarantee.value is not None and guarantee.value > limit.value:
        found[f"{resource}.guarantee"] = limit


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return "not set" if value is None else str(value)


def _source(config: Config, place: Place, label: str) -> str:
    origin = config._provenance.origin(place)
    if origin is None or config.file is None:
        return "default"
    labels = ", ".join(part for part in (origin.part, label) if part)
    return config._provenance.told(origin) + (f" ({labels})" if labels else "")

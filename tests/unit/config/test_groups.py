"""Who is in a group of the file: by the file, by the provider, by the hub's admins; and by nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubfleet.config import Config, effective, explain, load, visible_profiles
from hubfleet.config.belonging import NOWHERE, Belonging, memberships, told_of
from hubfleet.engines.settings import limits
from hubfleet.errors import ConfigError

GITHUB = "login: {github: {client_id: a}, allow: {everybody: true}}\n"
GROUPS = """\
servers:
  memory: {limit: 1G}
  profiles: {large: {groups: [physics]}}
storage: {mounts: []}
groups:
  physics: {members: [ta1], provider: [Edu/Physics, edu/astro], servers: {memory: {limit: 4G}}}
  lab: {hub: true, servers: {stop_after_idle: never}, storage: {mounts: ["/srv/lab:/srv/lab:ro"]}}
  quiet: {members: [ta2]}
"""


def loaded(folder: Path, text: str) -> Config:
    (folder / "hubfleet.yaml").write_text(f"hub: physics101\n{text}")
    return load(folder / "hubfleet.yaml", environ={})


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return loaded(tmp_path, GITHUB + GROUPS)


def test_groups_from_outside_count_where_the_file_says_so(config: Config) -> None:
    everywhere = Belonging.of(["edu/astro", "lab", "quiet", "physics"], ["quiet", "physics", "lab"])
    assert memberships(config, "ada", everywhere) == {"physics": "provider", "lab": "hub"}
    assert memberships(config, "ada", Belonging.of(["EDU/physics"], [])) == {"physics": "provider"}
    assert memberships(config, "ada", Belonging.of(["edu/physics-1", "edu", "lab"], ["Lab"])) == {}
    assert memberships(config, "ta1", NOWHERE) == {"physics": "members"}
    assert told_of(config) == ("provider", "hub")
    assert memberships(Config.from_dump(config.dump()), "ada", everywhere) == {"physics": "provider", "lab": "hub"}


def test_what_comes_of_a_group(config: Config) -> None:
    astro, lab = Belonging.of(["edu/astro"], []), Belonging.of([], ["lab"])
    assert [str(effective(config, "ada", belonging=found).memory_limit) for found in (NOWHERE, astro)] == ["1G", "4G"]
    assert effective(config, "ada", "large", belonging=astro).groups == ("physics",)
    assert [key for key, _ in visible_profiles(config, "ada", astro)] == ["large"]
    assert visible_profiles(config, "ada", lab) == []
    assert effective(config, "ada", belonging=lab).stop_after_idle == "never"
    assert [str(mount) for mount in effective(config, "ada", belonging=lab).mounts] == ["/srv/lab:/srv/lab:ro"]
    with pytest.raises(ConfigError, match="no profile `large` for ada"):
        effective(config, "ada", "large", belonging=lab)


def test_where_a_group_comes_from_is_explained(config: Config) -> None:
    def said(user: str, belonging: Belonging | None) -> list[tuple[str, str, str]]:
        rows = explain(config, user, None, (), belonging)
        return [(row.path, row.value, row.source) for row in rows if "group" in row.path or "memory.limit" in row.path]

    assert said("ada", Belonging.of(["edu/astro"], ["lab"])) == [
        ("groups", "physics, lab", "hubfleet.yaml:7"),
        ("in groups.physics", "yes, by the provider", "hubfleet.yaml:8"),
        ("in groups.lab", "yes, by the hub's admins", "hubfleet.yaml:9"),
        ("servers.memory.limit", "4G", "hubfleet.yaml:8 (groups.physics)"),
    ]
    assert said("ada", NOWHERE)[0] == ("groups", "none", "hubfleet.yaml:7")
    assert said("ta1", None)[:3] == [
        ("groups", "physics", "hubfleet.yaml:7"),
        ("more groups", "not known, the hub does not answer: what the provider and the hub says", "default"),
        ("in groups.physics", "yes", "hubfleet.yaml:8"),
    ]


def test_the_limit_of_a_home_is_told_where_the_file_alone_does_not_say(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        "storage: {homes: {quota: 10G, disk: 1T}}\nusers: {eve: {storage: {quota: 2G}}}\ngroups:\n"
        "  lab: {hub: true, members: [ada], storage: {quota: 50G}}\n"
        "  staff: {members: [zoe], storage: {quota: 60G}}\n",
    )

    def told(name: str, belonging: Belonging = Belonging.of([], ["lab"])) -> tuple[str, str | None]:
        found = effective(config, name, belonging=belonging)
        return str(found.home_limit), found.home_limit_by

    assert told("bob") == ("50G", "lab")
    assert told("bob", NOWHERE) == ("10G", None)
    assert told("ada") == ("50G", None), "the file says that"
    assert told("eve") == ("2G", None), "a person's own is the last word"
    assert told("zoe") == ("60G", None), "a later group is the last word"
    assert limits(config).groups == {"lab": 50 * 2**30}


OIDC = "login: {oidc: {client_id: a, issuer: 'https://a.example'}, allow: {everybody: true}}\n"
LDAP = "login: {ldap: {url: 'ldaps://a.example', base: 'dc=edu'}, allow: {everybody: true}}\n"
GOOGLE = "login: {google: {client_id: a}, allow: {everybody: true}}\n"
ASKED = GOOGLE.replace("a}", "a, groups: {administrator: a@example.edu}}")
TAPIS = "login: {tapis: {client_id: a, tenant: designsafe}, allow: {everybody: true}}\n"


@pytest.mark.parametrize(
    ("login", "group", "said"),
    [
        ("", "provider: [x]", "groups.g.provider: is for logins at a provider. Try: members: [...], or hub: true"),
        (TAPIS, "provider: [x]", "groups.g.provider: `tapis` tells nothing of groups. Try: members: [...]"),
        (OIDC, "provider: [x]", "groups.g.provider: nobody has said which claim tells of groups. Try: login: {oidc:"),
        (
            GOOGLE,
            "provider: [x@a.example]",
            "groups.g.provider: nobody has said who may ask Google for groups. Try: login",
        ),
        (ASKED, "provider: [x]", "groups.g.provider: `x` is not the address of a group. Try: the whole e-mail address"),
        (LDAP, "provider: [x]", "groups.g.provider: nobody has said where groups are. Try: login: {ldap:"),
        (GITHUB, "provider: [edu]", "groups.g.provider: `edu` is not a team. Try: organization/team"),
        (GITHUB, "provider: ['']", "groups.g.provider: `` is not the name of a group"),
        (GITHUB, "hub: staff", "groups.g.hub: "),
    ],
)
def test_groups_that_nobody_tells_of(login: str, group: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, f"{login}groups:\n  g: {{{group}}}\n")
    assert f"hubfleet.yaml:{3 + bool(login)}: {said}" in str(error.value)


def test_what_others_tell_is_asked_for_only_where_it_counts(tmp_path: Path) -> None:
    assert told_of(loaded(tmp_path, "groups: {staff: {members: [ada]}, off: {hub: false}}\n")) == ()
    assert told_of(loaded(tmp_path, "groups: {lab: {hub: true}}\n")) == ("hub",)

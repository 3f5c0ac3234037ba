"""What a server's first program says of its places, and what the launcher makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from hubfleet.engines.swarm.showing import Bind, Unfit, judge, needed


def found(kind: str, root: str, *has: str) -> dict[str, Any]:
    return {"type": kind, "root": root, "top": root == "/", "has": list(has)}


def judged(source: str, said: Any, below: tuple[str, ...] = (), **more: Any) -> None:
    judge([Bind(source, "/data", True, needed(source, below), **more)], {} if said is None else {"/data": said})


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("/srv/data", found("ext4", "/srv/data")),
        ("/srv/data", found("ext4", "/data")),
        ("/srv/data", found("xfs", "/")),
        ("/srv/data", {**found("btrfs", "/@space"), "top": True}),
        ("/srv/data", found("btrfs", "/@/srv/data")),
        ("/srv/data", found("nfs4", "/")),
        ("/srv/data", found("cifs", "/export/d")),
        ("/srv/data", found("fuse.sshfs", "/")),
        ("/srv/my data", found("ext4", "/my data")),
    ],
)
def test_what_a_path_says_is_shown(source: str, said: dict[str, Any]) -> None:
    judged(source, said)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (found("ext4", "/", "proc", "sys", "dev", "etc"), "/work/ada leads to the machine's own files"),
        ({**found("btrfs", "/@", "proc", "sys", "dev"), "top": True}, "the machine's own files"),
        (found("tmpfs", "/", "docker.sock"), "the machine's own files"),
        (found("proc", "/"), "the machine's own files"),
        (found("ext4", "/etc"), r"/work/ada leads to another directory \(/etc on its disk\)"),
        (found("ext4", "/work/bada"), "leads to another directory"),
        (found("overlay", "/var/lib/docker"), "leads to another directory"),
        (None, "/work/ada is not there to be shown"),
    ],
)
def test_what_a_link_has_led_to_is_not(said: Any, words: str) -> None:
    with pytest.raises(Unfit, match=words) as unfit:
        judged("/work/ada", said)
    assert unfit.value.place == ""
    with pytest.raises(Unfit) as unfit:
        judged("/work/ada", said, optional=True)
    assert unfit.value.place == "/data", "a server does without it"
    judged("/work/ada", said, judged=False)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("/work", found("ext4", "/work")),
        ("/work", found("ext4", "/disk/work")),
        ("/work", found("autofs", "/")),
        ("/work/ada", found("ext4", "/work/ada")),
        ("/work/ada", found("overlay", "/work/ada")),
    ],
)
@pytest.mark.parametrize("optional", [False, True])
def test_where_nothing_is_mounted_nothing_is_shown(source: str, said: dict[str, Any], optional: bool) -> None:
    with pytest.raises(Unfit, match="/work is not mounted there, and files would be on the machine's own") as unfit:
        judged(source, said, ("/other", "/work"), optional=optional)
    assert unfit.value.place == "", "a server does not do without it"
    judged("/work2", found("ext4", "/work2"), ("/work",))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("/work", found("xfs", "/")),
        ("/work/ada", found("xfs", "/ada")),
        ("/work/ada", found("lustre", "/ada")),
        ("/work/ada", found("nfs4", "/")),
        ("/work/ada/work", found("xfs", "/ada/work")),
        ("/work/ada", found("lustre", "/work/ada")),  # a part of a cluster's file system
    ],
)
def test_what_is_mounted_is_shown(source: str, said: dict[str, Any]) -> None:
    judged(source, said, ("/work",))

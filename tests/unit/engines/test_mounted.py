"""Whether a file system is mounted, by the kernel's table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hubfleet.config import Mount, default_config
from hubfleet.config.effective import effective
from hubfleet.engines.mounted import mounted, require_mounted
from hubfleet.launcher.base import StartFailed

TABLE = """\
23 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
31 23 0:44 / /work rw,relatime shared:2 - lustre mds@tcp:/work rw
32 23 0:45 / /home\\040of\\040all rw - nfs4 server:/home rw
33 23 0:46 / /auto rw - autofs /etc/auto.master rw,fd=7
34 23 0:47 / /came rw - autofs /etc/auto.master rw,fd=8
35 34 0:48 / /came rw - nfs4 server:/came rw
"""


@pytest.mark.parametrize("path", ["/", "/work", "/home of all", "/came"])
def test_it_is(path: str) -> None:
    assert mounted(path, TABLE)


@pytest.mark.parametrize("path", ["/work/01234", "/wor", "/none", "/auto", ""])
def test_it_is_not(path: str) -> None:
    assert not mounted(path, TABLE)


def test_only_what_is_shown_has_to_be_there(tmp_path: Path) -> None:
    bare = str(tmp_path)
    wanted = replace(effective(default_config(), "ada"), must_be_mounted=(bare, "/proc"))
    mount = Mount(f"{bare}/ada", "/data", "ro")
    require_mounted(wanted, "")
    require_mounted(replace(wanted, mounts=(Mount(f"{bare}-other/ada", "/data", "ro"),)), "")
    for changed in ({"mounts": (mount,)}, {"projects": (mount,)}):
        with pytest.raises(StartFailed, match="is not mounted on this machine"):
            require_mounted(replace(wanted, **changed), "")
    require_mounted(replace(wanted, mounts=(Mount("/proc/self", "/data", "ro"),)), "")

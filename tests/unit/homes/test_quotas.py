"""Where homes can have limits, by what a machine says of its file systems; the kernel itself is asked in guests."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubfleet.errors import CheckError
from hubfleet.homes.projectquota import FileSystem
from hubfleet.homes.quotas import Quotas, lacking

TABLE = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
31 22 7:0 / /srv/homes rw,nosuid,nodev shared:2 - xfs /dev/loop0 rw,attr2,inode64,prjquota
32 22 254:16 / /data rw shared:3 - xfs /dev/vdb rw,attr2,noquota
33 22 254:17 / /my\\040homes rw shared:3 - xfs /dev/vdc rw,prjquota
34 31 0:44 / /srv/homes/ada/away rw - nfs4 files:/away rw
"""


@pytest.mark.parametrize(
    ("path", "point", "limits"),
    [
        ("/srv/homes", "/srv/homes", True),
        ("/srv/homes/not/yet/there", "/srv/homes", True),
        ("/srv/homes/ada/away/x", "/srv/homes/ada/away", False),
        ("/srv/homesick", "/", False),
        ("/data/homes", "/data", False),
        ("/my homes/ada", "/my homes", True),
    ],
)
def test_what_a_path_is_on(path: str, point: str, limits: bool) -> None:
    found = FileSystem.of(path, TABLE)
    assert (found.point, found.limits) == (point, limits)
    assert (lacking(Path(path), TABLE) == "") is limits


def test_what_is_lacking_is_said_with_what_to_type() -> None:
    assert lacking(Path("/srv/x"), TABLE, "hubfleet.yaml:3: ") == (
        "hubfleet.yaml:3: /srv/x is on ext4, which does not count what a home holds. Try: "
        "storage: {homes: {disk: 500G}}, which makes a file system for homes, or a path on XFS with prjquota"
    )
    assert lacking(Path("/data/homes"), TABLE) == (
        "/data/homes is on an XFS file system (/data, /dev/vdb) that is mounted without project quotas. Try: add the "
        "option prjquota in /etc/fstab and mount it anew, or storage: {homes: {disk: 500G}}"
    )
    assert "rootflags=prjquota" in lacking(Path("/x"), TABLE.replace("ext4", "xfs"))


def test_a_file_system_without_limits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckError, match=r"does not count what a home holds. Try: storage: {homes: {disk: 500G}}"):
        Quotas.at(tmp_path)

"""What a container is told of the machine's directories."""

from __future__ import annotations

import pytest

from hubfleet.agent.containerspec import propagation

TABLE = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
40 22 254:1 / /srv rw - ext4 /dev/vdb rw
41 22 0:9 / /srv-data rw master:3 - nfs server:/data rw
"""


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("/", "rslave"),
        ("/var/lib", "rslave"),
        ("/srv", "rprivate"),
        ("/srv/homes", "rprivate"),
        ("/srv-data/a", "rslave"),
    ],
)
def test_later_mounts_are_seen_where_the_machine_shares_them(source: str, said: str) -> None:
    assert propagation(source, TABLE) == said

"""What the engine is told of a container."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hubfleet.agent.containerspec import further, propagation, specification
from hubfleet.resources import Container

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


def test_a_container_is_made_on_one_network_and_put_on_the_others() -> None:
    apart = Container("hub", "image", ("run",), network="way-out", networks=(("fleet", "10.88.0.2"),), hostname="hub")
    told = specification(apart)
    assert (told["Hostname"], told["NetworkingConfig"]) == ("hub", {"EndpointsConfig": {}})
    assert further(apart) == [("fleet", {"IPAMConfig": {"IPv4Address": "10.88.0.2"}})]
    alone = replace(apart, network="fleet")
    assert further(alone) == []
    told = specification(alone)
    assert told["HostConfig"]["NetworkMode"] == "fleet"
    assert told["NetworkingConfig"]["EndpointsConfig"]["fleet"] == {"IPAMConfig": {"IPv4Address": "10.88.0.2"}}

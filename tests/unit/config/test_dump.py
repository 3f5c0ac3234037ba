"""A dumped configuration is plain JSON and comes back the same, whatever writes it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as some

from hubfleet.config import Config

NAMES = some.text("abcxyz0189-_.", min_size=1, max_size=6).filter(lambda name: name[0].isalnum())
SIZES = some.integers(64 * 1024**2, 1024**4).map(str) | some.sampled_from(["1G", "1.5G", "512M"])
MOUNTS = some.sampled_from([[], ["/srv/{hub}:/x:ro"], ["/srv/a:/a:rw", "/work/{username}:/b:ro"]])


def _some(**parts: Any) -> some.SearchStrategy[dict[str, Any]]:
    return some.fixed_dictionaries({}, optional=parts)


OPTIONS = {
    "memory": _some(limit=SIZES),
    "cpu": _some(limit=some.floats(0.01, 64), guarantee=some.just("0.01")),
    "processes": some.integers(16, 5000),
    "stop_after_idle": some.sampled_from(["never", "10m", "1h30m", 1234.5]),
    "environment": some.dictionaries(some.sampled_from(["A", "b_1", "LANG"]), some.text("aß=\n ", max_size=5)),
    "default_url": some.sampled_from(["/lab", "/tree"]),
}
PART = _some(servers=_some(**OPTIONS), storage=_some(mounts=MOUNTS))
PROFILE = _some(**OPTIONS, title=some.text("ab ", max_size=5), groups=some.lists(NAMES, max_size=2))
CONFIGS = some.fixed_dictionaries(
    {"hub": some.sampled_from(["a", "prod.ds", "x-1"])},
    optional={
        "login": some.sampled_from([{"password": "file"}, {"signup": "approval", "allow": {"users": ["ada"]}}]),
        "servers": _some(**OPTIONS, profiles=some.dictionaries(NAMES, PROFILE, max_size=3)),
        "storage": _some(homes=some.sampled_from(["none", {}, {"path": "/srv/homes"}]), mounts=MOUNTS),
        "groups": some.dictionaries(NAMES, PART, max_size=4),
        "users": some.dictionaries(NAMES, PART, max_size=2),
    },
)


@given(CONFIGS)
@settings(deadline=None)
def test_round_trip(data: dict[str, Any]) -> None:
    config = Config.model_validate(data)
    text = json.dumps(config.dump(), sort_keys=True)
    again = Config.from_dump(json.loads(text))
    assert again == config
    assert list(again.groups) == list(config.groups)
    assert list(again.servers.profiles) == list(config.servers.profiles)
    assert json.dumps(again.dump(), sort_keys=True) == text

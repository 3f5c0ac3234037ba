"""Hubs for the tests of this folder. Making one takes half a minute, so most tests share one."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import APPROVAL, CommandLines, RunningHub


@pytest.fixture(scope="session")
def shared_hub(new_hub: Callable[[str], RunningHub]) -> RunningHub:
    """One running hub with a class password, for tests that leave it as it was; `told` is what its `up` said."""
    hub = new_hub("")
    hub.told = hub.up()
    return hub


@pytest.fixture
def hub(shared_hub: RunningHub, hub_logs: list[Path]) -> RunningHub:
    """The shared hub, running; its logs are shown when the test fails."""
    hub_logs.append(shared_hub.logs)
    shared_hub.await_answer()
    return shared_hub


PROFILES = """
login: {password: file, admins: [admin, boss]}
storage: {homes: {skeleton: skel}}
groups:
  staff:
    members: [tess, tina]
    servers: {stop_after_idle: 20m, environment: {COURSE: staff}}
users:
  ugo: {servers: {default_url: /tree, environment: {COURSE: own}}}
servers:
  named_servers: 2
  stop_after_idle: 30m
  environment: {COURSE: all}
  profiles:
    small: {title: Small, description: For the exercises, memory: {limit: 1G}, cpu: {limit: 1}}
    usual: {title: Usual, description: Enough for most, memory: {limit: 2G}, default: true, environment: {SIZE: usual}}
    long: {title: Long, description: Runs until you stop it, stop_after_idle: never}
    big: {title: Large memory, description: For the project, memory: {limit: 4G}, groups: [staff], default_url: /tree}
"""


@pytest.fixture(scope="session")
def running_profiles_hub(new_hub: Callable[[str], RunningHub]) -> RunningHub:
    hub = new_hub(PROFILES)
    # Servers tell the hub of activity every two seconds instead of every five minutes: tests do not wait that long.
    jupyter = hub.folder / "skel" / ".jupyter"
    jupyter.mkdir(parents=True)
    (jupyter / "jupyter_server_config.json").write_text('{"JupyterHubSingleUser": {"hub_activity_interval": 2}}')
    hub.up()
    return hub


@pytest.fixture
def profiles_hub(running_profiles_hub: RunningHub, hub_logs: list[Path]) -> RunningHub:
    """A running hub with groups, profiles, named servers and idle limits."""
    hub_logs.append(running_profiles_hub.logs)
    running_profiles_hub.await_answer()
    return running_profiles_hub


STRICT = """
servers:
  memory: {{limit: 700M}}
  cpu: {{limit: 2}}
  processes: 200
  profiles:
    usual: {{title: Usual, default: true}}
    tiny: {{title: Too little to start, memory: {{limit: 64M}}, fast_start: false}}
    slow: {{title: Slow, cpu: {{limit: 0.5}}}}
    large: {{title: Large, groups: [staff], memory: {{limit: 900M}}, cpu: {{limit: 3}}}}
storage:
  mounts: ["{mounts}/shared:/srv/shared:ro", "{mounts}/people/{{username}}:/srv/work:rw"]
groups:
  staff:
    members: [tess]
    servers: {{memory: {{limit: 800M}}, processes: 150}}
    storage: {{mounts: ["{mounts}/staff:/srv/staff:rw"]}}
users:
  ulla: {{servers: {{processes: 120}}, storage: {{mounts: []}}}}
  mira: {{storage: {{mounts: ["{mounts}/shared:/home/mira/inner/data:ro"]}}}}
"""


@pytest.fixture(scope="session")
def mounts() -> Iterator[Path]:
    """Directories of this machine that the strict hub shows to its users."""
    folder = Path(f"/var/lib/hubfleet-test-mounts-{secrets.token_hex(3)}")
    (folder / "shared").mkdir(parents=True)
    (folder / "shared" / "notes.txt").write_text("for everybody\n")
    (folder / "staff").mkdir()
    (folder / "staff" / "marks.txt").write_text("for staff\n")
    (folder / "people").mkdir()
    for name in ("isa", "isb", "lima", "limb", "limc"):
        (folder / "people" / name).mkdir(mode=0o777)
        (folder / "people" / name).chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def strict_hub(new_hub: Callable[[str], RunningHub], mounts: Path) -> RunningHub:
    """One running hub with limits, profiles, groups and mounts; `seen` has all command lines while it was made."""
    hub = new_hub(STRICT.format(mounts=mounts))
    with CommandLines() as watch:
        hub.up()
    hub.seen, hub.mounts = watch.seen, mounts
    return hub


@pytest.fixture(scope="session")
def running_approval_hub(new_hub: Callable[[str], RunningHub]) -> RunningHub:
    hub = new_hub(APPROVAL)
    hub.up()
    return hub


@pytest.fixture
def approval_hub(running_approval_hub: RunningHub, hub_logs: list[Path]) -> Iterator[RunningHub]:
    """A hub where admins approve and nothing is kept. A test may change its settings: the next finds it as it was."""
    hub = running_approval_hub
    hub_logs.append(hub.logs)
    hub.await_answer()
    yield hub
    if hub.settings != APPROVAL:
        hub.write(APPROVAL)
        hub.up()

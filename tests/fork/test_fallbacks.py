"""Nobody is worse off for the fork server: a start that cannot be a fork is a plain one, and servers outlive it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from forked import (
    SETTINGS,
    environment,
    give,
    home,
    is_forked,
    launcher_log,
    log,
    own_packages,
    parents,
    probed,
    renew,
    server_pid,
    start,
    the_parent,
    why_not_prepared,
)
from harness import Person, RunningHub, await_that

import needs

pytestmark = needs.root()


@pytest.fixture(scope="module")
def fay(running_fork_hub: RunningHub) -> Person:
    """Somebody with a forked server that is to go on, whatever happens."""
    running_fork_hub.await_answer()
    fay = running_fork_hub.person("fay")
    assert is_forked(start(fay), the_parent(running_fork_hub))
    return fay


@pytest.fixture(scope="module")
def gus(running_fork_hub: RunningHub) -> Person:
    """Somebody whose server is started again and again."""
    running_fork_hub.await_answer()
    gus = running_fork_hub.person("gus")
    start(gus)
    gus.stop()
    return gus


def lives_on(person: Person, pid: int) -> bool:
    """Whether it is the same server, and serves."""
    return server_pid(person) == pid and person.jupyter("GET", "/api/status").status_code == 200


def test_what_acts_at_the_interpreters_start_makes_the_start_a_plain_one(gus: Person) -> None:
    parent = the_parent(gus.hub)
    for name, content in (("usercustomize.py", "import os; os.environ['ACTED'] = 'yes'\n"), ("own.pth", "/srv/own\n")):
        file = own_packages(gus) / name
        give(gus, file, content)
        pid = start(gus)
        assert not is_forked(pid, parent)
        assert f"--- server started plainly: {name} in /home/gus/.local/lib/" in log(gus)
        kernel = gus.kernel()
        assert kernel.run("import os, sys; print(os.environ.get('ACTED'))") == f"{'yes' if 'user' in name else None}\n"
        kernel.close()
        gus.stop()
        file.unlink()
    assert is_forked(start(gus), parent)
    assert "plainly" not in log(gus)
    gus.stop()


def test_a_package_of_ones_own_does_not_replace_what_the_server_runs_on(gus: Person) -> None:
    """As in a plain start: the environment's packages come before the user's own."""
    places = []
    file = own_packages(gus) / "tornado" / "__init__.py"
    give(gus, file, "raise RuntimeError('not this one')\n")
    for profile in ("fast", "plain"):
        assert is_forked(start(gus, profile), the_parent(gus.hub)) == (profile == "fast")
        kernel = gus.kernel()
        places.append(kernel.run("import tornado; print(tornado.__file__)"))
        kernel.close()
        gus.stop()
    assert "/environments/users-" in places[0]
    assert places[0] == places[1]
    file.unlink()


def test_variables_that_are_read_early_make_the_start_a_plain_one(gus: Person) -> None:
    assert not is_forked(start(gus, "tongue"), the_parent(gus.hub))
    assert "--- server started plainly: LANG in its environment" in log(gus)
    kernel = gus.kernel()
    assert kernel.run("import os; print(os.environ['LANG'])") == "C\n"
    kernel.close()
    gus.stop()


def test_a_variable_that_the_parents_modules_have_looked_at_makes_the_start_a_plain_one(gus: Person) -> None:
    """Jupyter Server takes it when it is imported. That all servers have it in common is no reason."""
    assert not is_forked(start(gus, "patient"), the_parent(gus.hub))
    assert "--- server started plainly: KERNEL_LAUNCH_TIMEOUT in its environment" in log(gus)
    gus.stop()


def test_jupyters_own_variables_act_as_in_a_plain_start(gus: Person) -> None:
    """Some act when a server is half-way up, some when a notebook is opened."""
    assert not is_forked(start(gus, "strict"), the_parent(gus.hub))
    assert "plainly: JUPYTER_PREFER_ENV_PATH, NBFORMAT_VALIDATOR in its environment" in log(gus)
    gus.stop()


def test_a_killed_parent_is_replaced_and_nobody_notices(fay: Person, gus: Person) -> None:
    hub, before = fay.hub, launcher_log(fay.hub)
    parent, pid = the_parent(hub), server_pid(fay)
    os.kill(parent, signal.SIGKILL)
    await_that("it has ended", lambda: parent not in parents(hub))
    assert lives_on(fay, pid)
    start(gus)  # plainly, or by the new one
    gus.stop()
    assert the_parent(hub) != parent
    assert "WARNING the fork server has ended; servers are started plainly for now" in launcher_log(hub)[len(before) :]
    assert is_forked(start(gus), the_parent(hub))
    gus.stop()
    assert lives_on(fay, pid)


def test_a_parent_that_hangs_is_replaced(fay: Person, gus: Person) -> None:
    hub, before = fay.hub, launcher_log(fay.hub)
    parent, pid = the_parent(hub), server_pid(fay)
    os.kill(parent, signal.SIGSTOP)
    begun = time.monotonic()
    own = start(gus)
    assert time.monotonic() - begun < 60  # ten seconds of patience, and a plain start
    assert not is_forked(own, parent)
    assert "--- server started plainly: the fork server is away" in log(gus)
    assert "WARNING the fork server does not answer" in launcher_log(hub)[len(before) :]
    gus.stop()
    new = the_parent(hub)
    assert new != parent
    assert is_forked(start(gus), new)
    gus.stop()
    assert lives_on(fay, pid)


def test_a_launcher_that_dies_takes_the_parent_with_it_and_no_server(fay: Person, gus: Person) -> None:
    hub = fay.hub
    parent, pid, launcher = the_parent(hub), server_pid(fay), hub.pid("launcher")
    os.kill(launcher, signal.SIGKILL)
    await_that("the parent has ended", lambda: not Path(f"/proc/{parent}").exists())
    await_that("there is a new launcher", lambda: hub._pid("launcher") not in (None, launcher))
    await_that("it has found the server", lambda: "fay" in [entry["user"] for entry in hub.status()["servers"]])
    assert lives_on(fay, pid)
    assert is_forked(start(gus), the_parent(hub))
    gus.stop()
    # How a server ends that an earlier launcher had forked is not known; that it ended, is.
    os.kill(pid, signal.SIGTERM)
    await_that("its end is noticed", lambda: "fay" not in [entry["user"] for entry in hub.status()["servers"]])
    await_that("the hub knows it too", lambda: not fay.servers(), 60)
    assert start(fay) != pid


def test_a_changed_configuration_of_the_system_gets_a_new_parent(gus: Person) -> None:
    hub, parent = gus.hub, the_parent(gus.hub)
    file = environment(hub) / "etc" / "jupyter" / "jupyter_server_config.json"
    assert not file.exists()
    file.write_text('{"ServerApp": {"max_body_size": 12345678}}')
    start(gus)  # plainly: what was prepared is of yesterday
    assert probed(gus)["application"]["traits"]["max_body_size"] == "12345678"
    gus.stop()
    new = the_parent(hub)
    assert new != parent
    assert is_forked(start(gus), new)
    assert probed(gus)["application"]["traits"]["max_body_size"] == "12345678"
    gus.stop()
    file.unlink()
    start(gus)
    gus.stop()
    assert the_parent(hub) != new


def test_what_would_keep_something_of_nobody_is_not_prepared(gus: Person) -> None:
    """A library that looks up the home when it is imported, in a way that nothing here foresees."""
    hub = gus.hub
    own = next(environment(hub).glob("lib/python*/site-packages/hubfleet_singleuser/__init__.py"))
    before = own.read_text()
    own.write_text(f"{before}\n\nPLACES = [os.path.expanduser('~/somewhere')]\n")
    new = renew(hub, the_parent(hub))
    assert why_not_prepared(hub) == "still of nobody: builtins.list"
    assert is_forked(start(gus), new), "it is only loaded, then"
    gus.stop()
    own.write_text(before)
    renew(hub, new)
    assert not why_not_prepared(hub)


def test_new_packages_get_a_new_parent_and_touch_no_server(fay: Person, gus: Person, tmp_path: Path) -> None:
    """Also one that cannot be imported: it is its user's server that does not load it, and the rest goes on."""
    hub = fay.hub
    parent, pid = the_parent(hub), server_pid(fay)
    hub.write(SETTINGS.replace("servers:\n", f"servers:\n  packages: [broken-thing @ {broken(tmp_path).as_uri()}]\n"))
    hub.up()
    new = the_parent(hub)
    assert new != parent
    assert lives_on(fay, pid)
    assert is_forked(start(gus), new)
    answer = gus.jupyter("GET", "/api/status")
    assert answer.status_code == 200
    assert "this package is broken" in log(gus)
    assert why_not_prepared(hub) == "broken_thing: not from hubfleet's own list of packages"
    gus.stop()
    hub.write(SETTINGS)
    hub.up()
    assert lives_on(fay, pid)
    assert is_forked(start(gus), the_parent(hub))
    gus.stop()
    assert home(fay).is_dir()


def broken(folder: Path) -> Path:
    """A distribution with a server extension for everybody that raises when it is imported."""
    import zipfile

    wheel = folder / "broken_thing-1.0-py3-none-any.whl"
    about = "broken_thing-1.0.dist-info"
    enabled = '{"ServerApp": {"jpserver_extensions": {"broken_thing": true}}}'
    files = {
        "broken_thing/__init__.py": "raise RuntimeError('this package is broken')\n",
        "broken_thing-1.0.data/data/etc/jupyter/jupyter_server_config.d/broken_thing.json": enabled,
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: broken-thing\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(wheel, "w") as file:
        for name, text in files.items():
            file.writestr(name, text)
        file.writestr(f"{about}/RECORD", "".join(f"{name},,\n" for name in [*files, f"{about}/RECORD"]))
    return wheel

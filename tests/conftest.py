"""Groups by folder, no silent skip in CI, and the hub's logs beside a failure."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

pytest.register_assert_rewrite(
    "harness", "cells", "disks", "windows", "machines", "deployed", "fleet", "guests", "guestfleet"
)
pytest_plugins = ["hubs"]

TESTS = Path(__file__).parent
TAIL_LINES = 40

# With CI=true every skip fails the run, except those whose reason begins with one of these.
# Each entry says in a comment why no machine of ours can run it.
ALLOWED_SKIPS: tuple[str, ...] = ()

_hub_logs = pytest.StashKey[list[Path]]()


LONGEST = (
    *("test_clean_root.py", "test_nfs_fleet.py", "test_kills.py", "test_server.py", "test_fleet.py", "test_guard.py"),
    *("test_launch.py", "test_storage.py", "test_openings.py", "test_benchmark.py", "test_rollback.py"),
    *("test_trial.py", "test_registry.py", "test_edge_apart.py", "test_full_disk.py", "test_fleet_mounts.py"),
    *("test_full_images.py", "test_status.py", "test_certificate.py", "test_here.py", "test_bare.py"),
)
TOGETHER = ("fleet", "server", "swarm")
"""Folders whose files share what takes minutes to make: they stay in one process, as each other file's tests do."""


class TogetherScheduling(LoadFileScheduling):
    """Each process takes a whole file at a time, and a whole folder of those, in the order of `LONGEST`."""

    def _split_scope(self, nodeid: str) -> str:
        file = Path(nodeid.partition("::")[0])
        return next((folder for folder in TOGETHER if folder in file.parts), str(file))


@pytest.hookimpl(optionalhook=True)  # there is nothing to share out with WORKERS=0
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> TogetherScheduling | None:
    if config.getoption("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False  # or files would come in the order of how many tests they have
    return TogetherScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test the name of its folder as a marker, and begin with what takes longest, while others go on beside.

    tests/local/... is in group ``local``.
    """
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
    for item in items:
        group = item.path.relative_to(TESTS).parts[0]
        item.add_marker(group)


@pytest.fixture
def hub_logs(request: pytest.FixtureRequest) -> list[Path]:
    """Log files and folders to show when the test fails: ``hub_logs.append(state_dir / "logs")``."""
    logs: list[Path] = []
    request.node.stash[_hub_logs] = logs
    return logs


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the path and the last lines of the test's hub logs into the report of a failure."""
    report = yield
    if report.failed:
        for given in item.stash.get(_hub_logs, []):
            for path in sorted(given.rglob("*")) if given.is_dir() else [given]:
                if path.is_file() and path.stat().st_size:
                    lines = path.read_text(errors="replace").splitlines()[-TAIL_LINES:]
                    report.sections.append((f"end of {path}", "\n".join(lines)))
    return report


def _forbidden_skips(reporter: pytest.TerminalReporter) -> list[str]:
    if os.environ.get("CI", "").lower() not in ("1", "true"):
        return []
    found = []
    for report in reporter.stats.get("skipped", []):
        reason = report.longrepr[2].removeprefix("Skipped: ") if report.longrepr else ""
        if not hasattr(report, "wasxfail") and not reason.startswith(ALLOWED_SKIPS or ("\0",)):
            found.append(f"{report.nodeid}: {reason}")
    return found


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """With CI=true a skip that is not on the list is a failure: CI has what the tests need."""
    reporter: pytest.TerminalReporter | None = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and session.exitstatus == pytest.ExitCode.OK and _forbidden_skips(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the skips that made the run fail."""
    if forbidden := _forbidden_skips(terminalreporter):
        terminalreporter.section("skipped, which CI does not accept", red=True)
        for line in forbidden:
            terminalreporter.line(line)

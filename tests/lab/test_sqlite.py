"""A machine whose Python cannot read databases, as that of some distributions: what needs it says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hubs_there import findings, write_files
from machines import Lab, Machine
from stock import stocked

import command
import needs

pytestmark = needs.machines()

PLACE = "/usr/lib/python3.11/lib-dynload"


@contextmanager
def without_sqlite(machine: Machine) -> Iterator[None]:
    machine.run(f"mv {PLACE}/_sqlite3*.so /root/")
    try:
        yield
    finally:
        machine.run(f"mv /root/_sqlite3*.so {PLACE}/")


def test_deployments_go_on_and_a_rollback_says_what_it_needs(lab: Lab, tmp_path: Path) -> None:
    machine = stocked(lab)

    def up(**settings: object) -> str:
        write_files(tmp_path, machine, **settings)
        done = command.run(tmp_path, "up", "--yes")
        assert done.code == 0, done.err
        return done.out

    up()
    with without_sqlite(machine):
        assert [text for text in findings(tmp_path)["note"] if "its Python has no sqlite3" in text]
        said = up(servers={"memory": {"limit": "1G"}})
        assert "note: this machine's Python has no sqlite3, so the hub's database cannot be read or copied" in said
        assert "the trial begins with an empty database" in said
    up(servers={"memory": {"limit": "2G"}})
    assert not [text for text in findings(tmp_path)["note"] if "sqlite3" in text]
    with without_sqlite(machine):
        done = command.run(tmp_path, "rollback", "--yes")
        assert (done.code, "Traceback" in done.err) == (4, False), done.err
        assert "Python has no sqlite3" in done.err
        assert "Try: install the module sqlite3 of /usr/bin/python3 there" in done.err
    done = command.run(tmp_path, "rollback", "--yes")
    assert done.code == 0, done.err

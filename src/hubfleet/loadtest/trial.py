"""Whether one can work on a hub at all: somebody logs in, starts a server, opens JupyterLab and runs a notebook.

A program, for the machine that the hub is on: ``python -m hubfleet.loadtest.trial <file>``. The file (JSON) has
``socket``, at which people come in, and ``token``, the operator's. It prints a JSON object a line: ``done`` is a step
that was taken, and the last one has ``passed``, or ``failed`` (the step) and ``why``.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

from hubfleet.loadtest.hubapi import HubAPI, StepFailed
from hubfleet.loadtest.people import HubfleetRoster, Login
from hubfleet.loadtest.person import Person, Record
from hubfleet.loadtest.scenario import Scenario, code_cells, one_cell
from hubfleet.loadtest.way import Way
from hubfleet.units import Secret

URL = "http://hub"
"""Any name does: there is only the one socket."""
STEP_LIMIT_S = 120.0
ADMITTED_S = 1800
CELL, ANSWER = "print(6 * 7)", "42"


async def try_out(socket: str, token: Secret) -> Record:
    """Play one person; the record says what failed, if anything did."""
    notebook = one_cell(CELL)
    scenario = Scenario(people=1, idle_s=0, notebook=notebook, step_limit_s=STEP_LIMIT_S)
    try:
        login = await _enter(socket, token)
    except (StepFailed, aiohttp.ClientError, OSError) as error:
        return Record("", failed_step="login", reason=f"no test user could be made: {error}")
    person = Person(URL, login, scenario, time.monotonic, lambda step: _say(done=step), way=Way(door=socket))

    async def look_at_the_output() -> None:
        said = [output.get("text", "") for cell in code_cells(person.notebook) for output in cell["outputs"]]
        if not person.record.failed and "".join(said).strip() != ANSWER:
            person.fail("done", f"the notebook ran {CELL}, and what came back was {''.join(said)[:200]!r}")

    await person.play(look_at_the_output)
    return person.record


async def _enter(socket: str, token: Secret) -> Login:
    limit = aiohttp.ClientTimeout(total=STEP_LIMIT_S)
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket), timeout=limit) as session:
        made = await HubfleetRoster().enter(HubAPI(session, URL, token), 1, ADMITTED_S)
        return made[0]


def _say(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Entry point of the program."""
    given = json.loads(Path(sys.argv[1]).read_text())
    record = asyncio.run(try_out(given["socket"], Secret(given["token"])))
    if record.failed:
        _say(failed=record.failed_step, why=record.reason)
        sys.exit(1)
    _say(passed=True)


if __name__ == "__main__":
    main()

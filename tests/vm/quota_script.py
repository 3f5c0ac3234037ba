"""Runs in the virtual machine of test_quotas.py, once before and once after a reboot; prints what it sees, one JSON
object a line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, "/opt/hubfleet/tests/local")

from harness import PASSWORD, Person, RunningHub, await_that

from hubfleet.homes.projectquota import project_of

MIB = 1024**2
STATE = Path("/var/lib/hubfleet/guest")
HOMES = STATE / "homes"
PATIENCE_S = 600.0  # the guest's processor is emulated: ten times slower than the machine's
KEPT = Path("/root/kept.json")
LIMITS = """\
storage: {homes: {disk: %s, quota: %s}}
groups:
  large: {members: [ben], storage: {quota: 60M}}
  guests: {hub: true, storage: {quota: 70M}}
"""
FILL = """
import os
with open('ballast', 'ab', buffering=0) as file:
    for size in (1 << 20, 1 << 12, 1):
        try:
            while True:
                file.write(b'x' * size)
        except OSError as error:
            last = error.errno
print(last)
"""
TRASH = """
import os
os.makedirs('.local/share/Trash/files')
os.rename('part0.txt', '.local/share/Trash/files/part0.txt')
"""
ESCAPE = """
import fcntl
def attempt(call, *arguments):
    try:
        call(*arguments)
        return 0
    except OSError as error:
        return error.errno
with open('mine.txt', 'w') as file:
    known = fcntl.ioctl(file, 0x801C581F, bytes(28))
    free = known[:12] + bytes(4) + known[16:]
    flags = fcntl.ioctl(file, 0x80086601, bytes(8))
    print(attempt(fcntl.ioctl, file, 0x401C5820, free), attempt(fcntl.ioctl, file, 0x40086602, flags))
"""

LIMITED_BY_ID = """
import asyncio, json, os, sys
os.environ.update(HOME=sys.argv[1], JUPYTERHUB_SERVICE_PREFIX="/user/ada/")
from hubfleet_singleuser.files import FullDiskFileManager
from tornado.web import HTTPError

async def attempt(size):
    body = {"type": "file", "format": "text", "content": "x" * size}
    try:
        await manager.save(body, "work.txt")
    except HTTPError as error:
        return error.status_code, error.log_message
    return 0, ""

manager = FullDiskFileManager(root_dir=sys.argv[1])
said = [asyncio.run(attempt(size)) for size in (100_000, 2_000_000)]
try:
    with open(f"{sys.argv[1]}/ballast", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
except OSError as error:
    print(json.dumps({"said": said, "errno": error.errno, "kept": os.path.getsize(f"{sys.argv[1]}/work.txt")}))
"""
"""A limit of an account, and not of a project, is told by another number."""

started = time.monotonic()


def tell(what: str, **seen: Any) -> None:
    print(json.dumps({"what": what, "seconds": round(time.monotonic() - started), **seen}), flush=True)


def start_server(person: Person) -> None:
    answer = person.api("POST", f"/users/{person.name}/server", json={})
    assert answer.status_code in (201, 202), answer.text
    await_that("the server is ready", lambda: person.servers().get("", {}).get("ready"), PATIENCE_S)


def up(hub: RunningHub, disk: str, quota: str) -> subprocess.CompletedProcess[str]:
    hub.write(LIMITS % (disk, quota))
    done = hub.run("up", "--yes", "--detach", check=False, timeout=900)
    for _ in range(2):  # on a busy machine the hub may not be there in time: `up` goes on when called again
        if done.returncode != 4 or "does not come up" not in done.stderr:
            break
        said, done = done.stdout, hub.run("up", "--yes", "--detach", check=False, timeout=900)
        done.stdout = said + done.stdout
    return done


def save(person: Person, name: str, content: str) -> dict[str, Any]:
    body = {"type": "file", "format": "text", "content": content}
    if name.endswith(".ipynb"):
        cell = {"cell_type": "markdown", "id": "one", "metadata": {}, "source": content}
        notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        body = {"type": "notebook", "format": "json", "content": notebook}  # type: ignore[dict-item]
    answer = person.jupyter("PUT", f"/api/contents/{name}", json=body)
    return {"status": answer.status_code, "message": answer.json().get("message")}


def fill(person: Person, most: int, called: str = "part") -> tuple[int, dict[str, Any]]:
    """Save new files of 4 MiB until one is refused; how many were not, and what was said then."""
    for number in range(most):
        said = save(person, f"{called}{number}.txt", "x" * (4 * MIB))
        if said["status"] != 201:
            return number, said
    return most, {}


def projects() -> dict[str, int]:
    """By home, the number that it is counted by, as the kernel has it."""
    found = {}
    for home in sorted(HOMES.iterdir()):
        if home.is_dir() and not home.name.startswith("."):
            descriptor = os.open(home, os.O_RDONLY)
            found[home.name], inherits = project_of(descriptor)
            os.close(descriptor)
            assert inherits, home
    return found


def used(hub: RunningHub) -> dict[str, tuple[int, int]]:
    return {home["name"]: (home["used"], home["limit"]) for home in hub.status()["homes"]}


def page(person: Person) -> str:
    found = re.search(r'id="files">(.*?)</p>', person.session.get(f"{person.hub.url}/hub/home").text, re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", "", found[1]).split()) if found else ""


def limited_by_id() -> dict[str, Any]:
    """What saving is like where the system limits an account."""
    place, disk = Path("/srv/by-id"), Path("/srv/by-id.disk")
    place.mkdir()
    with disk.open("wb") as file:
        file.truncate(512 * MIB)
    for line in (
        f"mkfs.xfs -q {disk}",
        f"mount -o loop,usrquota {disk} {place}",
        f"chown 4711:4711 {place}",
        f"xfs_quota -x -c 'limit -u bhard=1m 4711' {place}",
    ):
        subprocess.run(line, shell=True, check=True)
    (python,) = STATE.glob("environments/users-*/bin/python")
    identity = ["setpriv", "--reuid", "4711", "--regid", "4711", "--clear-groups"]
    done = subprocess.run([*identity, python, "-c", LIMITED_BY_ID, place], capture_output=True, text=True)
    subprocess.run(["umount", place], check=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def before() -> None:
    tell("limited by id", **limited_by_id())
    # The setup has made the environments of this hub, and homes would be hidden.
    (HOMES / "somebody").mkdir(parents=True)
    hub = RunningHub(STATE.parent, Path("/root"), settings=LIMITS % ("700M", "24M"), name=STATE.name)
    refused = hub.run("up", "--yes", "--detach", check=False, timeout=600)
    tell("homes in the way", code=refused.returncode, said=refused.stderr, mounted=HOMES.is_mount())
    (HOMES / "somebody").rmdir()

    done = up(hub, "700M", "24M")
    assert done.returncode == 0, done.stdout + done.stderr
    options = subprocess.run(["findmnt", "-n", "-o", "FSTYPE,OPTIONS", HOMES], capture_output=True, text=True).stdout
    taken = (STATE / "homes.disk").stat().st_blocks * 512
    tell("disk", text=done.stdout, options=options, size=(STATE / "homes.disk").stat().st_size, taken=taken)
    tell("nothing more to do", changes=hub.changes())

    ada, ben = hub.person("ada"), hub.person("ben")
    start_server(ada)
    start_server(ben)
    tell("projects", projects=projects(), used=used(hub), page=page(ada))
    first = save(ada, "work.ipynb", "the first\n")
    file = HOMES / "ada" / "work.ipynb"
    kept = file.read_bytes()
    count, said = fill(ada, 20)
    tell(
        "ada is full",
        first=first,
        count=count,
        said=said,
        used=used(hub),
        left=(HOMES / "ada" / f"part{count}.txt").exists(),
    )
    said = save(ada, "work.ipynb", "the second\n" * 400_000)
    tell(
        "an old notebook",
        said=said,
        same=file.read_bytes() == kept,
        beside=[one.name for one in file.parent.glob("*work*")],
    )
    count, said = fill(ben, 10)
    tell("ben is not", count=count, said=said)
    kernel = ada.kernel()
    tell("escape", said=kernel.run(ESCAPE).split())

    done = up(hub, "700M", "40M")
    more, _ = fill(ada, 8, "more")
    tell("a larger limit", code=done.returncode, more=more, used=used(hub), server=bool(ada.servers()))
    tell("nearly full", warnings=hub.status()["warnings"], page=page(ada))
    kernel.connect()
    kernel.run(TRASH)
    done = up(hub, "700M", "16M")
    tell("a smaller limit", code=done.returncode, said=save(ada, "new.txt", "x" * MIB), used=used(hub))

    up(hub, "700M", "40M")
    kernel.connect()
    said = kernel.run(FILL).strip()
    tell("to the last byte", said=said, page=page(ada))
    ada.stop()
    start_server(ada)
    kernel = ada.kernel()
    tell(
        "started full", kernel=kernel.run("print(6 * 7)").strip(), said=save(ada, "new.txt", "x" * MIB), room=ada.room()
    )
    gone = ada.jupyter("DELETE", "/api/contents/part2.txt")
    tell("deleted at once", status=gone.status_code, used=used(hub)["ada"])
    tell("trash emptied", room=ada.room({"action": "trash"}), used=used(hub)["ada"])
    tell("saved again", said=save(ada, "work.ipynb", "the second\n"), content="the second" in file.read_text())

    done = up(hub, "900M", "40M")
    size = os.statvfs(HOMES)
    tell("a larger disk", code=done.returncode, size=size.f_blocks * size.f_frsize, server=bool(ada.servers()))
    hub.write(LIMITS % ("600M", "40M"))
    done = hub.run("up", "--yes", "--detach", check=False, timeout=600)
    tell("a smaller disk", code=done.returncode, said=done.stderr)
    up(hub, "900M", "40M")
    KEPT.write_text(json.dumps({"projects": projects(), "port": hub.port}))


def after() -> None:
    kept = json.loads(KEPT.read_text())
    hub = RunningHub(STATE.parent, Path("/root"), name=STATE.name)
    hub.port, hub.url = kept["port"], f"http://127.0.0.1:{kept['port']}"
    hub.write(LIMITS % ("900M", "40M"))
    await_that("the hub comes back by itself", hub.answers, PATIENCE_S)
    tell(
        "after a reboot", mounted=HOMES.is_mount(), before=kept["projects"], projects=projects(), changes=hub.changes()
    )
    ada = Person(hub, "ada", PASSWORD)
    assert ada.log_in().status_code == 302
    start_server(ada)
    count, said = fill(ada, 12, "again")
    tell("still limited", count=count, said=said, used=used(hub)["ada"])
    carl, admin = hub.person("carl"), hub.admin()
    answers = [
        admin.api("POST", "/groups/guests", json={}),
        admin.api("POST", "/groups/guests/users", json={"users": ["carl"]}),
    ]
    start_server(carl)
    tell("a new number", projects=projects())
    tell("a group of the hub", codes=[answer.status_code for answer in answers], used=used(hub)["carl"])
    (HOMES / ".hubfleet-projects").unlink()
    hub.run("down", "--yes", timeout=600)
    done = up(hub, "900M", "48M")
    tell("a lost table", code=done.returncode, projects=projects(), used=used(hub))
    done = hub.run("down", "--delete-data", "--yes-delete", hub.name, check=False, timeout=600)
    tell("removed", code=done.returncode, said=done.stdout + done.stderr, state=STATE.exists(), units=units())


def units() -> list[str]:
    return [path.name for path in Path("/etc/systemd/system").glob("*hubfleet*")]


if __name__ == "__main__":
    try:
        {"before": before, "after": after}[sys.argv[1]]()
    except BaseException as error:
        tell("failed", error=f"{type(error).__name__}: {error}")
        subprocess.run("tail -n 30 /var/lib/hubfleet/guest/logs/*.log; journalctl -n 40 --no-pager", shell=True)
        raise

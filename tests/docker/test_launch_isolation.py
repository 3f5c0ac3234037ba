"""What a user's code in a container can reach: its own home and scratch, and nothing of others or of the machine.

Every probe prints "OPEN" where a door is open. Each is a user's own code, in a kernel of a running server.
"""

from __future__ import annotations

import ast
import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest
from confined import PREAMBLE, fork_bomb
from containers import Guest, House, until

import needs
from hubfleet.engines.docker.door import Door
from hubfleet.engines.docker.launch import DockerLaunch
from hubfleet.launcher.base import Running

pytestmark = [
    needs.root(),
    needs.command("dockerd", package="docker.io"),
    needs.command("mmdebstrap"),
    pytest.mark.timeout(900),  # the first one makes the image
]


async def probe(guest: Guest, code: str) -> list[str]:
    """The lines that the code prints as the guest's."""
    return (await guest.run(PREAMBLE + code)).splitlines()


async def blocked(guest: Guest, code: str) -> None:
    """All that the code attempts has to fail, and something has to be attempted."""
    lines = await probe(guest, code)
    assert lines
    assert [line for line in lines if not line.startswith("blocked: ")] == []


async def test_it_has_no_privilege_and_gets_none(house: House, launch: DockerLaunch) -> None:
    guest = await house.start(launch, "ada")
    status = await guest.run("print(open('/proc/self/status').read())")
    found = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {found[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (found["NoNewPrivs"].strip(), found["Seccomp"].strip()) == ("1", "2")
    assert found["Uid"].split() == [str(guest.uid)] * 4
    assert found["Gid"].split() == [str(guest.uid)] * 4
    assert found["Groups"].strip() in ("", str(guest.uid))


async def test_programs_that_take_privileges_do_not_get_them(house: House, launch: DockerLaunch) -> None:
    guest = await house.start(launch, "ada")
    code = """
attempt(lambda: run("su", "-c", "id"))
attempt(lambda: run("mount", "-t", "tmpfs", "none", "/mnt"))
attempt(lambda: must(libc.unshare(0x10000000)))  # a user namespace
attempt(lambda: must(libc.setuid(0)))
attempt(lambda: must(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)))
attempt(lambda: must(libc.ptrace(16, 1, 0, 0)) if os.stat("/proc/1").st_uid != os.getuid() else must(libc.reboot(0)))
attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt(lambda: os.mknod("/tmp/disk", 0o600 | stat.S_IFBLK, os.makedev(254, 0)))
attempt(lambda: os.setgroups([0]))
"""
    await blocked(guest, code)


async def test_a_program_of_roots_in_its_home_runs_as_the_user(house: House, launch: DockerLaunch) -> None:
    """One that the administrator has put there with the set-user-id bit: the flag on the process must hold."""
    guest = await house.start(launch, "ada")
    program = guest.home / "whoami"
    program.write_bytes(Path("/usr/bin/id").read_bytes())
    os.chown(program, 0, 0)
    program.chmod(0o4755)
    assert (await guest.run("import subprocess; print(subprocess.getoutput('./whoami -u'))")).strip() == str(guest.uid)


async def test_others_are_out_of_sight(house: House, launch: DockerLaunch) -> None:
    guest, other = await asyncio.gather(house.start(launch, "ada"), house.start(launch, "ben"))
    (other.home / "secret").write_text("words")
    layout = house.layout
    secret = layout.secrets_dir
    secret.mkdir()
    (secret / "tokens.json").write_text("words")
    (layout.base / "open-to-all").write_text("words")
    paths = [other.home, other.home / "secret", other.socket, secret / "tokens.json", layout.base / "open-to-all"]
    paths += [layout.homes, layout.launcher_dir, layout.logs, layout.hub_dir, layout.uids]
    paths += [Path(__file__), house.engine.place]
    assert all(Path(path).exists() for path in paths if path != layout.hub_dir)
    await blocked(guest, "".join(f"attempt(lambda: os.stat({str(path)!r}))\n" for path in paths))
    assert await guest.run("import os; print(os.listdir('/home'), os.listdir('/srv'), os.listdir('/root'))") == (
        "PermissionError: [Errno 13] Permission denied: '/root'"
    )
    assert await guest.run("import os; print(os.listdir('/home'))") == "['ada']\n"
    listed = await guest.run(f"import os; print(os.listdir({str(layout.servers_run)!r}))")
    assert listed == f"['{Path(guest.socket).parent.name}']\n"


async def test_processes_of_others_are_out_of_sight(house: House, launch: DockerLaunch) -> None:
    guest, other = await asyncio.gather(house.start(launch, "ada"), house.start(launch, "ben"))
    code = "import glob, os; print({os.stat(path).st_uid for path in glob.glob('/proc/[0-9]*')})"
    assert await guest.run(code) == f"{{{guest.uid}}}\n"
    assert other.uid != guest.uid


async def test_sockets_of_the_hubs_services_are_out_of_reach(house: House, launch: DockerLaunch) -> None:
    """The hub's own is not: it is what a server asks whose a token is."""
    layout, listening = house.layout, []
    for path in (layout.launcher_socket, layout.proxy_socket):
        path.parent.mkdir()
        server = await asyncio.start_unix_server(lambda reader, writer: writer.close(), str(path))
        path.chmod(0o666)
        listening.append(server)
    guest, other = await asyncio.gather(house.start(launch, "ada"), house.start(launch, "ben"))
    paths = [layout.launcher_socket, layout.proxy_socket, other.socket, house.engine.socket]
    paths += [Path("/var/run/docker.sock"), Path("/run/docker.sock"), Path("/run/containerd/containerd.sock")]
    await blocked(guest, "".join(f"attempt(lambda: connect({str(path)!r}))\n" for path in paths))
    assert await probe(guest, f"connect({str(layout.hub_socket)!r}); print('hub')") == ["hub"]
    await blocked(guest, f"attempt(lambda: os.unlink({str(layout.hub_socket)!r}))")
    for server in listening:
        server.close()


async def test_it_writes_to_its_home_and_scratch_only(house: House, launch: DockerLaunch) -> None:
    """Whatever the image has: this one has directories that all can write to."""
    guest = await house.start(launch, "ada")
    code = """
import tempfile
found = set()
for top, folders, files in os.walk("/"):
    if top == "/":
        folders.remove("proc")
    try:
        tempfile.TemporaryFile(dir=top).close()
        found.add(top)
    except OSError:
        pass
print(sorted(found))
"""
    (written,) = await probe(guest, code)
    run = str(Path(guest.socket).parent)
    scratch = ("/dev/shm", "/run/lock", "/tmp", "/var/tmp")
    own = ("/home/ada", f"/run/user/{guest.uid}")
    found = {path for path in ast.literal_eval(written) if not path.startswith(tuple(f"{top}/" for top in own))}
    assert found - {"/dev/mqueue"} == {*scratch, *own, run}  # there, a few messages, which the kernel counts
    writable = guest.shell("findmnt --noheadings --raw --output TARGET,OPTIONS")
    flags = {line.split()[0]: line.split()[1].split(",")[0] for line in writable.splitlines()}
    assert flags["/"] == "ro"
    assert flags["/etc/passwd"] == flags["/etc/group"] == "ro"


async def test_a_fork_bomb_ends_at_the_limit(house: House, launch: DockerLaunch) -> None:
    limit = 150
    guest = await house.start(launch, "ada", processes=limit)
    await blocked(guest, fork_bomb(400, 30))
    assert await launch.poll(guest.record) == Running()
    assert guest.described()["HostConfig"]["PidsLimit"] == limit


async def test_orphans_are_reaped(house: House, launch: DockerLaunch) -> None:
    guest = await house.start(launch, "ada")
    await guest.run("import subprocess; subprocess.run(['sh', '-c', 'sleep 0.1 & exit'])")
    count = "ps -eo stat= | grep -c Z"
    await until(lambda: guest.shell(count).strip() == "0")


async def test_its_token_is_nowhere_to_be_read(house: House, launch: DockerLaunch) -> None:
    """Not by whoever may ask the engine, or lists processes, or reads the disk."""
    guest = await house.start(launch, "ada")
    assert await guest.run("import os; print(os.environ['JUPYTERHUB_API_TOKEN'])") == f"{guest.token}\n"
    assert guest.token not in json.dumps(guest.described())
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not any(guest.token.encode() in line for line in lines)
    state, engine = house.layout.base, house.engine.place / "data" / "containers"
    found = subprocess.run(["grep", "-rl", guest.token, state, engine], capture_output=True, text=True)
    assert found.stdout == ""
    assert guest.token not in guest.shell("cat /proc/1/environ")


async def test_nobody_else_gets_in_at_the_door(house: House) -> None:
    path = house.layout.servers_run / "door.sock"
    door = Door(path, 70_000, {"argv": ["canary"], "environment": {}}, [])
    await door.open()
    reader, writer = await asyncio.open_unix_connection(str(path))
    assert await asyncio.wait_for(reader.read(), 5) == b""
    assert not door.up.done()
    writer.close()
    await door.close()
    assert not path.exists()


async def test_the_door_is_gone_when_the_server_is_up(house: House, launch: DockerLaunch) -> None:
    guest = await house.start(launch, "ada")
    assert os.listdir(Path(guest.socket).parent) == ["server.sock"]

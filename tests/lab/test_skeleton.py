"""What new homes begin with, on a hub whose machine is another one than that of the files."""

from __future__ import annotations

import os
from pathlib import Path

from hubs_there import HubThere
from machines import Lab
from stock import stocked

import needs

pytestmark = needs.machines()

BINARY = bytes(range(256)) * 1000
STORAGE = {"homes": {"skeleton": "skel"}}


def test_new_homes_begin_with_it_and_those_that_are_there_stay(lab: Lab, tmp_path: Path) -> None:
    hub = HubThere(stocked(lab), tmp_path)
    begin = tmp_path / "skel"
    (begin / "data").mkdir(parents=True)
    (begin / "start.ipynb").write_text("first")
    (begin / "data" / "stars.npy").write_bytes(BINARY)
    (begin / "data" / "stars.npy").chmod(0o640)
    (begin / "latest").symlink_to("data/stars.npy")
    hub.write(storage=STORAGE)
    assert "+ create skeleton of new homes" in hub.run("plan").stdout
    hub.up()
    ada = hub.person("ada")
    assert ada.start()[-1].get("ready")
    kernel = ada.kernel()
    look = "import os, hashlib; print(open('start.ipynb').read(), os.readlink('latest'), os.getuid(), "
    look += "hashlib.sha256(open('latest', 'rb').read()).hexdigest(), os.stat('data').st_uid, os.stat('data').st_mode)"
    words = kernel.run(look).split()
    digest = hub.machine.run("sha256sum", hub.homes / "ada" / "data" / "stars.npy").split()[0]
    assert words[:2] == ["first", "data/stars.npy"]
    assert words[3] == digest
    assert words[2] == words[4], "it is theirs"
    assert int(words[5]) == os.stat(begin / "data").st_mode
    owners = hub.machine.run(f"find {hub.homes}/ada/ -printf '%U:%G ' | tr ' ' '\\n' | sort -u").split()
    assert owners == [f"{words[2]}:{words[2]}"]
    kernel.run("open('start.ipynb', 'w').write('mine')")

    (begin / "start.ipynb").write_text("second")
    (begin / "data" / "stars.npy").unlink()
    said = hub.up()
    assert "create skeleton of new homes" in said
    assert kernel.run("print(open('start.ipynb').read(), os.path.exists('data/stars.npy'))").split() == ["mine", "True"]
    kernel.close()
    bob = hub.person("bob")
    assert bob.start()[-1].get("ready")
    names = hub.machine.run("ls", hub.homes / "bob").split()
    assert (names, hub.machine.run("cat", hub.homes / "bob" / "start.ipynb")) == (
        ["data", "latest", "start.ipynb"],
        "second",
    )
    assert "nothing to change" in hub.run("plan").stdout

    hub.run("rollback", "--yes")
    carol = hub.person("carol")
    assert carol.start()[-1].get("ready")
    assert hub.machine.run("cat", hub.homes / "carol" / "start.ipynb") == "first"

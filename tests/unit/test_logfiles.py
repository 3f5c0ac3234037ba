"""Log files stay small, and a program that appends to one notices nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hubfleet.logfiles import rotate, rotate_all, tail

WRITER = """
import os, sys
number = 0
while sys.stdin.readline():
    for _ in range(100):
        os.write(1, b"%08d\\n" % number)
        number += 1
    os.write(2, b".")
"""


def test_a_writer_goes_on_in_the_emptied_file_and_no_line_is_lost_between_pauses(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with open(path, "ab") as output:
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER], stdin=subprocess.PIPE, stdout=output, stderr=subprocess.PIPE
        )
    assert writer.stdin
    assert writer.stderr
    for expected in (False, True, False, True):
        writer.stdin.write(b"\n")
        writer.stdin.flush()
        assert writer.stderr.read(1) == b"."
        assert rotate(path, limit=1000) or not expected
    writer.communicate()
    files = [tmp_path / "a.log.3", tmp_path / "a.log.2", tmp_path / "a.log.1", path]
    text = b"".join(file.read_bytes() for file in files if file.exists())
    assert b"\0" not in text
    assert text.endswith(b"00000399\n")


def test_only_the_newest_are_kept_and_none_is_larger_than_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    for number in range(6):
        path.write_text(f"{number}" * 5000)
        assert rotate(path, limit=1000, keep=3)
    assert path.read_text() == ""
    kept = {entry.name: entry.read_text() for entry in tmp_path.iterdir() if entry != path}
    assert kept == {"a.log.1": "5" * 1000, "a.log.2": "4" * 1000, "a.log.3": "3" * 1000}
    assert (tmp_path / "a.log.1").stat().st_mode & 0o777 == 0o600


def test_small_and_missing_files_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "servers" / "ada.log"
    path.parent.mkdir()
    path.write_text("small")
    assert not rotate(path, limit=5)
    assert not rotate(tmp_path / "none.log")
    rotate_all(tmp_path, limit=4)
    assert path.read_text() == ""
    assert path.with_name("ada.log.1").read_text() == "mall"


NO_ROOM = """
import resource, sys
from pathlib import Path
from hubfleet.logfiles import rotate
resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))  # files past 50 bytes cannot be written, as on a full disk
assert rotate(Path(sys.argv[1]), limit=90)
"""


def test_no_room_for_a_copy_costs_the_old_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("x" * 100)
    subprocess.run([sys.executable, "-c", NO_ROOM, str(path)], check=True)
    assert [(entry.name, entry.stat().st_size) for entry in tmp_path.iterdir()] == [("a.log", 0)]


def test_tail_reads_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("".join(f"{number}\n" for number in range(10_000)))
    assert tail(path, 2) == ["9998", "9999"]
    assert tail(tmp_path / "none.log", 2) == []

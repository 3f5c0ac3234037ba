"""The memory that a parent shares with its forks, in a process of its own each."""

from __future__ import annotations

import subprocess
import sys

HOLES = """
import sys
from hubfleet.forkserver import pages
PAGE = 4096
lasting = [bytes(47) for _ in range(20_000)]  # 80 bytes each
del lasting[::2]
before = {id(one) // PAGE for one in lasting}
if sys.argv[1] == "filled":
    pages.fill_holes()
own = [bytes(47) for _ in range(5_000)]
print(len({id(one) // PAGE for one in own} & before))
"""


def pages_written_to(how: str) -> int:
    """Of those with lasting objects, by one that makes its own."""
    done = subprocess.run([sys.executable, "-c", HOLES, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_what_a_fork_makes_lies_on_pages_of_its_own() -> None:
    assert pages_written_to("as it is") > 100
    assert pages_written_to("filled") < 5

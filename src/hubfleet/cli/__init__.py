"""The command line: the only place that prints or exits. One small file a command."""

from __future__ import annotations

import gc
import sys

from hubfleet.sshcommand import begin_ahead

TYPE_CHECKING = False  # as in `sshcommand`
if TYPE_CHECKING:
    from collections.abc import Callable


def run() -> None:
    """Entry point: begin to connect where the way is known, and only then import what the command needs."""
    begin_ahead(sys.argv[1:])
    program()()


def program() -> Callable[[], None]:
    """All that there is, imported.

    It stays to the end. So nothing of it is garbage, and to look for some, above all when the command has ended and
    somebody waits for the prompt, would be a tenth of a second's work for nothing.
    """
    gc.disable()
    from hubfleet.cli.main import run as go_on

    gc.freeze()
    gc.enable()
    return go_on

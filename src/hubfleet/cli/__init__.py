"""The command line: the only place that prints or exits. One small file a command."""

import sys

from hubfleet.sshcommand import begin_ahead


def run() -> None:
    """Entry point: begin to connect where the way is known, and only then import what the command needs."""
    begin_ahead(sys.argv[1:])
    from hubfleet.cli.main import run as go_on

    go_on()

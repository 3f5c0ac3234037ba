"""`python -m hubfleet` is the command `hubfleet`."""

from hubfleet.cli.main import run

run()

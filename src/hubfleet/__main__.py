"""`python -m hubfleet` is the command `hubfleet`."""

from hubfleet.cli import run

run()

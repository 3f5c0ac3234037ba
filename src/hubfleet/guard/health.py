"""Whether the guard's rules are in force: ``python -m hubfleet.guard.health``, with 1 as exit code if not."""

from __future__ import annotations

import sys

from hubfleet.guard.state import problem

if __name__ == "__main__":
    sys.exit(problem() or 0)

"""Whether a part of the hub answers at its socket: ``python -m hubfleet.alive SOCKET``, with 1 as exit code if not."""

from __future__ import annotations

import sys
from pathlib import Path

from hubfleet.unixhttp import answers

LIMIT_S = 5.0


if __name__ == "__main__":
    sys.exit(not answers(Path(sys.argv[1]), timeout=LIMIT_S))

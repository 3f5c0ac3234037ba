"""Says in plain words whether this Python can make .venv; runs on any Python, even an old one."""

import sys

WANTED = (3, 10)

found = "%d.%d" % sys.version_info[:2]
if sys.version_info < WANTED:
    sys.exit(
        "hubfleet needs Python 3.10 or newer; %s is %s.\n"
        "Try: make venv PYTHON=python3.11   (on Debian and Ubuntu: apt install python3.11 python3.11-venv)"
        % (sys.executable, found)
    )
try:
    import ensurepip  # noqa: F401
    import venv  # noqa: F401
except ImportError:
    sys.exit(
        "Python %s at %s cannot make virtual environments: its module venv or ensurepip is missing.\n"
        "Try: apt install python3-venv python3-pip   (for another Python: python%s-venv), then again"
        % (found, sys.executable, found)
    )

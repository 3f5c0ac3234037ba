"""What runs on a machine: reads the state of resources and changes it. Standard library only, Python 3.9+."""

from __future__ import annotations

from hubfleet.agent.base import Handler, Progress
from hubfleet.agent.converge import apply, observe
from hubfleet.agent.lock import Holder, hold

__all__ = ["Handler", "Holder", "Progress", "apply", "hold", "observe"]

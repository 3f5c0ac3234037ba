"""What runs on a machine: reads the state of resources and changes it. Standard library only, Python 3.9+."""

from hubfleet.agent.base import Progress
from hubfleet.agent.converge import apply, observe
from hubfleet.agent.lock import hold

__all__ = ["Progress", "apply", "hold", "observe"]

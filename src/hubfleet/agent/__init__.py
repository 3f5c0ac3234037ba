"""What runs on a machine: reads the state of resources and changes it. Standard library only, Python 3.9+."""

from hubfleet.agent.base import Progress
from hubfleet.agent.converge import apply, observe
from hubfleet.agent.facts import facts
from hubfleet.agent.lock import Holder, hold
from hubfleet.agent.logs import Said, read_log
from hubfleet.agent.outside import certificate, connect, probe
from hubfleet.agent.registry import manifests
from hubfleet.agent.secrets import secret
from hubfleet.agent.store import Store

__all__ = [
    "Holder",
    "Progress",
    "Said",
    "Store",
    "apply",
    "certificate",
    "connect",
    "facts",
    "hold",
    "manifests",
    "observe",
    "probe",
    "read_log",
    "secret",
]

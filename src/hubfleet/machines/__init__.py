"""Machines: how to reach where things are deployed."""

from hubfleet.machines.base import Machine
from hubfleet.machines.local import LocalMachine
from hubfleet.machines.ssh import SSHMachine

__all__ = ["LocalMachine", "Machine", "SSHMachine"]

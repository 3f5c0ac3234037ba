"""hubfleet deploys JupyterHub on the machines a team already has, and runs it."""

__version__ = "0.1.0"

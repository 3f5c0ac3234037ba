"""What runs inside JupyterHub's process."""

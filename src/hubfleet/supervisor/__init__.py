"""Keeps the processes of a hub running: starts, restarts with back-off, stops."""

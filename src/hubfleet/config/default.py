"""The hub of an empty directory, and the file that `hubfleet init` writes."""

from __future__ import annotations

from hubfleet.config.models import Config

DEFAULT_NAME = "my-hub"


def default_config(hub: str = DEFAULT_NAME) -> Config:
    """A hub on this machine for everybody with the class password. Raises ValidationError for a bad name."""
    return Config(hub=hub)


def starter_text(hub: str = DEFAULT_NAME) -> str:
    """A commented configuration file with the given name; what is not commented out are the defaults."""
    return _STARTER.replace("HUB", hub, 1)


_STARTER = """\
# A JupyterHub on this machine. `hubfleet plan` shows what would change, `hubfleet up` does it.
# Every setting: docs/reference/configuration.md, or `hubfleet schema`. On a server over SSH: docs/how-to/server.md.

hub: HUB

login:
  password: file             # the class password (generated into hubfleet.secrets.yaml) lets people sign up
  # signup: approval         # instead: people sign up, and an admin lets them in
  admins: [admin]
  # allow: {users: [ada, ben]}

# listen: {address: 0.0.0.0, port: 8000}     # without it: 127.0.0.1, this machine only

servers:
  stop_after_idle: 2h
  # memory: {limit: 1G}
  # cpu: {limit: 2}
  # packages: [pymc, seaborn]
  # profiles:
  #   large: {title: "Large memory", memory: {limit: 8G}, groups: [staff]}

# storage:
#   homes: {skeleton: ./skel}                  # what every new home holds; or `homes: none`
#   mounts: ["/srv/published:/srv/published:ro"]

# groups:
#   staff: {members: [ta1, ta2], servers: {memory: {limit: 4G}}}
"""

"""JupyterHub with less work for each start of a server: ``python -m hubfleet.hub.app``.

Everything that JupyterHub notes, checks and tells stays. What is left out is work for hubs of another kind.
"""

from __future__ import annotations

from typing import Any

from jupyterhub.app import JupyterHub
from sqlalchemy.orm import sessionmaker

from hubfleet.hub import database


class Hub(JupyterHub):
    """The application. Its options are JupyterHub's."""

    db: Any
    session_factory: Any

    def init_db(self) -> None:
        """As in JupyterHub, with a session of ours."""
        super().init_db()
        self.db.close()
        self.session_factory = sessionmaker(class_=database.KeptConnection, **self.session_factory.kw)
        self.db = self.session_factory()


if __name__ == "__main__":
    Hub.launch_instance()

"""What users' servers in containers are, whether one machine's engine or a swarm starts them. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping

from hubfleet.config.effective import Effective
from hubfleet.engines.projectlock import limit_told
from hubfleet.launcher.base import Request
from hubfleet.names import short_id
from hubfleet.resources.trial import HUB_LABEL as HUB_LABEL
from hubfleet.resources.trial import SERVER_LABEL as SERVER_LABEL

PROCESSES = 4096
"""How many processes and threads a server may have where nobody has said: enough for all, less than harms a machine."""

FOLDER_BYTES = 65536
"""Of a directory that holds mounts and nothing else."""

LOG_SIZE = "5m"  # of the engine's own copy; the launcher keeps the log

_SCRATCH_SHARE = 0.25  # of the memory of the launcher's machine, for servers without a limit


def name_of(hub: str, server: str) -> str:
    """What a server is called by the engine; nobody else's name, whatever hubs and people are called."""
    return f"hubfleet-{hub}-user-{short_id(server)}"


def room(effective: Effective) -> int:
    """Bytes of each scratch directory. What is in there counts as the server's memory."""
    if effective.memory_limit is not None:
        return int(effective.memory_limit)
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * _SCRATCH_SHARE)


def environment(
    variables: Mapping[str, str], effective: Effective, request: Request, *, name: str, home: str, private: str
) -> dict[str, str]:
    """Of a server. ``private``: a directory of the user's own, in memory. Holds the hub's secrets."""
    return {
        "LANG": "C.UTF-8",
        **variables,
        **effective.environment,
        "HOME": home,
        "USER": name,
        "LOGNAME": name,
        "XDG_RUNTIME_DIR": private,
        "JUPYTER_RUNTIME_DIR": f"{private}/jupyter",
        **request.environment,
        "JUPYTERHUB_DEFAULT_URL": effective.default_url,
        "JUPYTERHUB_ROOT_DIR": home,
        **limit_told(effective),
    }

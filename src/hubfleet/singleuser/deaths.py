"""Has Jupyter Server's API say of a kernel that it has ended by itself, as soon as that is noticed.

The server starts such a kernel again, five times, and who connects to it meanwhile waits for a minute. `reason` is
the API's own field for what went wrong with a kernel.
"""

from __future__ import annotations

import inspect
from typing import Any

REASON = "it ended by itself, and is started again"


def tell_of_deaths(server: Any) -> None:
    """Call before there is a kernel."""
    kernels = server.kernel_manager
    start = kernels.start_kernel

    async def start_kernel(*args: Any, **kwargs: Any) -> Any:
        key = start(*args, **kwargs)
        if inspect.isawaitable(key):
            key = await key
        kernel = kernels.get_kernel(key)
        if not hasattr(kernel, "hubfleet_watched"):  # it may be asked for one that there is
            kernel.hubfleet_watched = True
            kernels.add_restart_callback(key, lambda: setattr(kernel, "reason", REASON), "restart")
        return key

    kernels.start_kernel = start_kernel

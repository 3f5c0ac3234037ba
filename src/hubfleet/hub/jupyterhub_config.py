"""The whole of JupyterHub's configuration: it says what `hub.json` says."""

import gc

from hubfleet.hub.configure import configure
from hubfleet.hub.preflight import keep_copies
from hubfleet.hub.settings import HubSettings

settings = HubSettings.read()
configure(get_config(), settings)  # type: ignore[name-defined]  # noqa: F821
keep_copies(settings.layout.database)
# Nearly all that is loaded by now stays until the end. The garbage collector would walk through it again and again
# while a class starts, with everybody waiting.
gc.collect()
gc.freeze()

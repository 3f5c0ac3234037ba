"""The whole of JupyterHub's configuration: it says what `hub.json` says."""

from hubfleet.hub.configure import configure
from hubfleet.hub.settings import HubSettings

configure(get_config(), HubSettings.read())  # type: ignore[name-defined]  # noqa: F821

"""Configuration: hubfleet.yaml becomes a frozen Config that knows the line of every setting; and secrets."""

from hubfleet.config.changes import changed_settings
from hubfleet.config.default import default_config, starter_text
from hubfleet.config.effective import effective, explain, visible_profiles
from hubfleet.config.fields import valid_hub, valid_user
from hubfleet.config.load import load
from hubfleet.config.models import Config
from hubfleet.config.paths import Mount
from hubfleet.config.secrets import Secrets, generate_password

__all__ = [
    "Config",
    "Mount",
    "Secrets",
    "changed_settings",
    "default_config",
    "effective",
    "explain",
    "generate_password",
    "load",
    "starter_text",
    "valid_hub",
    "valid_user",
    "visible_profiles",
]

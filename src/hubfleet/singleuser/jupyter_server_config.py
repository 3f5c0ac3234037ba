"""What depends on the home of the day; the rest is in the JSON beside."""

from hubfleet_singleuser.full import prepare

prepare(get_config())  # type: ignore[name-defined]  # noqa: F821

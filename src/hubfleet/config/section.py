"""What all parts of the configuration have in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def setting(default: Any, description: str, *examples: Any) -> Any:
    """A field with what the reference says of it. `...` as default: the setting is required."""
    return Field(default, description=description, examples=list(examples))


class Section(BaseModel):
    """A map of settings. Unknown keys are refused, and nothing changes once it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

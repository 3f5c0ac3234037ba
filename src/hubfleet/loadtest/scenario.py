"""What each person of the class does, and the limits of the whole."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hubfleet.errors import ConfigError
from hubfleet.names import MOST_TEST_PEOPLE

DEFAULT_CELL = "import math\nprint(sum(math.sqrt(number) for number in range(100_000)))"

STEPS = ("login", "start", "page", "assets", "kernel", "output", "done", "save", "stop")
"""In the order in which a person takes them. `output` ends with the first output, `done` with the last cell."""


def one_cell(code: str = DEFAULT_CELL) -> dict[str, Any]:
    """A notebook of one cell."""
    cell: dict[str, Any] = {
        "id": "cell-1",
        "cell_type": "code",
        "source": code,
        "metadata": {},
        "outputs": [],
        "execution_count": None,
    }
    return {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def read_notebook(path: Path) -> dict[str, Any]:
    """A notebook file of format 4. Raises ConfigError for anything else, or one without code."""
    try:
        notebook: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})", where=str(path)) from error
    except ValueError as error:
        raise ConfigError("is not a notebook: it is no JSON", where=str(path)) from error
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4 or not isinstance(notebook.get("cells"), list):
        raise ConfigError("is not a notebook of format 4", where=str(path), remedy="open and save it in JupyterLab")
    if not code_cells(notebook):
        raise ConfigError("has no cell with code", where=str(path))
    return notebook


def source(cell: dict[str, Any]) -> str:
    """A cell's text; in a file it may be a list of lines."""
    text = cell.get("source", "")
    return "".join(text) if isinstance(text, list) else str(text)


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells that are run."""
    return [cell for cell in notebook["cells"] if cell.get("cell_type") == "code" and source(cell).strip()]


@dataclass(frozen=True)
class Scenario:
    """A class.

    ``people`` arrive evenly over ``arrive_s`` seconds; 0: all at once. When the last has finished, or given up, all
    stay for ``idle_s``; then everybody's memory is measured, and they stop.
    ``lab``: whether JupyterLab is opened; ``kernel``: whether a kernel is started, the notebook run and saved.
    ``step_limit_s``: after which a step counts as failed. ``limit_s``: after which everything is broken off.
    ``options``: what is chosen on the start page, such as a profile.
    """

    people: int
    arrive_s: float = 0.0
    idle_s: float = 5.0
    notebook: dict[str, Any] = field(default_factory=one_cell)
    lab: bool = True
    kernel: bool = True
    step_limit_s: float = 300.0
    limit_s: float = 1800.0
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.people <= MOST_TEST_PEOPLE:
            raise ConfigError(f"a load test has 1 to {MOST_TEST_PEOPLE} people, not {self.people}")
        if min(self.arrive_s, self.idle_s) < 0 or min(self.step_limit_s, self.limit_s) <= 0:
            raise ConfigError("times are not below zero, and limits are above it")

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps that are played."""
        left_out = {
            *(() if self.lab else ("page", "assets")),
            *(() if self.kernel else ("kernel", "output", "done", "save")),
        }
        return tuple(step for step in STEPS if step not in left_out)

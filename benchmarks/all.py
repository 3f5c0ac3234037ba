"""All benchmarks in a modest size, on the same hubs: tables, and everything as JSON in benchmarks/results/.

Options are those of the single scripts.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import first_cell
import page
import start
from measure import fitting, measured, parser, table

RESULTS = Path(__file__).parent / "results"
MEASUREMENTS = {"start": start.measure, "first_cell": first_cell.measure, "page": page.measure}


def main() -> None:
    """Run them, write the file, print the tables."""
    options = fitting(parser(__doc__, users=20, rounds=3).parse_args())
    documents = measured(options, MEASUREMENTS)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y-%m-%d-%H%M%S')}.json"
    path.write_text(json.dumps(documents, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(documents, indent=1) if options.json else _tables(documents) + f"\n\nEverything: {path}")


def _tables(documents: dict[str, dict[str, object]]) -> str:
    """One table of them all."""
    whole = {**documents["start"]}
    for key in ("rows", "rounds"):
        whole[key] = [line for document in documents.values() for line in document[key]]  # type: ignore[attr-defined]
    return table(whole)


if __name__ == "__main__":
    main()

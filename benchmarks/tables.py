"""Tables in documents, made from what was measured: nobody copies a number by hand.

    python -m benchmarks.tables

A document says where a table belongs by two comments, `<!-- measured: calls -->` and `<!-- end -->`; what stands
between them is replaced by the table of `results/calls.json`. It has a row for each system and a column for each thing
that was measured, for figures are named `<thing>, <system>`. A test fails while a document says something else.
"""

import json
import re
from typing import Any

from benchmarks.measure import RESULTS, ROOT, shown

DOCUMENTS = (ROOT / "README.md", ROOT / "benchmarks" / "README.md")

_PLACE = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    """Bring the documents up to date."""
    for path in DOCUMENTS:
        old = path.read_text(encoding="utf-8")
        new = filled(old)
        if new != old:
            path.write_text(new, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {'written' if new != old else 'up to date'}")


def filled(text: str) -> str:
    """A document with its tables as they should be."""
    return _PLACE.sub(lambda place: place[1] + table(_result(place[2])) + place[3], text)


def table(result: dict[str, Any]) -> str:
    """What was measured, with what was not, and where and when."""
    medians: dict[tuple[str, str], str] = {}
    columns: dict[str, str] = {}
    rows: dict[str, None] = {}
    for figure in result["figures"]:
        column, _, row = figure["name"].rpartition(", ")
        columns[column] = figure["unit"]
        rows[row] = None
        medians[row, column] = shown(figure["median"])
    left_out = [line.partition(": ")[0] for line in result["skipped"]]
    rows.update(dict.fromkeys(name for name in left_out if ", " not in name))  # with it, only one thing was left out
    lines = [
        "| | " + " | ".join(f"{column} ({unit})" for column, unit in columns.items()) + " |",
        "|---|" + "---:|" * len(columns),
        *(f"| {row} | " + " | ".join(medians.get((row, column), "-") for column in columns) + " |" for row in rows),
        "",
        *(f"Not measured: {' '.join(line.split())}\n" for line in result["skipped"]),
        _origin(result),
    ]
    return "\n".join(lines) + "\n"


def _origin(result: dict[str, Any]) -> str:
    machine, day = result["machine"], result["measured_at"].partition("T")[0]
    versions = "; ".join(f"{name} {version}" for name, version in result["versions"].items())
    return (
        f"Medians, measured on {day} at commit {result['commit']} with {machine['cores']} cores "
        f"({machine['processor']}). Versions: {versions}."
    )


def _result(question: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((RESULTS / f"{question}.json").read_text(encoding="utf-8"))
    return result


if __name__ == "__main__":
    main()

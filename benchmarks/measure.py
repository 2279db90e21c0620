"""What all measurements share: repeating, medians, tables, and results as JSON. Standard library only, for the peers
import it in environments without MeshFlow.
"""

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""

RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure: its `values` in `unit`, in the order in which they were measured."""

    name: str
    unit: str
    values: tuple[float, ...]
    target: str = ""
    """What issue or design ask for, `< 60`; empty: nothing."""
    note: str = ""
    """What else is to be known of it, for the JSON."""

    @property
    def subject(self) -> str:
        """What was measured: in comparisons, the name without the system."""
        return self.name.rpartition(", ")[0]

    @property
    def series(self) -> str:
        """Of which system: in comparisons, the end of the name."""
        return self.name.rpartition(", ")[2]

    @property
    def median(self) -> float:
        """The figure."""
        return statistics.median(self.values)


@dataclass(frozen=True, slots=True)
class Report:
    """The answer to one question. `versions` are those of what was measured beside MeshFlow, `skipped` says what was
    not measured, and why."""

    question: str
    figures: tuple[Figure, ...]
    versions: dict[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()


def seconds_of(action: Callable[[], object]) -> float:
    """How long one call takes."""
    started_at = time.perf_counter()
    action()
    return time.perf_counter() - started_at


def repeat(action: Callable[[], object], count: int, warm_up: int = 2) -> tuple[float, ...]:
    """Milliseconds of each of `count` calls, after `warm_up` that are not counted."""
    for _ in range(warm_up):
        action()
    return tuple(1000 * seconds_of(action) for _ in range(count))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least this share of them, above 0, does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def answer(script: str, measure: Callable[[], Report]) -> None:
    """Measure, print the table, and write it to `results/<script>.json`."""
    load = os.getloadavg()
    report = measure()
    show(report)
    path = save(report, script, load)
    print(f"written to {path.relative_to(ROOT)}; load average before: {load[0]:.1f}", flush=True)


def show(report: Report) -> None:
    """Print the report as a table."""
    rows: list[tuple[str, ...]] = [("", "median", "min", "max", "runs", "wanted", "unit")]
    for figure in report.figures:
        numbers = [shown(value) for value in (figure.median, min(figure.values), max(figure.values))]
        rows.append((figure.name, *numbers, str(len(figure.values)), figure.target, figure.unit))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print(f"\n{report.question}")
    for name, *cells in rows:
        print(
            "  ".join(
                [name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))]
            )
        )
    for line in report.skipped:
        print(f"skipped: {line}")


def save(report: Report, script: str, load: Sequence[float]) -> Path:
    """Write the report to `results/<script>.json`, with machine, versions, commit, and the load average from before."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{script}.json"
    figures = [{**asdict(figure), "median": figure.median} for figure in report.figures]
    content = {
        "question": report.question,
        "figures": figures,
        "skipped": report.skipped,
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "load_average": {"before": load, "after": os.getloadavg()},
        "machine": _machine(),
        "versions": {"python": platform.python_version(), **report.versions},
        "commit": _commit(),
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def shown(value: float) -> str:
    """A number as it stands in tables."""
    return f"{value:,.{0 if value >= 1000 else 1 if value >= 10 else 3}f}"


def _machine() -> dict[str, object]:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return {"system": platform.platform(), "processor": _processor(), "cores": cores}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    """The commit that was measured; `-dirty` if the files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"

"""How fast is a Python function called elsewhere: by MeshFlow, and by others on the same machine?

Each system has two processes that run what is called. `peer/calling.py` says what is measured and `peer/*_calls.py` how
each system does it. The rounds are few and the systems take turns, for a machine that is busy for a minute should not
decide which of them is the fastest.
"""

import argparse
from collections import Counter
from collections.abc import Sequence

from benchmarks import systems
from benchmarks.measure import RESULTS, ROOT, Figure, Report, answer
from benchmarks.peer.calling import ARRAY, BYTES, NO_OPS, P50, P99, UNITS
from benchmarks.plot import Bars, draw_bars
from benchmarks.systems import OURS, Peer, in_rounds, measured

PLOT = RESULTS / "calls.svg"

_ROUNDS = 3
_BUDGET_S = 10.0
_START_S = 120.0
"""For a peer to start, beside what its questions take."""
_QUESTION = "How fast is a Python function called elsewhere?"
_TARGETS = {NO_OPS: "> 100,000", P50: "< 0.3", P99: "< 1", BYTES: "> 3,000", ARRAY: "> 3,000"}
"""For MeshFlow, from the design."""


def known_systems() -> tuple[Peer, ...]:
    """All that are measured, ours first."""
    return (
        systems.ourselves(),
        systems.FUTURES,
        systems.JOBLIB,
        systems.RAY,
        systems.PARSL,
        systems.DASK,
        systems.IPYPARALLEL,
        systems.TASKIQ,
        systems.CELERY,
        systems.DRAMATIQ,
        systems.RQ,
    )


def measure(rounds: int = _ROUNDS, budget_s: float = _BUDGET_S, only: Sequence[str] = ()) -> Report:
    """The table, and the plot. `budget_s` is what a question may take, about; `only` are keys of systems; none: all."""
    peers = {peer.name: peer for peer in known_systems() if not only or peer.key in only}
    versions: dict[str, str] = {}
    values: dict[tuple[str, str], list[float]] = {}
    notes: dict[tuple[str, str], str] = {}
    problems: Counter[str] = Counter()

    def add(name: str) -> None:
        module, timeout_s = f"{peers[name].key}_calls", _START_S + 12 * budget_s
        found = measured(peers[name], module, str(budget_s), timeout_s=timeout_s)
        versions[name] = found["version"]
        for question, each in found["values"].items():
            values.setdefault((question, name), []).extend(each)
            notes[question, name] = f"{found['counts'][question]:,} calls in the last round"
        for question, problem in found["problems"].items():
            problems[f"{question}, {name}: {problem}"] += 1
        print(f"{name} measured", flush=True)

    skipped = in_rounds(list(peers), rounds, add)
    figures = [
        Figure(f"{question}, {name}", unit, tuple(values[key]), _target(question, name), notes[key])
        for question, unit in UNITS.items()
        for name in peers
        if (key := (question, name)) in values
    ]
    draw_bars(PLOT, _QUESTION, _panels(figures), marked=OURS)
    print(f"drawn to {PLOT.relative_to(ROOT)}")
    failed = [f"{problem} (in {count} of {rounds} rounds)" for problem, count in problems.items()]
    return Report(_QUESTION, tuple(figures), versions, (*skipped, *failed))


def _panels(figures: Sequence[Figure]) -> list[Bars]:
    """A panel for each question, the best system on top."""
    panels = []
    for question, unit in UNITS.items():
        bars = {figure.series: figure.median for figure in figures if figure.subject == question}
        ordered = sorted(bars.items(), key=lambda bar: bar[1], reverse=unit != "ms")
        if bars:
            panels.append(Bars(f"{question} ({unit}, {'less' if unit == 'ms' else 'more'} is better)", dict(ordered)))
    return panels


def _target(question: str, name: str) -> str:
    return _TARGETS.get(question, "") if name == OURS else ""


def main() -> None:
    """`python -m benchmarks.calls --rounds 1 --seconds 2 --only meshflow ray` is quick."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calls", description=_QUESTION)
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument("--seconds", type=float, default=_BUDGET_S, help="what one question may take, about")
    parser.add_argument("--only", nargs="*", default=(), choices=[peer.key for peer in known_systems()])
    given = parser.parse_args()
    answer("calls", lambda: measure(given.rounds, given.seconds, given.only))


if __name__ == "__main__":
    main()

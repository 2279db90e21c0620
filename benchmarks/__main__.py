"""`python -m benchmarks [question ...]`: measure, print tables, and write them to `benchmarks/results`."""

import argparse
from importlib import import_module

from benchmarks.measure import answer

QUESTIONS = (
    "workflow_simple",
    "workflow_chain",
    "workflow_fan",
    "dag_throughput",
    "takeover",
    "membership",
    "membership_sizes",
    "node_start",
    "peers",
)


def main() -> None:
    """Answer the questions that were named; all of them if none was."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure MeshFlow on this machine.")
    parser.add_argument("question", nargs="*", help=f"one of: {', '.join(QUESTIONS)}; all if none is named")
    asked = parser.parse_args().question
    unknown = [name for name in asked if name not in QUESTIONS]
    if unknown:
        parser.error(f"unknown question {unknown[0]!r}; expected one of: {', '.join(QUESTIONS)}")
    for name in asked or QUESTIONS:
        answer(name, import_module(f"benchmarks.{name}").measure)


if __name__ == "__main__":
    main()

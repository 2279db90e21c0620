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
    "node_start",
    "mesh_growth",
    "budget",
    "peers",
)
LONG_QUESTIONS = ("calls", "membership", "membership_sizes", "scheduling_sizes", "short_tasks")
"""Each takes longer than all others together, so they have to be named."""


def main() -> None:
    """Answer the questions that were named; without any, all but the long ones."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure MeshFlow on this machine.")
    known = (*QUESTIONS, *LONG_QUESTIONS)
    named = f"{', '.join(QUESTIONS)} (all of these if none is named), {', '.join(LONG_QUESTIONS)}"
    parser.add_argument("question", nargs="*", help=f"one of: {named}")
    asked = parser.parse_args().question
    unknown = [name for name in asked if name not in known]
    if unknown:
        parser.error(f"unknown question {unknown[0]!r}; expected one of: {named}")
    for name in asked or QUESTIONS:
        answer(name, import_module(f"benchmarks.{name}").measure)


if __name__ == "__main__":
    main()

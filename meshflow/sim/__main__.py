"""Play scenarios from the command line.

    python -m meshflow.sim --seed 7
    python -m meshflow.sim --seeds 0-999 --trouble rough

One seed gives one story, always the same; a range of seeds gives one line for each that broke an invariant. The exit
code is 1 if any did.
"""

import argparse
import sys
import traceback
from collections.abc import Sequence

from meshflow.sim.faults import TROUBLES
from meshflow.sim.report import tell
from meshflow.sim.scenario import Scenario, Story


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives its exit code. `arguments` None: those of this process."""
    options = _parser().parse_args(arguments)
    if options.seeds is not None:
        return _play_all(options)
    story = Story(_scenario(options, options.seed))
    problem = _play(story)
    print("\n".join(tell(story, is_verbose=options.verbose)))
    print("every invariant holds" if not problem else f"\n{problem}\nagain: {story.scenario.command}")
    return 1 if problem else 0


def _play_all(options: argparse.Namespace) -> int:
    first, last = options.seeds
    bad_count, refused_count, slowest_s = 0, 0, 0.0
    for seed in range(first, last + 1):
        story = Story(_scenario(options, seed))
        problem = _play(story)
        if problem:
            bad_count += 1
            print(f"{problem.splitlines()[-1]}\n    {story.scenario.command}", flush=True)
        refused_count += story.cluster.refused_append_count()
        slowest_s = max(slowest_s, story.final_s)
    print(
        f"{bad_count} of {last - first + 1} seeds broke an invariant; stale owners were refused {refused_count} times;"
        f" all runs ended within {slowest_s:.1f} s after the faults"
    )
    return 1 if bad_count else 0


def _play(story: Story) -> str:
    """What went wrong; empty: nothing."""
    try:
        story.run()
    except Exception:
        # Broken invariants of the core are assertions, and its bugs any error; either is what this command looks for.
        return traceback.format_exc().rstrip()
    return ""


def _scenario(options: argparse.Namespace, seed: int) -> Scenario:
    return Scenario(seed, options.nodes, options.trouble, options.runs, options.tasks, options.retry)


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def _parser() -> argparse.ArgumentParser:
    plain = Scenario(0)
    parser = argparse.ArgumentParser(prog="python -m meshflow.sim", description="Simulate a mesh under faults.")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int, default=1, help="what to draw everything from (default: 1)")
    which.add_argument("--seeds", type=_range, metavar="A-B", help="play all these instead, and tell which went wrong")
    parser.add_argument("--nodes", type=int, default=plain.nodes, help="nodes at the start (default: four or five)")
    parser.add_argument("--trouble", choices=TROUBLES, default=plain.trouble, help="how rough (default: usual)")
    parser.add_argument("--runs", type=int, default=plain.runs, help=f"workflows to submit (default: {plain.runs})")
    parser.add_argument("--tasks", type=int, default=plain.tasks, help=f"most tasks of a dag (default: {plain.tasks})")
    parser.add_argument("--retry", action="store_true", help="retry what did not complete, under more faults")
    parser.add_argument("--verbose", action="store_true", help="show every event and every execution")
    return parser


if __name__ == "__main__":
    sys.exit(main())

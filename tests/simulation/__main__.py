"""Command line of the simulator: `python -m tests.simulation --seeds 200`, or one seed and its story: `--seed 7`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.world import Failed, simulate


def main() -> int:
    """Run the seeds. Returns 0 if every seed held, 1 after the story of the first that did not."""
    arguments = _arguments()
    seeds = (
        [arguments.seed] if arguments.seed is not None else range(arguments.first, arguments.first + arguments.seeds)
    )
    began_s = time.perf_counter()
    transactions = failed = 0
    for seed in seeds:
        try:
            world = simulate(seed)
        except Failed as failure:
            failed += 1
            print(
                failure
                if failed == 1 or not arguments.keep_going
                else f"seed {seed}: {str(failure.violation).splitlines()[0]}"
            )
            if not arguments.keep_going:
                return 1
            continue
        transactions += world.auditor.transactions
        if arguments.seed is not None:
            print(world.story.text())
    took_s = time.perf_counter() - began_s
    print(f"{len(seeds) - failed} of {len(seeds)} seeds held, {transactions} transactions, {took_s:.1f} s")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds (200)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--seed", type=int, help="one seed, and its whole story")
    parser.add_argument("--keep-going", action="store_true", help="run all seeds, also after failures")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

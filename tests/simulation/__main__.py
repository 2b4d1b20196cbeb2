"""``python -m tests.simulation``: many seeds on all cores, one with its story, or one made short."""

from __future__ import annotations

import argparse
import os
import sys
import traceback

from .checks import Variation
from .many import run_many
from .programs import run
from .shrink import FEATURES, shrink


def _one(seed: int, variation: Variation) -> int:
    try:
        report = run(seed, variation)
    except Exception as exc:
        traceback.print_exception(exc)
        print("\n".join(getattr(exc, "story", ())))
        return 1
    print("\n".join(report.story))
    for what, count in sorted(report.seen.items()):
        print(f"{count:6} {what}")
    return 0


def _until_broken(first: int, count: int) -> int:
    """One after the other, until one fails: prints how many that took, and how it failed."""
    for seed in range(first, first + count):
        try:
            run(seed)
        except Exception as exc:
            print(seed - first + 1, f"{type(exc).__name__}: {exc}".replace("\n", " "))
            return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one, and tell its story")
    parser.add_argument("--shrink", type=int, metavar="SEED", help="find this one's shortest run")
    parser.add_argument("--seeds", type=int, default=2_000, help="how many to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--until-broken", action="store_true", help="stop at the first failure")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", help="of one seed's run only these actions: 0.1,2.0")
    parser.add_argument("--without", default="", help=f"leave out some of {','.join(FEATURES)}")
    arguments = parser.parse_args()
    # Sets of texts have an order that follows from this.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    keep = frozenset(arguments.keep.split(",")) if arguments.keep else None
    variation = Variation(keep, frozenset(filter(None, arguments.without.split(","))))
    if arguments.until_broken:
        return _until_broken(arguments.first, arguments.seeds)
    if arguments.shrink is not None:
        shortest, how = shrink(arguments.shrink)
        print(f"{how}\npython -m tests.simulation --seed {arguments.shrink} {shortest.arguments()}")
        return 1
    if arguments.seed is not None:
        return _one(arguments.seed, variation)
    return run_many(arguments.first, arguments.seeds, arguments.workers, variation)


if __name__ == "__main__":
    sys.exit(main())

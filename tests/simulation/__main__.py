"""``python -m tests.simulation``: many seeds, or one with its story."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from .programs import Report, run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one, and tell its story")
    parser.add_argument("--seeds", type=int, default=2_000, help="how many to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        report = run(arguments.seed)
        print("\n".join(report.story))
        print(report.requests, "requests,", report.answered, "answered,", report.failed, "failed")
        return 0
    began, broken = time.perf_counter(), 0
    total = Report(0)
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        try:
            report = run(seed)
        except BaseException as exc:
            if isinstance(exc, KeyboardInterrupt):
                raise
            broken += 1
            print(f"seed {seed}: ", end="")
            traceback.print_exception(exc, limit=-3, file=sys.stdout)
            if broken == 20:
                break
            continue
        for name in ("requests", "answered", "failed", "cancelled", "faults", "seconds"):
            setattr(total, name, getattr(total, name) + getattr(report, name))
    took = time.perf_counter() - began
    print(
        f"{arguments.seeds} seeds in {took:.1f} s ({arguments.seeds / took:.0f} a second), "
        f"{total.seconds / 3600:.1f} hours: {total.requests} requests, {total.answered} answered, "
        f"{total.failed} failed, {total.cancelled} cancelled, {total.faults} faults, {broken} broken"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m tests.fuzz --minutes 10 [target ...]``: fuzz for longer; `make fuzz` calls it.

With atheris installed, ``--atheris`` lets it choose the inputs of one target by what they reach.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.fuzz.inputs import inputs
from tests.fuzz.targets import TARGETS


def run(name: str, until: float) -> int:
    """Fuzz one target until a moment; how many inputs it got."""
    count = 0

    @settings(
        max_examples=200,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.binary(max_size=512) | inputs())
    def one(data: bytes) -> None:
        nonlocal count
        if time.monotonic() < until:
            count += 1
            TARGETS[name](data)

    while time.monotonic() < until:
        one()
    return count


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="for all targets together")
    parser.add_argument("--atheris", action="store_true", help="one target, by atheris")
    parser.add_argument("targets", nargs="*", metavar="target", help=", ".join(TARGETS))
    given_ = parser.parse_args()
    names = given_.targets or list(TARGETS)
    if unknown := [name for name in names if name not in TARGETS]:
        parser.error(f"no such target: {', '.join(unknown)}")
    if given_.atheris:
        import atheris

        atheris.instrument_all()
        atheris.Setup(
            [sys.argv[0], f"-max_total_time={int(given_.minutes * 60)}"], TARGETS[names[0]]
        )
        atheris.Fuzz()
        return 0
    logging.disable()  # what is wrong with each input is no news
    for name in names:
        count = run(name, time.monotonic() + given_.minutes * 60 / len(names))
        print(f"{name}: {count} inputs", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

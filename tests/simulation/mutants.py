"""Mutants: changes to the client that each break an invariant, and how many seeds it takes until the
simulation finds them.  ``python -m tests.simulation.mutants [NAME ...]`` prints the table.

A mutant is a place in the sources and what stands there instead.  It is applied to a copy of them,
which the simulation runs on; a place that is there no more is an error.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).parent.parent.parent
_MOST_SEEDS = 2_000


class Mutant(NamedTuple):
    """A change that breaks something.

    Args:
        name: What it is called.
        invariant: Which invariant it breaks.
        file: Where, under src/wherry.
        old: What stands there, once.
        new: What stands there instead.
    """

    name: str
    invariant: str
    file: str
    old: str
    new: str


MUTANTS = (
    Mutant(
        "sends-twice",
        "executed at most once",
        "client/sending/retry_rules.py",
        "return exc.resend_safe and often",
        "return often",
    ),
    Mutant(
        "late-deadline",
        "every wait ends within its limit",
        "client/timeouts.py",
        "        self._wakes_at = when\n",
        "        when += 0.1\n        self._wakes_at = when\n",
    ),
    Mutant(
        "cut-by-tls",
        "no short data passed off as whole",
        "protocol/http1/connection.py",
        'if self._transport is None or not self._transport.get_extra_info("truncated"):',
        "if True:",
    ),
    Mutant(
        "cut-coding",
        "no short data passed off as whole",
        "body/stream/decoders.py",
        'raise ClientPayloadError(f"the body ended before its content-encoding',
        'return b""\n            raise ClientPayloadError(f"the body ended before its content-encoding',
    ),
    Mutant(
        "bare-error",
        "only documented exceptions",
        "connect/dial.py",
        "            errno = exc.errno if isinstance(exc, OSError) else None\n",
        "            raise\n            errno = exc.errno if isinstance(exc, OSError) else None\n",
    ),
    Mutant(
        "one-too-many",
        "the pool's limits",
        "connect/pool/connection_limits.py",
        "return bool(self.limit) and self.taken >= self.limit",
        "return bool(self.limit) and self.taken > self.limit",
    ),
    Mutant(
        "lost-place",
        "places: none left",
        "connect/pool/pool.py",
        "        waiter.dial = None\n        # Those who waited",
        "        waiter.dial = None\n        self.connection_limits.take(route_pool.route.counted)\n"
        "        # Those who waited",
    ),
    Mutant(
        "left-timer",
        "timers: none left",
        "connect/tls/transport.py",
        "for timer in (self._timer, self._flushing):",
        "for timer in (self._timer,):",
    ),
    Mutant(
        "left-socket",
        "sockets: none left",
        "connect/quic/socket.py",
        "            self.loop.remove_writer(sock.fileno())\n        sock.close()\n",
        "            self.loop.remove_writer(sock.fileno())\n",
    ),
    Mutant(
        "nobody-told",
        "nothing never retrieved",
        "connect/tls/transport.py",
        "            self._waiter.exception()\n",
        "",
    ),
    Mutant(
        "follows-with-fields",
        "secrets only where they belong",
        "client/sending/redirect_rules.py",
        "        dropped |= ORIGIN_FIELDS\n",
        "",
    ),
    Mutant(
        "cookies-in-clear",
        "secrets only where they belong",
        "cookies/index.py",
        "        if not secure:\n            found = [",
        "        if False:\n            found = [",
    ),
    Mutant(
        "any-certificate",
        "executed by its origin alone",
        "protocol/http3/quic_engine.py",
        "verify_mode=_CERT_REQUIRED if trust.verified else _CERT_NONE",
        "verify_mode=_CERT_NONE",
    ),
    Mutant(
        "no-way-there",
        "the states' table never left",
        "protocol/http1/connection.py",
        "self.state = FINISH[ACTIVE]",
        "self._move(FINISH)\n            self._move(FINISH)",
    ),
    Mutant(
        "more-than-the-rate",
        "a rate limit holds",
        "middlewares/ratelimit.py",
        "self._slack = interval * (burst - 1)",
        "self._slack = interval * burst",
    ),
    Mutant(
        "forgets-the-event",
        "no answer twice, none missed",
        "client/events.py",
        "        self._remember(event.id)\n",
        "",
    ),
    Mutant(
        "last-come",
        "first come, first served",
        "connect/pool/pool.py",
        "            waiter = waiters[0]\n",
        "            waiter = waiters[-1]\n",
    ),
    Mutant(
        "reads-on",
        "what comes ahead of a reader is bounded",
        "body/stream/reader.py",
        "        if flow is not None:\n            self._paused = True\n",
        "        if False:\n            self._paused = True\n",
    ),
    Mutant(
        "fetches-again",
        "what is committed is not fetched again",
        "bulk/run.py",
        "                        self._taken.append(self._outcome(result, result.page))\n",
        "                        pass\n",
    ),
)


def apply(mutant: Mutant, sources: Path) -> None:
    """Change a copy of the sources.

    Raises:
        ValueError: The place is not there, or there more than once.
    """
    path = sources / "wherry" / mutant.file
    text = path.read_text()
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: its place is {text.count(mutant.old)} times there")
    path.write_text(text.replace(mutant.old, mutant.new))


def seeds_until_found(mutant: Mutant, most: int = _MOST_SEEDS) -> tuple[int | None, str]:
    """How many seeds it takes, None where so many do not do; and what was said."""
    with tempfile.TemporaryDirectory() as folder:
        sources = Path(folder) / "src"
        shutil.copytree(_ROOT / "src", sources)
        apply(mutant, sources)
        words = [sys.executable, "-m", "tests.simulation", "--until-broken", "--seeds", str(most)]
        paths = os.pathsep.join((str(sources), str(_ROOT)))
        done = subprocess.run(
            words,
            env={**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    found, _, said = done.stdout.partition(" ")
    return (
        (int(found), said.strip()) if done.returncode and found.isdigit() else (None, done.stderr)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="of mutants; all by default")
    parser.add_argument("--seeds", type=int, default=_MOST_SEEDS)
    arguments = parser.parse_args()
    print("| mutant | breaks | seeds | found as |\n| --- | --- | --- | --- |")
    missed = 0
    for mutant in MUTANTS:
        if arguments.names and mutant.name not in arguments.names:
            continue
        seeds, said = seeds_until_found(mutant, arguments.seeds)
        missed += seeds is None
        print(f"| {mutant.name} | {mutant.invariant} | {seeds} | {said[:90]} |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Four times as many bytes of a peer cost at most four times the work, whoever reads them.

What is counted are lines of Python that run, so the figures are the same on a busy machine.  What
regular expressions do is not seen here: tests/protocol/test_grammar.py has that.
"""

from __future__ import annotations

import warnings

import pytest
from tests.fuzz.inputs import WORDS
from tests.fuzz.targets import TARGETS
from tests.steps import steps

SMALL = 100  # bytes, about
# The first byte says how the rest is cut into pieces; behind it, what some readers want first.
BEGINNINGS = {"http1": (b"\x06", b"\x062;", b"\x060\r\nT: "), "multipart": (b"\x06", b'\x06A: "')}
# What nobody would call much: some readers give up on the few bytes, and not on the many.
FEW_STEPS = 30  # a byte


@pytest.mark.parametrize("name", TARGETS)
def test_four_times_as_many_bytes_cost_four_times_the_steps(name: str) -> None:
    read = TARGETS[name]
    for beginning in BEGINNINGS.get(name, (b"\x06",)):
        for word in WORDS:
            times = max(2, SMALL // len(word))
            small, large = (beginning + word * count for count in (times, 4 * times))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(small)  # what is made at first use is there
                few, many = steps(read, small), steps(read, large)
            assert many <= max(5 * few, FEW_STEPS * len(large)), (word, few, many)


def test_the_count_finds_what_is_quadratic() -> None:
    """Or the test above could not fail."""

    def read(data: bytes) -> None:
        for at in range(len(data)):
            for _ in range(at):
                pass

    assert steps(read, b"x" * 800) > max(5 * steps(read, b"x" * 200), FEW_STEPS * 800)

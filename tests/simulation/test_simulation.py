"""Seeds of the simulation, and mutants of the client that it must find."""

from __future__ import annotations

from typing import Any

import pytest

from wherry.client import timeouts
from wherry.client.sending import redirect_loop

from .checks import Broken, Report
from .programs import run

SEEDS = 240
STEP = 20


@pytest.mark.parametrize("first", range(0, SEEDS, STEP))
def test_the_invariants_hold(first: int) -> None:
    total = Report(first)
    for seed in range(first, first + STEP):
        total.add(run(seed))
    assert total.answered > STEP
    assert total.failed > STEP
    assert len(total.seen) > 4 * STEP


@pytest.mark.parametrize("seed", [3, 8, 21])
def test_a_seed_is_a_run(seed: int) -> None:
    assert run(seed).story == run(seed).story


def found(most: int) -> int:
    """How many seeds it takes until an invariant is broken."""
    for seed in range(most):
        try:
            run(seed)
        except Broken:
            return seed + 1
    pytest.fail(f"{most} seeds found nothing")


class TestMutants:
    """For each invariant, a change that breaks it."""

    def test_a_request_that_is_sent_twice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def careless(exc: Any, tries: int, payload: Any) -> bool:
            return tries < 2 and (payload is None or payload.replayable)

        monkeypatch.setattr(redirect_loop, "may_try_again", careless)
        found(200)

    def test_a_deadline_that_comes_late(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = timeouts.DeadlineWheel._set_timer
        monkeypatch.setattr(
            timeouts.DeadlineWheel, "_set_timer", lambda self, when: real(self, when + 0.1)
        )
        found(200)

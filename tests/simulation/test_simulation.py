"""Seeds of the simulation, and mutants of the client that it must find."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from wherry.protocol.http3.quic_engine import QuicEngine

from .checks import Report
from .mutants import MUTANTS, apply, seeds_until_found
from .programs import run

SEEDS = 800
STEP = 80


@pytest.mark.parametrize("first", range(0, SEEDS, STEP))
def test_the_invariants_hold(first: int) -> None:
    total = Report(first)
    for seed in range(first, first + STEP):
        total.add(run(seed))
    assert total.answered > STEP // 2
    assert total.failed > STEP // 2
    assert len(total.seen) > 2 * STEP


# What the simulation found in the client, each by the seed that found it: 20001, an HTTP/3 request
# that had no stream yet when its time for the next byte was over.
@pytest.mark.parametrize("seed", [20001])
def test_what_was_found_stays_mended(seed: int) -> None:
    run(seed)


# 102163 found "reserved stream is missing" in qh3, of a stream that ended while bytes of it were to
# be sent again: the connection ends, and nothing else is wrong.
def test_an_engine_of_quic_that_fails_ends_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    dice, real, failed = random.Random(1), QuicEngine.datagrams, 0

    def fails(self: QuicEngine, now: float) -> list[bytes]:
        nonlocal failed
        if dice.random() < 0.03:
            failed += 1
            raise ValueError("reserved stream is missing")
        return real(self, now)

    monkeypatch.setattr(QuicEngine, "datagrams", fails)
    for seed in range(60, 80):
        run(seed)
    assert failed > 5


@pytest.mark.parametrize("seed", [3, 8, 21])
def test_a_seed_is_a_run(seed: int) -> None:
    assert run(seed).story == run(seed).story


@pytest.mark.parametrize("name", ["nobody-told", "last-come"])
def test_a_mutant_is_found(name: str) -> None:
    mutant = next(each for each in MUTANTS if each.name == name)
    seeds, said = seeds_until_found(mutant, 100)
    assert seeds is not None, said


def test_each_mutant_has_its_place(tmp_path: Path) -> None:
    sources = Path(__file__).parent.parent.parent / "src"
    for mutant in MUTANTS:
        copied = tmp_path / "wherry" / mutant.file
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sources / "wherry" / mutant.file, copied)
        apply(mutant, tmp_path)
        assert mutant.new in copied.read_text()

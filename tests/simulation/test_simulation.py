"""Seeds of the simulation, and mutants of the client that it must find."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .checks import Report
from .mutants import MUTANTS, apply, seeds_until_found
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


# What the simulation found in the client, each by the seed that found it: 20001, an HTTP/3 request
# that had no stream yet when its time for the next byte was over.
@pytest.mark.parametrize("seed", [20001])
def test_what_was_found_stays_mended(seed: int) -> None:
    run(seed)


@pytest.mark.parametrize("seed", [3, 8, 21])
def test_a_seed_is_a_run(seed: int) -> None:
    assert run(seed).story == run(seed).story


@pytest.mark.parametrize("name", ["sends-twice", "cut-by-tls"])
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

"""Every numbered behaviour of the documents has a test that names its number.

`requirements.txt` lists the numbers; the ones without a test yet are marked ``missing`` there, and
may only become fewer.  ``python tests/test_docs_requirements.py`` takes the mark off those that
have been covered since.
"""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
LIST = TESTS / "requirements.txt"
# "S001-20", "S001-20 to 24" and "S001-20 to S001-24".
_NAMED = re.compile(r"\b(S\d{3})-(\d+)(?: to (?:\1-)?(\d+))?")


def numbers_in(text: str) -> set[str]:
    found: set[str] = set()
    for document, first, last in _NAMED.findall(text):
        found |= {f"{document}-{number:02}" for number in range(int(first), int(last or first) + 1)}
    return found


def listed() -> dict[str, bool]:
    """Each number, and whether it is marked as missing."""
    rows = [line.split() for line in LIST.read_text("utf-8").splitlines() if line]
    return {row[0]: row[1:] == ["missing"] for row in rows}


def covered_numbers() -> set[str]:
    """The numbers that test files name."""
    files = [path for path in TESTS.rglob("*.py") if path != Path(__file__)]
    return set().union(*(numbers_in(path.read_text("utf-8")) for path in files))


def test_each_requirement_is_named_by_a_test():
    missing = {
        number for number, is_missing in listed().items() if not is_missing
    } - covered_numbers()
    assert not missing, "no test names these"


def test_what_is_marked_missing_is_missing():
    assert (
        not {number for number, is_missing in listed().items() if is_missing} & covered_numbers()
    ), "tests name these now: run python tests/test_docs_requirements.py"


def test_tests_name_only_numbers_that_exist():
    assert not covered_numbers() - set(listed())


def test_ranges_are_understood():
    assert numbers_in("S001-08 to 10, S002-03 and S003-01 to S003-02") == {
        "S001-08", "S001-09", "S001-10", "S002-03", "S003-01", "S003-02",
    }  # fmt: skip


def shrink() -> None:
    """Take the mark off what is covered; it is never put on."""
    covered = covered_numbers()
    rows = [
        f"{number} missing" if mark and number not in covered else number
        for number, mark in listed().items()
    ]
    LIST.write_text("\n".join(rows) + "\n", "utf-8")


if __name__ == "__main__":
    shrink()

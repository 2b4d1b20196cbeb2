"""Every numbered behaviour of the documents has a test that names its number.

`documented_behaviours.txt` lists them, each with its sentence; the ones without a test yet are marked
``missing`` there, and may only become fewer.  ``python tests/test_docs_requirements.py`` takes the
mark off those that have been covered since.
"""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
LIST = TESTS / "documented_behaviours.txt"
# "S001-20", "S001-20 to 24" and "S001-20 to S001-24".
_NAMED = re.compile(r"\b(S\d{3})-(\d+)(?: to (?:\1-)?(\d+))?")

_ROW = re.compile(r"(?P<number>S\d{3}-\d+) (?P<missing>missing )?(?P<sentence>.+)")


def numbers_in(text: str) -> set[str]:
    found: set[str] = set()
    for document, first, last in _NAMED.findall(text):
        found |= {f"{document}-{number:02}" for number in range(int(first), int(last or first) + 1)}
    return found


def rows() -> dict[str, tuple[bool, str]]:
    """Each number: whether it is marked as missing, and what it says."""
    found = {}
    for line in LIST.read_text("utf-8").splitlines():
        row = _ROW.fullmatch(line)
        if row is not None:
            assert row["number"] not in found, f"{row['number']} stands twice"
            found[row["number"]] = (row["missing"] is not None, row["sentence"])
        else:
            assert not line or line.startswith("#"), f"no behaviour: {line}"
    return found


def listed() -> dict[str, bool]:
    """Each number, and whether it is marked as missing."""
    return {number: is_missing for number, (is_missing, _) in rows().items()}


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


def test_each_number_says_what_happens():
    assert len(rows()) >= 211
    for number, (_, sentence) in rows().items():
        assert len(sentence.split()) >= 2, f"{number} says nothing"


def test_ranges_are_understood():
    assert numbers_in("S001-08 to 10, S002-03 and S003-01 to S003-02") == {
        "S001-08", "S001-09", "S001-10", "S002-03", "S003-01", "S003-02",
    }  # fmt: skip


def shrink() -> None:
    """Take the mark off what is covered; it is never put on."""
    covered = covered_numbers()
    text = LIST.read_text("utf-8")
    for number, is_missing in listed().items():
        if is_missing and number in covered:
            text = text.replace(f"{number} missing ", f"{number} ")
    LIST.write_text(text, "utf-8")


if __name__ == "__main__":
    shrink()

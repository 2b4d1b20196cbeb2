"""The loop in the background ends with these tests: others count threads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from wherry.sync import background


@pytest.fixture(scope="module", autouse=True)
def loop_in_the_background() -> Iterator[None]:
    yield
    background._end()

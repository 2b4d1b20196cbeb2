"""A moment of fuzzing for every target: enough to see that each still stands."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz.inputs import inputs
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_give_a_value_or_a_documented_error(name: str) -> None:
    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=64) | inputs())
    def run(data: bytes) -> None:
        TARGETS[name](data)

    run()

"""What cannot be had on a Python: the tests that need it are skipped there, and nowhere else."""

from __future__ import annotations

import sys

import pytest

# Package: the first Python that it cannot be installed on.  CONTRIBUTING has a table of these with
# the reasons; .ci/run takes a skip for a failure unless it says so.
_FROM = {"aiogram": (3, 15), "chardetng_py": (3, 15)}


def needs(package: str) -> None:
    """Skip the test, or the module that says it at its top, where `package` cannot be installed."""
    if sys.version_info >= _FROM[package]:
        pytest.skip(
            f"{package} cannot be installed on this Python: see CONTRIBUTING",
            allow_module_level=True,
        )

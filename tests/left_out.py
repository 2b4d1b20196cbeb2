"""What cannot be had on a Python: the tests that need it are skipped there, and nowhere else."""

from __future__ import annotations

import sys

import pytest

# Package: the first Python that it cannot be installed on.  CONTRIBUTING has a table of these with
# the reasons; .ci/run takes a skip for a failure unless it says so.
_FROM = {"aiogram": (3, 15), "chardetng_py": (3, 15)}
# Package: the one Python that it is installed on, for it takes too long to do so on each.
_ONLY = {"ray": (3, 13)}


def can_be_had(package: str) -> bool:
    """Whether `package` is installed on this Python."""
    version = sys.version_info[:2]
    return version < _FROM.get(package, (4,)) and version == _ONLY.get(package, version)


def needs(package: str) -> None:
    """Skip the test, or the module that says it at its top, where `package` is not installed."""
    if not can_be_had(package):
        pytest.skip(
            f"{package} is not installed on this Python: see CONTRIBUTING",
            allow_module_level=True,
        )

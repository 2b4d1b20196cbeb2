"""The pytest plugin: fixtures for programs that use wherry.

Its entry point is named like this module, so that a conftest which loads it too does not load it twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from wherry import testing

if TYPE_CHECKING:
    from wherry.testing.mock import Mock
    from wherry.testing.server import LocalServer

__all__ = ("wherry_mock", "wherry_server", "wherry_tls_server")


@pytest.fixture(scope="session")
def wherry_server() -> Iterator[LocalServer]:
    """A `LocalServer` in the clear, started at its first use and once for the run."""
    with testing.LocalServer() as server:
        yield server


@pytest.fixture(scope="session")
def wherry_tls_server() -> Iterator[LocalServer]:
    """A `LocalServer` over TLS; its `client_context` trusts it."""
    with testing.LocalServer(tls=True) as server:
        yield server


@pytest.fixture
def wherry_mock() -> Iterator[Mock]:
    """A `Mock` that answers for every session; a request that found no route fails the test."""
    with testing.Mock() as mock:
        yield mock
    mock.assert_all_matched()

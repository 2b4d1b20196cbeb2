"""The pytest plugin: fixtures for programs that use wherry.

pytest loads it in every run of everyone who has wherry installed, used or not.  So it stands
outside the package, whose import costs more than all of pytest's, and imports nothing of it until
a fixture is used.  Its entry point is named like this module, so that a conftest which loads it
too does not load it twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from wherry.testing.cassette import Cassette
    from wherry.testing.mock import Mock
    from wherry.testing.server import LocalServer

__all__ = ("wherry_cassette", "wherry_mock", "wherry_server", "wherry_tls_server")


@pytest.fixture(scope="session")
def wherry_server() -> Iterator[LocalServer]:
    """A `LocalServer` in the clear, started at its first use and once for the run."""
    from wherry.testing import LocalServer

    with LocalServer() as server:
        yield server


@pytest.fixture(scope="session")
def wherry_tls_server() -> Iterator[LocalServer]:
    """A `LocalServer` over TLS; its `client_context` trusts it."""
    from wherry.testing import LocalServer

    with LocalServer(tls=True) as server:
        yield server


@pytest.fixture
def wherry_mock() -> Iterator[Mock]:
    """A `Mock` that answers for every session; a request that found no route fails the test."""
    from wherry.testing import Mock

    with Mock() as mock:
        yield mock
    mock.assert_all_matched()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--wherry-cassettes",
        default="once",
        choices=("once", "none", "all", "new"),
        help="what wherry_cassette does: record once (default), only play (none), record anew "
        "(all), add (new)",
    )


@pytest.fixture
def wherry_cassette(request: pytest.FixtureRequest) -> Iterator[Cassette]:
    """A `Cassette` in ``cassettes/`` beside the test's file; a request that is not on it fails the
    test.
    """
    from wherry.testing import Cassette

    name = re.sub(r"[^\w.-]+", "_", request.node.name)
    path = request.path.parent / "cassettes" / request.path.stem / f"{name}.json"
    with Cassette(path, request.config.getoption("--wherry-cassettes")) as cassette:
        yield cassette
    cassette.assert_nothing_missing()

"""Fixtures of every room: real servers (tests/servers), and the plugin that programs load too."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from wherry.protocol.states import IllegalMove

pytest_plugins = ["tests.servers.fixtures", "tests.servers.http2", "pytest_wherry", "pytester"]

# How long an example takes says more of the machine than of the code.
settings.register_profile("wherry", deadline=None)
settings.load_profile("wherry")


@pytest.fixture(autouse=True)
def no_connection_moved_outside_the_table() -> Iterator[None]:
    """Of whatever a test did, also where something has swallowed the error."""
    IllegalMove.noted.clear()
    yield
    noted = list(IllegalMove.noted)
    IllegalMove.noted.clear()
    assert not noted

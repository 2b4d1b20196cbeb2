"""For tests and demonstrations: an embedded server, and applications without one; pytest_wherry has
pytest's fixtures.

The server needs the extra ``wherry[testing]``.  Nothing of the client knows of this room.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wherry.testing.asgi_connector import ASGIConnector
    from wherry.testing.cassette import Cassette, NotOnTape
    from wherry.testing.mock import Call, Mock, MockRoute, Reply, UnmatchedRequest
    from wherry.testing.mock_websocket import MockWebSocket
    from wherry.testing.server import LocalServer

__all__ = (
    "ASGIConnector",
    "Call",
    "Cassette",
    "LocalServer",
    "Mock",
    "MockRoute",
    "MockWebSocket",
    "NotOnTape",
    "Reply",
    "UnmatchedRequest",
)

_HOME = {
    "ASGIConnector": "asgi_connector",
    "Cassette": "cassette",
    "LocalServer": "server",
    "MockWebSocket": "mock_websocket",
    "NotOnTape": "cassette",
    **dict.fromkeys(("Call", "Mock", "MockRoute", "Reply", "UnmatchedRequest"), "mock"),
}


def __getattr__(name: str) -> Any:
    # Who wants a mock need not have what the server needs.
    if name in _HOME:
        return getattr(importlib.import_module(f"wherry.testing.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

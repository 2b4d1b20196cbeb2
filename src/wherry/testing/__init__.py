"""For tests and demonstrations: an embedded server, applications without one, and the pytest plugin.

The server needs the extra ``wherry[testing]``.  Nothing of the client knows of this room.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wherry.testing.asgi_connector import ASGIConnector
    from wherry.testing.mock import Call, Mock, MockRoute, Reply, UnmatchedRequest
    from wherry.testing.server import LocalServer

__all__ = ("ASGIConnector", "Call", "LocalServer", "Mock", "MockRoute", "Reply", "UnmatchedRequest")

_HOME = {
    "ASGIConnector": "asgi_connector",
    "LocalServer": "server",
    **dict.fromkeys(("Call", "Mock", "MockRoute", "Reply", "UnmatchedRequest"), "mock"),
}


def __getattr__(name: str) -> Any:
    # The plugin is loaded in every run of pytest: it must bring neither the client nor the server with it.
    if name in _HOME:
        return getattr(importlib.import_module(f"wherry.testing.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
